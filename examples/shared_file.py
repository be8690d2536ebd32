"""A price list in one file that many processes read, and one rewrites in place.

    python examples/shared_file.py prices.json --readers 3 --reads 50

No reader sees half of an edition. Readers are in together, and a writer is
alone: an RWLock of a session, which all processes of this user on this machine
share. The writer takes its time, as one does on a slow disk. If a process is
killed, the next ones come in.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import holdfast

ITEMS = 200


def price_list(path: str) -> str:
    """The name of the lock."""
    return f"price list {os.path.realpath(path)}"


def write(path: str, editions: int) -> int:
    """Write new editions, one after the other; return the number of the last one."""
    edition = 0
    with holdfast.connect().sync as session:
        lock = session.rw_lock(price_list(path))
        for edition in range(1, editions + 1):
            with lock.writer as grant, open(path, "w") as file:
                lines = [
                    json.dumps({"edition": edition, "item": item, "price": edition + item}) for item in range(ITEMS)
                ]
                for line in lines:
                    file.write(line + "\n")
                    file.flush()  # whoever reads now, sees the lines up to here
                grant.check()  # a writer that has lost its lease says so, and not that all is well
    return edition


def read(path: str, reads: int) -> set[int]:
    """Read the list again and again; return the editions that were seen. Raises ValueError if one was not whole."""
    editions = set()
    with holdfast.connect().sync as session:
        lock = session.rw_lock(price_list(path))
        for _ in range(reads):
            with lock.reader:
                lines = Path(path).read_text().splitlines()
            found = {json.loads(line)["edition"] for line in lines}
            if len(lines) != ITEMS or len(found) != 1:
                raise ValueError(f"half of an edition: {len(lines)} lines, of the editions {sorted(found)}")
            editions |= found
    return editions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the price list; it is written anew")
    parser.add_argument("--readers", type=int, default=3, metavar="N", help="processes that read (3)")
    parser.add_argument("--reads", type=int, default=50, metavar="N", help="how often each of them does (50)")
    parser.add_argument("--editions", type=int, default=10, metavar="N", help="how often the list is written (10)")
    options = parser.parse_args()
    if min(options.readers, options.reads, options.editions) < 1:
        parser.error("--readers, --reads and --editions must be 1 or more")
    write(options.file, 1)
    with ProcessPoolExecutor(options.readers + 1, get_context("spawn")) as processes:
        readers = [processes.submit(read, options.file, options.reads) for _ in range(options.readers)]
        last = processes.submit(write, options.file, options.editions).result()
        seen = set().union(*(reader.result() for reader in readers))
    print(f"{options.readers * options.reads} reads saw {len(seen)} of {last} editions, each of them whole")
    return 0


if __name__ == "__main__":
    sys.exit(main())
