"""A process that a test has stopped does nothing more."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.stopping import stop, until_stopped

COUNTS = """
import mmap, sys, threading
def count(cell):
    while True:
        cells[cell] = (cells[cell] + 1) % 256
with open(sys.argv[1], "r+b") as file:
    cells = mmap.mmap(file.fileno(), 4)
for cell in range(4):
    threading.Thread(target=count, args=(cell,)).start()
print("counts", flush=True)
"""


@pytest.fixture
def counting(tmp_path):
    """A process whose threads count, and what they count in."""
    (tmp_path / "cells").write_bytes(bytes(4))
    command = [sys.executable, "-c", COUNTS, str(tmp_path / "cells")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process, open(tmp_path / "cells", "r+b") as file:
        try:
            process.stdout.readline()
            with mmap.mmap(file.fileno(), 4) as cells:
                yield process, cells
        finally:
            process.kill()


def test_none_of_its_threads_goes_on(counting):
    """SIGSTOP alone leaves them some time: after 11, 19 and 20 of 30 signals they were seen to count on."""
    process, cells = counting
    for _ in range(30):
        stop(process.pid)
        found = cells[:]
        time.sleep(0.005)
        assert cells[:] == found
        os.kill(process.pid, signal.SIGCONT)
        while cells[:] == found:
            time.sleep(0.001)


def test_who_has_ended_is_not_waited_for():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        until_stopped(process.pid)
