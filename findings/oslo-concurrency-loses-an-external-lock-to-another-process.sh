#!/usr/bin/env bash
# oslo.concurrency 7.6.1 with fasteners 0.20: a thread loses the external lock that it holds to another process when a second
# thread takes and leaves the same file's lock, by another name or with fair=True.
#
# Guessed: lock("vol/1", external=True) keeps out everybody who asks for that name, in threads and processes, until it is left.
# oslo.concurrency's guide promises so. A lock of the same name with fair=True waits for it, and lock("vol_1") is another lock.
# Seen: the file is the same for both names, as "/" becomes "_", and the kernel's lock of it belongs to the process, so a second
# thread gets it at once. What would keep it out is a semaphore in the process, by name; fair=True has a set of its own. And
# when the second thread leaves, it closes the file, with which the kernel takes the lock from the whole process. Another
# process is in then, beside the first thread. (That fasteners' locks do not keep threads apart is known: its issue 116.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check oslo.concurrency==7.6.1 fasteners==0.20
cat > "$folder/program.py" <<'PYTHON'
import subprocess
import sys
import threading

from oslo_concurrency import lockutils

folder = sys.argv[1]


def another_process(name):
    """Whether it is in."""
    return subprocess.run([sys.executable, __file__, folder, name], check=False).returncode == 0


def in_a_thread(name, **options):
    """Take the lock and leave it. Return whether it was in within two seconds."""

    def enter():
        with lockutils.lock(name, external=True, lock_path=folder, **options):
            pass

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(2)
    return not thread.is_alive()


if len(sys.argv) > 2:
    try:
        with lockutils.lock(sys.argv[2], external=True, lock_path=folder, blocking=False):
            sys.exit(0)
    except lockutils.AcquireLockFailedException:
        sys.exit(1)
for name, other, options in (
    ("vol/1", "vol/1", {}),
    ("vol/2", "vol/3", {}),
    ("vol/4", "vol_4", {}),
    ("vol/5", "vol/5", {"fair": True}),
):
    with lockutils.lock(name, external=True, lock_path=folder):
        before = another_process(name)
        thread = in_a_thread(other, **options)
        print(f"{name} is held; {other} {options}: {thread}; another process: {before}, then {another_process(name)}")
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder")
echo "$found"
test "$found" = "vol/1 is held; vol/1 {}: False; another process: False, then False
vol/2 is held; vol/3 {}: True; another process: False, then False
vol/4 is held; vol_4 {}: True; another process: False, then True
vol/5 is held; vol/5 {'fair': True}: True; another process: False, then True"
