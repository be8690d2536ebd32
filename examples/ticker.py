"""A job that one of several processes does; another one takes over when it dies.

    python examples/ticker.py ticks.db --every 0.5

Start it several times with the same file. One process leads, and writes a row
into the table `ticks` again and again; the others stand by. Kill the leader:
the next one goes on. Its term has a higher token, and a fence in the database
refuses what a former leader writes after that. SIGTERM or Ctrl-C ends a
process; it steps down before.

HOLDFAST_URL says where they elect: by default all processes of this user on
this machine do.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sqlite3
import sys

import holdfast
from holdfast.cluster import Grant, SQLiteFence, StaleToken


async def lead(database: sqlite3.Connection, every: float, term: Grant) -> None:
    """Write ticks as long as this process leads. Raises StaleToken if another one leads already."""
    print(f"leads, with token {term.token}", flush=True)
    fence = SQLiteFence(database, "ticker")
    while True:
        with database:  # the check and the row are one transaction
            database.execute("BEGIN IMMEDIATE")
            fence.check(term.token)
            database.execute("INSERT INTO ticks VALUES (?, ?)", (term.token, os.getpid()))
        await asyncio.sleep(every)


async def stand(path: str, every: float) -> None:
    """Stand for leader until the process is told to stop."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    database = sqlite3.connect(path, isolation_level=None)
    with contextlib.closing(database), contextlib.suppress(asyncio.CancelledError):
        database.execute("CREATE TABLE IF NOT EXISTS ticks (token INTEGER, pid INTEGER)")
        async with holdfast.connect(reopen=True) as session:
            leader = session.leader(f"ticker {os.path.realpath(path)}")
            print("stands", flush=True)
            while True:
                try:
                    await leader.run(lambda term: lead(database, every, term))
                except StaleToken as error:  # it was stopped for long, and has come too late
                    print(f"stands again: {error}", file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database", help="the file of the SQLite database")
    parser.add_argument("--every", type=float, default=0.5, metavar="SECONDS", help="between two ticks (0.5)")
    options = parser.parse_args()
    asyncio.run(stand(options.database, options.every))
