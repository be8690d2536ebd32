#!/usr/bin/env bash
# lockfile 0.12.2: a LockFile that was made before a fork keeps neither the child out nor the parent, and one that two threads
# share keeps out neither of them.
#
# Guessed: lockfile.LockFile(path), made where a program starts, keeps its worker processes apart, and its threads, as
# `threaded` is True by default: locks are distinguished between threads of a process then, as the documentation says.
# Seen: who it is is noted when the object is made, from the process and the thread that make it. So a forked child and another
# thread are the same to it, and find that they have the lock already: acquire() returns at once, while somebody is in. And
# when the child leaves, it removes the lock of its parent: another program is in then, beside the parent, whose own
# release() removes nothing of that one's and raises NotMyLock. A LockFile that each makes for itself does keep them apart.
# (lockfile is deprecated since 2015, and still among the 1,000 packages that are downloaded most.)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check lockfile==0.12.2
cat > "$folder/program.py" <<'PYTHON'
import os
import subprocess
import sys
import threading

import lockfile

path = sys.argv[1]


def is_in(lock):
    try:
        lock.acquire(timeout=0)
        return True
    except lockfile.AlreadyLocked:
        return False


def in_a_child(make):
    """Have a forked child take the lock and leave it. Return whether it was in."""
    child = os.fork()
    if child == 0:
        lock = make()
        if entered := is_in(lock):
            lock.release()
        os._exit(not entered)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def in_a_thread(make):
    found = []
    thread = threading.Thread(target=lambda: found.append(is_in(make())))
    thread.start()
    thread.join()
    return found[0]


def own():
    return lockfile.LockFile(path)


def in_another_program():
    return subprocess.run([sys.executable, __file__, path, "other"], check=False).returncode == 0


if len(sys.argv) > 2:
    sys.exit(not is_in(lockfile.LockFile(path)))
lock = lockfile.LockFile(path)
lock.acquire()
print(f"a lock of its own: thread {in_a_thread(own)}, child {in_a_child(own)}, program {in_another_program()}")
print(f"the same object: thread {in_a_thread(lambda: lock)}, child {in_a_child(lambda: lock)},", end=" ")
print(f"then another program {in_another_program()}")
try:
    lock.release()
except lockfile.UnlockError as exc:
    print(f"the holder leaves: {type(exc).__name__}")
PYTHON
found=$("$folder/venv/bin/python" -W ignore "$folder/program.py" "$folder/file")
echo "$found"
test "$found" = "a lock of its own: thread False, child False, program False
the same object: thread True, child True, then another program True
the holder leaves: NotMyLock"
