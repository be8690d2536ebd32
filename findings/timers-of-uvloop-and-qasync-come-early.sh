#!/usr/bin/env bash
# uvloop 0.22.1 and qasync 0.28.0 (PySide6-Essentials 6.10.0), Python 3.11: a callback of call_later() is called before its
# time, by time.monotonic() as by the loop's own clock. asyncio's is never called before.
#
# Guessed: a timer may be late and is never early, so "at the deadline, see whether it has passed" needs to be set once.
# Seen, of 500 timers set in one callback for 0.2 to 1 s later: asyncio 0 early; uvloop 100 to 400, by up to 1.2 ms, as the loop
# counts from when it last looked at its clock. Of 100 timers of qasync for 0.5 to 2 s later: about half, by up to 5 % of
# their time (40 ms and more), as Qt's coarse timers, which it uses, may.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.22.1 qasync==0.28.0 PySide6-Essentials==6.10.0
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import os
import random
import sys
import time


async def measure(timers, soonest, latest):
    loop, chosen, early = asyncio.get_running_loop(), random.Random(1), []
    done = loop.create_future()

    def due(at):
        early.append(at - time.monotonic())
        if len(early) == timers:
            done.set_result(None)

    for _ in range(timers):
        seconds = chosen.uniform(soonest, latest)
        loop.call_later(seconds, due, time.monotonic() + seconds)
    await done
    return sum(each > 0 for each in early), max(early)


which = sys.argv[1]
if which == "qasync":
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtCore import QCoreApplication
    from qasync import QEventLoop

    application = QCoreApplication([])
    loop = QEventLoop(application)
    asyncio.set_event_loop(loop)
    count, most = loop.run_until_complete(measure(100, 0.5, 2))
    changed = count < 10 or most < 0.005
else:
    if which == "uvloop":
        from uvloop import run
    else:
        from asyncio import run
    count, most = run(measure(500, 0.2, 1))
    changed = count > 0 if which == "asyncio" else count < 20 or most < 0.0001
print(f"{which}: {count} early, by up to {max(most, 0) * 1000:.2f} ms")
sys.exit(changed)
PYTHON
for which in asyncio uvloop qasync; do
  "$folder/venv/bin/python" "$folder/program.py" $which
done
