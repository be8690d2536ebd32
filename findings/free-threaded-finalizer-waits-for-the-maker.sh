#!/usr/bin/env bash
# Free-threaded CPython 3.13.5: who lets go of an object last does not finalize it, if another thread has made it and is
# blocked. Needs such an interpreter: PYTHON_FREE_THREADED=/path/to/python3.13t, or python3.14t or python3.13t on PATH.
#
# Guessed: the last reference goes, and __del__ runs there and then, as the reference counts of CPython have it. So an
# object in a queue can tell that the queue was thrown away.
# Seen: the count of references is kept by the thread that has made the object. As that thread is blocked, its own
# share is not counted out, and __del__ runs when it goes on, in that thread, or when the collector is called. A weak
# reference to it is alive until then. Beside the blocked thread everybody may wait for that __del__.
set -euo pipefail
python=${PYTHON_FREE_THREADED:-$(command -v python3.14t || command -v python3.13t || true)}
: "${python:?there is no free-threaded CPython: set PYTHON_FREE_THREADED}"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import gc
import sys
import threading
import weakref

gc.disable()
print(sys.version, "GIL:", sys._is_gil_enabled())
finalized = []


class Note:
    def __del__(self):
        finalized.append(threading.current_thread().name)


def scenario(then):
    """A thread makes a note and is blocked. This one has it alone, and lets go of it; then something else happens."""
    box, made, go_on = [], threading.Event(), threading.Event()

    def make():
        box.append(Note())
        made.set()
        go_on.wait()

    maker = threading.Thread(target=make, name="maker")
    maker.start()
    made.wait()
    known = weakref.ref(box[0])
    finalized.clear()
    box.clear()
    at_once, alive = list(finalized), known() is not None
    if then == "collect":
        gc.collect()
    else:
        go_on.set()
        maker.join()
    print(f"let go of: {at_once}, alive: {alive}; after {then}: {finalized}")
    go_on.set()
    maker.join()
    return at_once, alive, list(finalized)


seen = [scenario("collect"), scenario("the maker goes on")]
sys.exit([at_once or not alive or len(late) != 1 for at_once, alive, late in seen] != [False, False])
PYTHON
"$python" "$folder/program.py"
