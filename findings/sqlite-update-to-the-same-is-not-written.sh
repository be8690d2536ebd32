#!/usr/bin/env bash
# SQLite 3.54.1 (with apsw 3.54.1.0), and 3.40.1 as Python 3.11 has it, Linux: an UPDATE that sets a row to what it is
# already counts as a change for the connection that makes it, and for nobody else. Whether that is so depends on the
# columns that have an index.
#
# Guessed: an UPDATE of a row writes the row. So changes() = 1 means that the file or the log has grown, and that PRAGMA
# data_version of another connection is another number: a row that is set again and again can serve as a heartbeat.
# Seen: changes() is 1, the log does not grow, and data_version stays. INSERT ... ON CONFLICT DO UPDATE behaves alike.
# INSERT OR REPLACE with the same values does write. So does the same UPDATE once the column is in an index. With a
# rollback journal in place of the log, the time of the file's last change stays as it was, too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check apsw==3.54.1.0
cat > "$folder/program.py" <<'PYTHON'
import os
import sys

import apsw

UPDATE = "UPDATE t SET beat = 'x' WHERE id = 1"
UPSERT = "INSERT INTO t VALUES (1, 'x') ON CONFLICT DO UPDATE SET beat = excluded.beat"
REPLACE = "INSERT OR REPLACE INTO t VALUES (1, 'x')"


def measure(mode, label, statement, *before):
    path = f"{sys.argv[1]}/{mode}-{label}"
    writer, reader = apsw.Connection(path), apsw.Connection(path)
    writer.execute(f"PRAGMA journal_mode = {mode}")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, beat TEXT)")
    writer.execute("INSERT INTO t VALUES (1, 'x')")
    for each in before:
        writer.execute(each)

    def seen():
        file = os.stat(path + "-wal" if mode == "WAL" else path)
        return reader.pragma("data_version"), (file.st_size, file.st_mtime_ns)

    (version, file), _ = seen(), writer.execute(statement)
    count = writer.changes()
    later, changed = seen()
    what = "seen" if later != version else "not seen", "written" if changed != file else "not written"
    print(f"{mode} {label}: changes() {count}, {', '.join(what)}")


for mode in ("WAL", "DELETE"):
    measure(mode, "update", UPDATE)
    measure(mode, "upsert", UPSERT)
    measure(mode, "replace", REPLACE)
    measure(mode, "indexed", UPDATE, "CREATE INDEX beats ON t (beat)")
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "WAL update: changes() 1, not seen, not written
WAL upsert: changes() 1, not seen, not written
WAL replace: changes() 1, seen, written
WAL indexed: changes() 1, seen, written
DELETE update: changes() 1, not seen, not written
DELETE upsert: changes() 1, not seen, not written
DELETE replace: changes() 1, seen, written
DELETE indexed: changes() 1, seen, written"
