"""A child that was forked inside a body, and what it does on its way out: nothing, to the parent's session."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .servers import shared

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")

SOON = 0.5
"""Seconds. A connection that has to be made anew takes a third of a ttl, which is 3 here; a lost wake-up as long."""

PROGRAM = """
import asyncio, os, sys, time
import holdfast

async def leave(how):
    if how == "exit":
        sys.exit(7)
    if how == "error":
        raise KeyError("what the child raised")
    assert how == "end"

async def main(url, place, how):
    child = None
    async with holdfast.connect(url, namespace=str(os.getpid())) as session, holdfast.connect(
        url, namespace=str(os.getpid())
    ) as other:
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
            started = time.monotonic()
            grant.check()
            async with session.lock("y"):
                pass
            await other.event("set by the other").set()
            await waiting
            print("code", code, "took", time.monotonic() - started)
        started = time.monotonic()
        async with other.lock("x"), other.lock("outer"):
            print("then", time.monotonic() - started)
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
    program = PROGRAM + f"asyncio.run(main({url!r}, {place!r}, {how!r}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(params=["embedded", "server"])
def url(request, tmp_path):
    return f"sqlite://{tmp_path}/locks" if request.param == "embedded" else shared().url + "?"


def figures(out: str) -> tuple[int, float, float]:
    words = out.split()
    return int(words[1]), float(words[3]), float(words[-1])


@pytest.mark.parametrize("place", ["lock", "semaphore", "condition"])
@pytest.mark.parametrize("how", ["exit", "error", "end"])
def test_what_the_child_raises_passes_and_the_parent_is_as_quick_as_before(url, place, how):
    out, err = run(url, place, how)
    code, first, then = figures(out)
    assert code == {"exit": 7, "error": 1, "end": 0}[how], err
    assert max(first, then) < SOON
    if how == "error":
        assert "KeyError: 'what the child raised'" in err
        assert err.count("Traceback") == 1
    else:
        assert err == ""
