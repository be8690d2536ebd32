#!/usr/bin/env bash
# flufl.lock 10.0.0 on Linux: a lock that is held while daylight saving time begins expires an hour early, and somebody else
# takes it from its holder. While it ends, one expires an hour late.
#
# Guessed: `lifetime` is a number of seconds. The clocks of several machines have to agree, as flufl.lock says, and its file
# system may keep times in whole seconds.
# Seen: the time of expiry is computed in local time, without its zone. A lock of an hour and six seconds, taken three seconds
# before the clocks go forward, is another process's after 6 s and the 10 s that are given as slack. Its holder learns of
# it by NotLockedError when it releases. A wait with a timeout ends at once when the clocks go forward. A lock of 15 s, taken
# five seconds before the clocks go back, expires after an hour: for so long a holder that was killed blocks the others.
# The zone is made so that its clocks change now; with TZ=UTC nothing of this happens.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check flufl.lock==10.0.0
cat > "$folder/program.py" <<'PYTHON'
import os
import subprocess
import sys
import time

from flufl.lock import Lock, NotLockedError, TimeOutError

path = sys.argv[1]
MONTH = 30 * 86400


def clocks_change(zone):
    os.environ["TZ"] = zone
    time.tzset()


def rule(when):
    """When the clocks change, as TZ says it, from a time in seconds as that zone's clocks show it before."""
    day = time.gmtime(when)
    leap = day.tm_year % 4 == 0 and (day.tm_year % 100 != 0 or day.tm_year % 400 == 0)
    number = day.tm_yday - (leap and day.tm_mon > 2)  # it never counts 29 February
    return f"J{number}/{day.tm_hour}:{day.tm_min}:{day.tm_sec}"


def taken_after(lock, **options):
    """Seconds until somebody else has it, or gives up."""
    began = time.monotonic()
    try:
        lock.lock(**options)
    except TimeOutError:
        print("gave up", end=" ")
    else:
        print("has it", end=" ")
    return time.monotonic() - began


if len(sys.argv) > 2:  # another process
    print(f"within 25 s: {taken_after(Lock(path, lifetime=3600)) < 25}")
    sys.exit()
now = time.time()
clocks_change(f"AAA0BBB-1,{rule(now + 3)},{rule(now + MONTH)}")
lock = Lock(path, lifetime=3606)
lock.lock()
other = subprocess.Popen([sys.executable, __file__, path, "other"])
timeout = Lock(path, lifetime=3600, default_timeout=1800)
print(f"with a timeout of 1800 s, within 10 s: {taken_after(timeout) < 10}", flush=True)
other.wait()
try:
    lock.unlock()
except NotLockedError:
    print("the holder has it no more")

now = time.time()
clocks_change(f"AAA0BBB-1,{rule(now - MONTH)},{rule(now + 3600 + 5)}")
lock = Lock(f"{path}-2", lifetime=15)
lock.lock()
print(f"minutes until a lock of 15 s expires: {(os.stat(lock.lockfile).st_mtime - time.time()) / 60:.0f}")
lock.unlock()
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py" "$folder/lock" 2>"$folder/errors")
echo "$found"
test "$found" = "gave up with a timeout of 1800 s, within 10 s: True
has it within 25 s: True
the holder has it no more
minutes until a lock of 15 s expires: 60"
