"""How a waiting session learns of a death: one descriptor for each watched session, or the clock without one."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
import sys

import pytest
from interpreters import RARELY

import holdfast
from holdfast.cluster import EngineError
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.contract import LATER
from holdfast.cluster.engines.embedded import watching
from holdfast.cluster.engines.embedded.watching import FAILURES, LATEST, Life, Watching
from holdfast.cluster.session_life import renewal

from .engines import run  # noqa: F401
from .running import in_child
from .worker import NOBODY_LOOKS, Worker, WorkerError, until_waiting

on_linux = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="no pidfd on this system")


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


@pytest.fixture
def nobody_looks(monkeypatch):
    """For itself, that is: a waiter is told, or waits for ever."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)


class Watched:
    """A session that is watched; what is found at each look."""

    def __init__(self, pid, ttl=None):
        self.life = Life(pid, ttl, monotonic())
        self.found = []
        """At each look, the next; the last one again and again."""
        self.looks = 0
        self.pauses = []
        """Before the looks that were planned. The machine may make them longer."""
        loop = asyncio.get_running_loop()
        later = loop.call_later
        loop.call_later = lambda delay, *args, **options: self.pauses.append(delay) or later(delay, *args, **options)
        self.watching = Watching(loop, lambda session: self.life, self.look)
        self.told = asyncio.Event()

    def look(self, session):
        self.looks += 1
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        if isinstance(found, Exception):
            raise found
        return found


@on_linux
async def test_a_process_that_has_ended_and_is_not_dead_yet_is_looked_at_again_soon():
    """Its file is locked in a child. It is a zombie, so each new pidfd would tell at once: it is not asked again."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        watched = Watched(process.pid)
        watched.found = [False] * 6 + [True]
        watched.watching.watch("it", watched.told.set)
        await watched.told.wait()
        assert watched.looks == 7
        assert sum(watched.pauses) < LATEST
        assert max(watched.pauses) > 0.1, "less and less often"
    finally:
        process.wait()


@on_linux
async def test_a_process_that_was_reaped_is_looked_at_again_soon():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    watched = Watched(process.pid)
    watched.found = [False] * 4 + [True]
    watched.watching.watch("it", watched.told.set)
    await watched.told.wait()
    assert watched.looks == 5
    assert sum(watched.pauses) < LATEST


async def test_without_a_descriptor_the_clock_has_it_looked_at(monkeypatch):
    def none(pid):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(watching.os, "pidfd_open", none, raising=False)
    watched = Watched(os.getpid())
    watched.found = [False, False, True]
    watched.watching.watch("it", watched.told.set)
    await watched.told.wait()
    assert watched.looks == 3


async def test_a_look_that_fails_is_made_again_and_those_who_watch_look_for_themselves_in_the_end(monkeypatch):
    monkeypatch.setattr(watching, "WITHOUT_DESCRIPTOR", 0.01)
    watched = Watched(os.getpid())
    watched.found = [EngineError("not now"), EngineError("not now"), True]
    watched.watching.watch("it", watched.told.set)
    await watched.told.wait()
    assert watched.looks == 3
    for_ever = Watched(os.getpid())
    for_ever.found = [EngineError("never")]
    for_ever.watching.watch("it", for_ever.told.set)
    await for_ever.told.wait()
    assert for_ever.looks == FAILURES


async def test_a_session_that_is_renewed_is_not_suspected(monkeypatch):
    watched = Watched(os.getpid(), ttl=0.02)
    watched.found = [False]
    monkeypatch.setattr(watching, "monotonic", lambda: watched.life.renewed + 0.01)  # it always has been, just now
    watched.watching.watch("it", watched.told.set)
    while watched.looks < 4:
        await asyncio.sleep(0.005)
    assert not watched.told.is_set()
    monkeypatch.setattr(watching, "monotonic", lambda: watched.life.renewed + 0.03)
    await watched.told.wait()


@on_linux
async def test_all_who_watch_a_session_are_told_and_who_has_stopped_is_not(monkeypatch):
    monkeypatch.setattr(watching, "KEPT", 0.001)
    watched = Watched(os.getpid())
    watched.found = [False]
    calls = []
    before = len(os.listdir("/proc/self/fd"))
    stops = [watched.watching.watch("it", lambda n=n: calls.append(n)) for n in range(100)]
    assert len(os.listdir("/proc/self/fd")) == before + 1
    stops[7]()
    stops[7]()
    watched.life = None
    watched.watching.watch("it", lambda: calls.append("last"))
    while not calls:
        await asyncio.sleep(0)
    assert calls == [*range(7), *range(8, 100), "last"]
    for stop in stops:
        stop()
    assert len(os.listdir("/proc/self/fd")) == before
    watched.life = Life(os.getpid(), None, monotonic())
    again = watched.watching.watch("it", lambda: calls.append("again"))
    assert len(os.listdir("/proc/self/fd")) == before + 1
    again()
    while len(os.listdir("/proc/self/fd")) > before:
        await asyncio.sleep(0.001)
    watched.watching.watch("it", calls.clear)
    watched.watching.close()
    watched.watching.watch("it", calls.clear)()
    assert len(os.listdir("/proc/self/fd")) == before


@on_linux
async def test_who_watches_the_same_again_and_again_looks_once_and_a_death_in_between_is_found_soon():
    watched = Watched(os.getpid())
    watched.found = [False]
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(100):
        watched.watching.watch("it", watched.told.set)()
        assert len(os.listdir("/proc/self/fd")) == before + 1
    assert watched.looks == 1
    watched.found = [True]
    stop = watched.watching.watch("it", watched.told.set)
    assert watched.looks == 1, "it was alive a moment ago"
    await watched.told.wait()
    assert watched.looks == 2
    stop()
    assert len(os.listdir("/proc/self/fd")) == before


@on_linux
async def test_what_is_planned_for_a_session_that_nobody_watches_costs_no_look():
    watched = Watched(os.getpid(), ttl=0.02)
    watched.found = [False]
    watched.watching.watch("it", watched.told.set)()
    pauses = len(watched.pauses)
    await asyncio.sleep(0.02 + 2 * LATER)
    assert watched.looks == 1
    assert len(watched.pauses) <= pauses + 1, "of which one is this test's"
    watched.watching.watch("it", watched.told.set)
    await watched.told.wait()


@on_linux
async def test_the_end_of_a_process_that_nobody_watched_just_then_is_found():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    watched = Watched(process.pid)
    watched.found = [False, True]
    watched.watching.watch("it", watched.told.set)()
    process.communicate(b"\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    watched.watching.watch("it", watched.told.set)
    await watched.told.wait()


@on_linux
async def test_what_is_kept_is_given_up_when_there_is_no_descriptor_left(monkeypatch):
    opened = os.pidfd_open
    watched = Watched(os.getpid())
    watched.found = [False]
    before = len(os.listdir("/proc/self/fd"))

    def with_few(pid):
        if len(os.listdir("/proc/self/fd")) > before:
            raise OSError(errno.EMFILE, "Too many open files")
        return opened(pid)

    monkeypatch.setattr(watching.os, "pidfd_open", with_few)
    monkeypatch.setattr(watching, "WITHOUT_DESCRIPTOR", 0.001)
    watched.watching.watch("it", watched.told.set)()
    watched.watching.watch("another", watched.told.set)
    while watched.watching._watches["another"].pidfd is None:
        await asyncio.sleep(0.001)
    assert [*watched.watching._watches] == ["another"]
    watched.watching.close()


@on_linux
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork() here")
async def test_a_forked_child_that_stops_watching_does_not_stop_its_parent(url, nobody_looks):
    """Both have one epoll."""
    async with Worker(url) as holder, holdfast.connect(url) as session:
        await holder.do("await session.lock('x').acquire()")
        waiting = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x")

        def watches_nothing():
            for stop in session._life.registers.by_name["x"]._deaths.watched.stops.values():
                stop()
            return not [*session.engine._watching._watches]

        assert in_child(watches_nothing)
        holder.process.kill()
        await waiting


@on_linux
async def test_hundreds_of_names_of_one_session_take_one_descriptor(url):
    async with Worker(url) as holder, holdfast.connect(url) as session:
        await holder.do("for n in range(100): await session.lock(f'n{n}').acquire()")
        before = len(os.listdir("/proc/self/fd"))
        tasks = [asyncio.create_task(session.lock(f"n{n}").acquire()) for n in range(100)]
        for n in range(100):
            await until_waiting(session, f"n{n}")
        assert len(os.listdir("/proc/self/fd")) <= before + 1
        holder.process.kill()
        await asyncio.gather(*tasks)
        assert len(os.listdir("/proc/self/fd")) <= before


EXHAUST = """
    import errno, resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    globals()["files"] = []
    while True:
        try:
            files.append(os.open("/dev/null", os.O_RDONLY))
        except OSError as exc:
            assert exc.errno == errno.EMFILE
            break
