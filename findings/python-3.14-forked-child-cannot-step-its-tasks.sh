#!/usr/bin/env bash
# CPython 3.14.10 and 3.15.2 against 3.11 to 3.13: a child that os.fork() makes within a coroutine goes on in the parent's
# loop, and from 3.14 on that loop can run no task any more. The child's own task gets no further than its next wait.
#
# Guessed: the child goes on as it does up to 3.13. There asyncio.get_running_loop() raises in it at once, as the running
# loop is noted with a process id, but every `await` comes back.
# Seen: from 3.14 on the interpreter takes the running loop from the child, and C checks it before and after each step of a
# task. So the end of the very step that forked raises RuntimeError "is not the running loop" into the loop's exception
# handler, and so does each step that would have followed. What the task has raised to end the program is replaced by it.
# A second run_until_complete() of the same loop sets the running loop anew, and tasks run again.
#
# PYTHONS="python3.13 python3.14" names interpreters; else those on PATH are taken.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import os
import sys


def failed(loop, context):
    expected = "is not the running loop"
    print("told:", expected if expected in str(context["exception"]) else context, flush=True)
    os._exit(3)


async def main():
    asyncio.get_running_loop().set_exception_handler(failed)
    child = os.fork()
    if child == 0:
        await asyncio.sleep(0)
        print("went on", flush=True)
        os._exit(0)
    print("exit code", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


print(sys.version_info >= (3, 14), flush=True)
asyncio.run(main())
PYTHON
seen=0
for python in ${PYTHONS:-python3.11 python3.12 python3.13 python3.14 python3.15}; do
  "$python" -c "" 2>/dev/null || continue
  found=$("$python" -W ignore "$folder/program.py" | tr '\n' ' ')
  echo "$("$python" --version): $found"
  case "$found" in
    "False went on exit code 0 ") ;;
    "True told: is not the running loop exit code 3 ") seen=$((seen + 1)) ;;
    *) exit 1 ;;
  esac
done
test "$seen" -gt 0 || { echo "no Python 3.14 or later is on PATH" >&2; exit 1; }
