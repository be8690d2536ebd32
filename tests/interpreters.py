"""What a test takes for granted of the interpreter that runs it, and is not so in PyPy."""

import contextlib
import gc
import sys
from collections.abc import Iterator

import pytest

PYPY = sys.implementation.name == "pypy"
SLOWER = 3 if PYPY else 1
"""How many times longer everything may take: PyPy is slow until it has compiled something, in each process anew."""
BOUND = 180 * SLOWER
"""Seconds within which comes what a test waits for, however busy the machine is. It ends what would wait for ever, and
says nothing of speed: what must come before a clock has it looked for is shown with a clock that rings after RARELY."""
RARELY = 10 * BOUND
"""Seconds, as a ttl or an interval: what comes in time was told, as nobody has looked."""

refcounting = pytest.mark.skipif(PYPY, reason="counts references; in PyPy the collector comes when it comes")
closing = pytest.mark.skipif(
    PYPY, reason="PyPy does not close a coroutine that it collects, so 'async with' never ends"
)
in_c = pytest.mark.skipif(PYPY, reason="asyncio's Task and Future are written in Python in PyPy, and show it")
importing = pytest.mark.skipif(
    PYPY, reason="while PyPy imports, Ctrl-C may come in a weakref's callback, which drops it"
)


@contextlib.contextmanager
def without_the_collector() -> Iterator[None]:
    """It takes as long as all that the process has made so far, whatever is measured beside it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def collect() -> None:
    """Have everything collected and finalized that nobody refers to."""
    enabled = gc.isenabled()
    gc.enable()  # in PyPy nothing is finalized without
    for _ in range(5 if PYPY else 1):  # and what others refer to only after those
        gc.collect()
    if not enabled:
        gc.disable()


def collect_in_pypy() -> None:
    """Have that collected there for which CPython needs no collector."""
    if PYPY:
        collect()


def drop(references: list[object]) -> None:
    """Let go of what is in the list, the last to refer to it."""
    references.clear()
    collect()
