#!/usr/bin/env bash
# rloop 0.5.0 and qasync 0.28.0 (PySide6-Essentials 6.10.0), Python 3.11: two loops that pass for asyncio's, with two parts
# of its interface missing that asyncio's documentation names.
#
# Guessed: add_reader() takes whatever has a fileno(), as a socket, and call_later() returns a TimerHandle, whose when()
# tells the time. Both hold for asyncio and for uvloop.
# Seen: rloop's add_reader(socket, ...) raises TypeError, and takes the number. The handle of qasync's call_later() is a
# plain Handle without when(), so code that compares the times of its timers fails with AttributeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check rloop==0.5.0 uvloop==0.22.1 qasync==0.28.0 \
  PySide6-Essentials==6.10.0
cat > "$folder/program.py" <<'PYTHON'
import asyncio
import os
import socket

import rloop
import uvloop
from PySide6.QtCore import QCoreApplication
from qasync import QEventLoop

os.environ["QT_QPA_PLATFORM"] = "offscreen"
application = QCoreApplication([])
here, _ = socket.socketpair()


def tried(call):
    try:
        call()
    except (TypeError, AttributeError) as exc:
        return type(exc).__name__
    return "works"


async def look(name):
    loop = asyncio.get_running_loop()
    here.setblocking(False)
    reader = tried(lambda: loop.add_reader(here, print))
    number = tried(lambda: loop.add_reader(here.fileno(), print))
    loop.remove_reader(here.fileno())
    timer = tried(lambda: loop.call_later(60, print).when())
    print(f"{name}: add_reader(socket) {reader}, add_reader(number) {number}, call_later().when() {timer}")


for make in asyncio.new_event_loop, uvloop.new_event_loop, rloop.new_event_loop, lambda: QEventLoop(application):
    loop = make()
    asyncio.set_event_loop(loop)
    loop.run_until_complete(look(type(loop).__module__.partition(".")[0]))
PYTHON
found=$("$folder/venv/bin/python" "$folder/program.py")
echo "$found"
test "$(sed 's/^[a-z_]*: //' <<< "$found")" = "add_reader(socket) works, add_reader(number) works, call_later().when() works
add_reader(socket) works, add_reader(number) works, call_later().when() works
add_reader(socket) TypeError, add_reader(number) works, call_later().when() works
add_reader(socket) works, add_reader(number) works, call_later().when() AttributeError"
