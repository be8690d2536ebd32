#!/usr/bin/env bash
# uvloop 0.22.1, Python 3.11: loop.time() is a whole number of milliseconds, where asyncio's has microseconds and less.
#
# Guessed: loop.time() is as fine as time.monotonic(), so two calls, one after the other, differ.
# Seen: in 50 ms of asking without a pause, asyncio's loop told tens of thousands of times, uvloop's 7 to 60. What is measured
# between two steps of a program is 0 or 1 ms. Whoever divides by the time that has passed divides by 0, and who compares a
# deadline with the clock meets the very same float again, so that rounding decides: a rate limiter of ours kept back the last
# token of a burst, as (now + each) - each may be above now.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check uvloop==0.22.1
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import sys
import time

import uvloop


async def times():
    loop, seen, end = asyncio.get_running_loop(), set(), time.perf_counter() + 0.05
    while time.perf_counter() < end:
        seen.add(loop.time())
    return seen


changed = False
for name, make in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
    with asyncio.Runner(loop_factory=make) as runner:
        seen = runner.run(times())
    whole = sum(abs(each * 1000 - round(each * 1000)) < 1e-6 for each in seen)
    print(f"{name}: {len(seen)} different times in 50 ms, {whole} of them whole milliseconds")
    changed |= len(seen) > 100 or whole < len(seen) if name == "uvloop" else len(seen) < 1000
sys.exit(changed)
PYTHON
"$folder/venv/bin/python" "$folder/program.py"
