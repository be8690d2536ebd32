"""A child that was forked inside a body, and what it does on its way out: nothing, to the parent's session."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from interpreters import BOUND, RARELY

from .servers import shared

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")

NO_LOOP_RUNS_IN_A_CHILD = sys.version_info >= (3, 14)
"""Nor does a task there. So asyncio fails when the task that was forked leaves its step, whatever it did: it tells its
loop so once, and what ends the program (SystemExit) is lost."""
NOT_RUNNING = "is not the running loop"

PROGRAM = """
import asyncio, os, sys
import holdfast
from holdfast.cluster.session_life import renewal

# Whoever has to look for itself waits for ever: on a server for a third of its ttl, else for these.
renewal.LOOK_AGAIN = renewal.CHECKED = RARELY

async def leave(how):
    if how == "exit":
        sys.exit(7)
    if how == "error":
        raise KeyError("what the child raised")
    assert how == "end"

async def main(url, place, how):
    child = None
    options = {"namespace": str(os.getpid()), "ttl": RARELY if url.startswith("redis:") else None}
    async with holdfast.connect(url, **options) as session, holdfast.connect(url, **options) as other:
        waiting = asyncio.create_task(session.event("set by the other").wait())
        at_condition = asyncio.create_task(wait_at(session.condition("another")))
        await asyncio.sleep(0.2)
        lock = session.lock("x")
        block = {"lock": lock, "semaphore": session.semaphore("s", 2), "condition": session.condition("c", lock)}[place]
        async with session.lock("outer"), block as grant:
            child = os.fork()
            if child == 0:
                await leave(how)
                return
            code = await wait_for(child)
            grant.check()
            async with session.lock("y"):
                pass
            await other.event("set by the other").set()
            await waiting
            print("code", code)
        async with other.lock("x"), other.lock("outer"):
            print("done")
        at_condition.cancel()
        await asyncio.wait([at_condition])

async def wait_at(condition):
    async with condition:
        await condition.wait()

async def wait_for(child):
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        await asyncio.sleep(0.01)
    return os.waitstatus_to_exitcode(ended[1])

"""


def run(url: str, place: str, how: str) -> tuple[str, str]:
    program = f"RARELY = {RARELY}\n{PROGRAM}asyncio.run(main({url!r}, {place!r}, {how!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(params=["embedded", "server"])
def url(request, tmp_path):
    return f"sqlite://{tmp_path}/locks" if request.param == "embedded" else shared().url + "?"


@pytest.mark.parametrize("place", ["lock", "semaphore", "condition"])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param("exit", marks=pytest.mark.skipif(NO_LOOP_RUNS_IN_A_CHILD, reason="asyncio loses it there")),
        "error",
        "end",
    ],
)
def test_what_the_child_raises_passes_and_the_parent_is_as_quick_as_before(url, place, how):
    out, err = run(url, place, how)
    assert out == f"code { {'exit': 7, 'error': 1, 'end': 0}[how] }\ndone\n", err
    if NO_LOOP_RUNS_IN_A_CHILD:
        assert err.count(NOT_RUNNING) == 1, err
    assert ("KeyError: 'what the child raised'" in err) == (how == "error")
    assert err.count("Traceback") == NO_LOOP_RUNS_IN_A_CHILD + (how == "error"), err
