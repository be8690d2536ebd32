"""A job without an event loop that only one process does at a time: it adds up the day's sales in an SQLite database.

    python examples/daily_totals.py sales.db 2026-11-30

The database has a table `sales(day TEXT, shop TEXT, amount REAL)`. The job writes `totals(day, shop, amount)`, anew at
each run. If another run is at it, this one waits for --patience seconds and then exits with 75, so that cron tries it
again. A run that hangs for longer than --limit seconds loses its lock, and a fence in the database refuses what it
writes after that.

HOLDFAST_URL says where the lock is: by default all processes of this user on this machine share it.
"""

import argparse
import sqlite3
import sys
from collections.abc import Callable

import holdfast
from holdfast.cluster import SQLiteFence, StaleToken, SyncGrant

TRY_AGAIN = 75
"""The exit code that sysexits.h calls EX_TEMPFAIL."""


def add_up(database: sqlite3.Connection, day: str, grant: SyncGrant, progress: Callable[[], None]) -> int:
    """Write the totals of a day in one transaction; return of how many shops. Raises StaleToken, and writes nothing."""
    fence = SQLiteFence(database, "totals")
    totals = database.execute("SELECT day, shop, sum(amount) FROM sales WHERE day = ? GROUP BY shop", (day,)).fetchall()
    progress()
    grant.check()  # no need to go on if it is lost already
    with database:  # the check and the writes are one transaction
        database.execute("BEGIN IMMEDIATE")
        fence.check(grant.token)
        database.execute("CREATE TABLE IF NOT EXISTS totals (day TEXT, shop TEXT, amount REAL)")
        database.execute("DELETE FROM totals WHERE day = ?", (day,))
        database.executemany("INSERT INTO totals VALUES (?, ?, ?)", totals)
    return len(totals)


def run(path: str, day: str, patience: float, limit: float, progress: Callable[[], None] = lambda: None) -> int:
    """Do the job; return the exit code."""
    database = sqlite3.connect(path)
    try:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sales'").fetchone():
            print(f"{path} has no table sales(day, shop, amount), which this job adds up", file=sys.stderr)
            return 1
        with holdfast.connect().sync as session:
            lock = session.lock(f"totals of {path}", hold_at_most=limit)
            with lock.within(patience) as grant:
                shops = add_up(database, day, grant, progress)
    except TimeoutError:
        print("another run is at it", file=sys.stderr)
        return TRY_AGAIN
    except sqlite3.DatabaseError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return 1
    except (holdfast.LeaseLost, StaleToken) as error:
        print(f"this run has come too late: {error}", file=sys.stderr)
        return TRY_AGAIN
    finally:
        database.close()
    print(f"{day}: {shops} shops")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Add up the sales of a day, one process at a time.")
    parser.add_argument("database", help="the file of the SQLite database")
    parser.add_argument("day", help="the day, as in 2026-11-30")
    parser.add_argument("--patience", type=float, default=10, help="seconds to wait for another run")
    parser.add_argument("--limit", type=float, default=600, help="seconds after which a run that hangs loses its lock")
    options = parser.parse_args()
    return run(options.database, options.day, options.patience, options.limit)


if __name__ == "__main__":
    sys.exit(main())