"""


@pytest.mark.parametrize("exhausted", ["before it waits", "while it waits"])
async def test_who_waits_without_a_free_descriptor_is_told(url, exhausted):
    async with Worker(url) as holder, Worker(url) as waiter, holdfast.connect(url) as session:
        await waiter.do(NOBODY_LOOKS)
        await holder.do("await session.lock('x').acquire()")
        if exhausted == "before it waits":
            await waiter.do(EXHAUST)
        waiting = waiter.begin("return (await session.lock('x').acquire()).token")
        await until_waiting(session, "x")
        if exhausted == "while it waits":
            await waiter.do(EXHAUST)
        holder.process.kill()
        assert await waiting > 1
        left = 1 if exhausted == "while it waits" else 0  # it had a pidfd
        await waiter.do(EXHAUST + f"    assert len(files) == {left}")  # the spare one is kept again


async def test_who_cannot_be_told_gets_the_error(url):
    """The program has taken the spare descriptor as well."""
    async with Worker(url) as holder, Worker(url) as waiter, holdfast.connect(url) as session:
        await waiter.do(NOBODY_LOOKS)
        await holder.do("await session.lock('x').acquire()")
        await waiter.do(
            "directory = session.engine._files._directory; directory._spare.close(); directory._spare = None"
        )
        await waiter.do(EXHAUST)
        waiting = waiter.begin("await session.lock('x').acquire()")
        await until_waiting(session, "x")
        holder.process.kill()
        with pytest.raises(WorkerError, match=r"EngineError.*cannot tell whether session .*Too many open files"):
            await waiting
        await waiter.do("for file in files: os.close(file)")
        await waiter.do("await session.lock('x').acquire()")


KEPT_BY_A_CHILD = """
    import ctypes
    await session.lock("x").acquire()
    libc = ctypes.PyDLL(None)
    if not libc.fork():  # no hook runs, as between fork() and exec() of a new process
        libc.usleep({microseconds})
        libc._exit(0)
"""


async def test_a_holder_is_killed_whose_forked_child_lives_for_a_moment(url, nobody_looks):
    async with Worker(url) as holder, holdfast.connect(url) as session:
        await holder.do(KEPT_BY_A_CHILD.format(microseconds=700_000))
        waiting = asyncio.create_task(session.lock("x").acquire())
        await until_waiting(session, "x")
        holder.process.kill()
        await holder.process.wait()
        assert (await waiting).token > 1
