#!/usr/bin/env bash
# CPython 3.11.7, 3.12.1, 3.13.0, 3.14.10 and 3.15.2: while a subclass of threading.local runs its __init__() for a thread
# that uses it for the first time, a finalizer that the collector runs in that thread sees the object without what
# __init__() is about to set.
#
# Guessed: the first use of a thread-local object is one step, or a second use in the middle of it begins __init__() anew.
# Seen: the thread's dictionary is put in place before __init__() is called, and counts as made. So the finalizer gets an
# AttributeError for an attribute that each __init__() sets. As it is raised in a finalizer, the interpreter reports it to
# sys.unraisablehook and goes on, and what the finalizer was to do is not done.
#
# Any allocation in __init__() may be the moment; here gc.collect() makes it certain. A __getattr__() that puts the value in
# place with `self.__dict__.setdefault()` has no such moment: both find the same value.
#
# PYTHONS="python3.13 python3.14" names interpreters; else those on PATH are taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import gc
import sys
import threading


class Noted(threading.local):
    def __init__(self):
        gc.collect()
        self.notes = []


class AtFirstUse(threading.local):
    def __getattr__(self, name):
        if name != "notes":
            raise AttributeError(name)
        gc.collect()
        return self.__dict__.setdefault("notes", [])


class Garbage:
    def __init__(self, local):
        self.local, self.me = local, self

    def __del__(self):
        self.local.notes.append("finalized")


def first_use(kind):
    told, seen = [], []
    sys.unraisablehook = lambda report: told.append(type(report.exc_value).__name__)
    local = kind()  # __init__() has run for this thread

    def use():
        seen.extend(local.notes)

    Garbage(local)
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    return told, seen


gc.disable()
print(*first_use(Noted), *first_use(AtFirstUse))
PYTHON
seen=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}; do
  "$python" -c "" 2>/dev/null || continue
  found=$("$python" "$folder/program.py")
  echo "$("$python" -c 'import sys; print(sys.implementation.name, *sys.version_info[:3])'): $found"
  test "$found" = "['AttributeError'] [] [] ['finalized']" || exit 1
  seen=$((seen + 1))
done
test "$seen" -gt 0 || { echo "no Python 3.11 or later is on PATH" >&2; exit 1; }
