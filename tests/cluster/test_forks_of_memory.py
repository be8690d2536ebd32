"""A process forks while it has sessions of `memory:`: the child begins anew, as these are the parent's."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster.engines import memory

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


async def use(session):
    async with asyncio.timeout(BOUND), session as mine:
        async with mine.lock("x") as grant:
            grant.check()
        assert not await mine.event("e").is_set()
        assert len((await mine.inspect("x")).holders) == 0


def in_child(work):
    """Whether it has done it: in a child, in a thread that has no event loop."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    status = 1

    def run():
        nonlocal status
        try:
            asyncio.run(work())
            status = 0
        except BaseException:
            traceback.print_exc()

    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # whatever a plugin does with it
    signal.alarm(int(BOUND))
    for _ in range(3):  # so that the next one has no number that a thread of the parent has had
        threading.Thread(target=signal.pause, daemon=True).start()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    os._exit(status)


@pytest.mark.parametrize("made", ["before", "after"])
async def test_the_child_does_not_wait_for_what_the_parent_holds(made):
    early = holdfast.connect("memory:", namespace="forks")
    async with holdfast.connect("memory:", namespace="forks") as session:
        await session.event("e").set()
        async with session.lock("x") as grant:
            assert in_child(lambda: use(early if made == "before" else holdfast.connect("memory:", namespace="forks")))
            grant.check()
            assert await session.event("e").is_set()


async def test_another_thread_is_in_the_middle_of_a_change():
    store = memory.MemoryEngine("forks in a thread")._store
    taken, done = threading.Event(), threading.Event()

    def change():
        with store.mutex:
            taken.set()
            done.wait(BOUND)

    thread = threading.Thread(target=change)
    thread.start()
    taken.wait()
    try:
        assert in_child(lambda: use(holdfast.connect("memory:", namespace="forks in a thread")))
    finally:
        done.set()
        thread.join()
