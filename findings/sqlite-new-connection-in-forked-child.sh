#!/usr/bin/env bash
# SQLite 3.54.1 (with apsw 3.54.1.0), and 3.40.1 as Python 3.11 has it, Linux: a process that merely *has* a WAL database
# open while it forks makes a *new* connection unsafe that the child opens by itself afterwards. The child never touches
# the parent's connection.
#
# Guessed: SQLite's warning about carrying an open connection across a fork is about using that connection; a child that
# opens its own is safe.
# Seen: SQLite counts, in the memory of the process, which files are open and locked, as POSIX locks belong to processes.
# The child inherits the count and not the locks. So its own connection believes that it holds the shared lock that it
# never took. When the parent has closed, the next process that closes takes itself for the last one and removes the
# write-ahead log under the child: from then on the child sees rows that nobody else sees, without any error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cat > "$folder/program.py" <<'PYTHON'
import os
import subprocess
import sys

import apsw

path = sys.argv[1]
COUNT = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
print(connection.execute('SELECT count(*) FROM t').get)
connection.close()
"""


def count_elsewhere():
    return subprocess.check_output([sys.executable, "-c", COUNT, path], text=True).strip()


parents = apsw.Connection(path)
parents.execute("PRAGMA journal_mode = WAL")
parents.execute("CREATE TABLE t (n)")
written, may_go_on = os.pipe(), os.pipe()
if os.fork() == 0:
    own = apsw.Connection(path)
    own.execute("INSERT INTO t VALUES (1)")
    os.write(written[1], b".")
    os.read(may_go_on[0], 1)
    print("the child has its log:", os.path.exists(path + "-wal"))
    own.execute("INSERT INTO t VALUES (2)")
    print("rows in the child:", own.execute("SELECT count(*) FROM t").get)
    print("rows elsewhere:", count_elsewhere(), flush=True)
    os._exit(0)
os.read(written[0], 1)
parents.close()
count_elsewhere()
os.write(may_go_on[1], b".")
os.wait()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder/database")
echo "$found"
test "$found" = "the child has its log: False
rows in the child: 2
rows elsewhere: 1"
