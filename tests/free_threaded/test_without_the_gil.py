"""What may go wrong on a free-threaded build alone. `make free-threaded` runs the other tests there, too."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import holdfast
from holdfast.tasks.gil import ONE_AT_A_TIME

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
only_without = pytest.mark.skipif(not FREE_THREADED, reason="this interpreter always has a GIL")
only_compiled = pytest.mark.skipif(not holdfast.accelerated, reason="the compiled twin is not in use")

ROOT = Path(__file__).parents[2]
PATIENCE = 240
"""Seconds until a test gives up on a program: with the sanitizers, and on a loaded machine, Python starts slowly."""
pytestmark = pytest.mark.timeout(PATIENCE + 60)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python, with the GIL as the interpreter has it by default; any warning is an error."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_the_build_counts_and_not_the_moment():
    assert ONE_AT_A_TIME is (sys.implementation.name == "cpython" and not FREE_THREADED)


@only_without
def test_imported_while_another_thread_loads_an_extension():
    """The interpreter switches the GIL on for that moment, and what is decided then holds for ever."""
    program = """
import sys
sys._is_gil_enabled = lambda: True
import holdfast.threads
from holdfast.tasks.gil import ONE_AT_A_TIME
assert not ONE_AT_A_TIME
"""
    ended = run("-c", program)
    assert ended.returncode == 0, ended.stderr


@only_without
@only_compiled
@pytest.mark.parametrize(
    "module", ["holdfast.tasks._speedups", "holdfast", "holdfast.threads", "holdfast.cluster", "holdfast.testing"]
)
def test_an_import_leaves_the_gil_off(module):
    """An extension that does not say that it can do without switches it on, with a warning."""
    ended = run(
        "-c", f"import sys, {module}; import holdfast; assert holdfast.accelerated; assert not sys._is_gil_enabled()"
    )
    assert ended.returncode == 0, ended.stderr


REPLACED = """
import threading, time
import holdfast

primitive = {make}
end = time.monotonic() + 1

def read():
    while time.monotonic() < end:
        for _ in range(100):
            repr(primitive.{field})

def replace():
    while time.monotonic() < end:
        for _ in range(100):
            primitive.{field} = {value}

threads = [threading.Thread(target=act) for act in (read, read, replace)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


@only_without
@pytest.mark.parametrize(
    ("make", "field", "value"),
    [
        ("holdfast.Barrier(2)", "_state", "[1]"),
        ("holdfast.Lock()", "_queue", "[1]"),
        ("holdfast.Semaphore()", "_value", "1 << 70"),
        ("holdfast.Condition()", "_grip", "[1]"),
        ("type(holdfast.Lock(loop=__import__('asyncio').new_event_loop())._queue)(None)", "line", "[1]"),
        ("type(holdfast.Lock(loop=__import__('asyncio').new_event_loop())._queue)(None)", "loop", "[1]"),
    ],
)
def test_a_field_is_read_while_another_thread_replaces_it(make, field, value):
    """What was in it may be gone at that moment, and the process with it."""
    ended = run("-W", "ignore::ResourceWarning", "-c", REPLACED.format(make=make, field=field, value=value))
    assert ended.returncode == 0, ended.stderr


@only_without
def test_misuse_from_several_threads_harms_no_memory():
    ended = run("-X", "faulthandler", "-m", "tests.free_threaded.misuse", "--seconds", "4")
    assert ended.returncode == 0, ended.stdout + ended.stderr
