#!/usr/bin/env bash
# diskcache 5.6.3: throttle() keeps its count in the shared cache, and each process that decorates the function sets it to full.
#
# Guessed: a function that is throttled to 2 calls an hour, with the count in one cache for all processes, is called twice in
# the first minute, however many processes there are. The recipes beside it, of locks and semaphores, work across processes.
# Seen: each process that starts may call it twice, at once: four processes, one after another, call it 8 times. The decorator
# itself writes the full count, over what is there, and so for the processes that are running, too: their share is refilled
# whenever one starts. A worker that is started anew for each job has two calls each time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check diskcache==5.6.3
cat > "$folder/program.py" <<'PYTHON'
import subprocess
import sys

import diskcache

PROCESSES = 4
cache = diskcache.Cache(sys.argv[1])


class HasToWait(Exception):
    pass


def has_to_wait(seconds):
    raise HasToWait


def throttled():
    """The function, as each process defines it when it starts."""
    return diskcache.throttle(cache, 2, 3600, name="mail", sleep_func=has_to_wait)(lambda: None)


def calls(function):
    """How often it can be called before it has to wait."""
    done = 0
    try:
        while True:
            function()
            done += 1
    except HasToWait:
        return done


mail = throttled()
found = [calls(mail)]
if len(sys.argv) > 2:
    print(*found)
    sys.exit()
found.append(calls(mail))
for _ in range(PROCESSES - 1):
    other = subprocess.run([sys.executable, __file__, sys.argv[1], "other"], check=True, capture_output=True, text=True)
    found.append(int(other.stdout))
print(f"{found[0]} calls, then {found[1]}; {PROCESSES - 1} more processes: {found[2:]}")
throttled()
print(f"and as the function is decorated once more: {calls(mail)}")
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder/cache")
echo "$found"
test "$found" = "2 calls, then 0; 3 more processes: [2, 2, 2]
and as the function is decorated once more: 2"
