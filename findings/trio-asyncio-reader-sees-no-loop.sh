#!/usr/bin/env bash
# trio-asyncio 0.16.0 (trio 0.35.0), Python 3.11 and 3.13: a reader that is added in a callback which came from another
# thread is called where asyncio.get_running_loop() raises RuntimeError, though the loop runs and is what calls it. A reader
# that is added in a task sees the loop.
#
# Guessed: every callback of a loop sees that loop as the running one, wherever it was registered, as in asyncio.
# Seen: "in a task" True, "from a thread" no running event loop. trio-asyncio keeps the loop in a context variable. A
# callback from another thread runs in a copy of that thread's context, which has none, and add_reader() starts a task of
# trio's in the context of its caller. What the reader then runs at once, such as a coroutine, fails in asyncio.sleep().
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check trio-asyncio==0.16.0 trio==0.35.0
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import socket
import threading

import trio_asyncio


async def main():
    loop, seen = asyncio.get_running_loop(), {}

    def add(where):
        here, there = socket.socketpair()

        def read():
            here.recv(1)
            try:
                seen[where] = str(asyncio.get_running_loop() is loop)
            except RuntimeError as exc:
                seen[where] = str(exc)

        loop.add_reader(here.fileno(), read)
        there.send(b".")
        return here, there

    pairs = [add("in a task")]
    send = loop.call_soon_threadsafe
    threading.Thread(target=lambda: send(lambda: pairs.append(add("from a thread")))).start()
    while len(seen) < 2:
        await asyncio.sleep(0.01)
    for here, there in pairs:
        loop.remove_reader(here.fileno())
    for where in sorted(seen):
        print(where, seen[where])


trio_asyncio.run(trio_asyncio.aio_as_trio(main))
PYTHON
found=$("$folder/venv/bin/python" -W ignore "$folder/program.py")
echo "$found"
test "$found" = "from a thread no running event loop
in a task True"
