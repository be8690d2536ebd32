"""Where something is missing that POSIX has: Windows, a Python without sqlite3. And other event loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from textwrap import dedent

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError
from holdfast.cluster.engines import clock
from holdfast.cluster.engines.embedded import requirements
from holdfast.cluster.session_life import renewal

LIKE_WINDOWS = {
    "modules": ["fcntl", "resource", "pwd", "grp", "termios"],
    "os": ["fork", "register_at_fork", "getuid", "geteuid", "fchmod", "pidfd_open", "O_NOFOLLOW", "O_CLOEXEC"],
    "socket": ["AF_UNIX"],
    "time": ["clock_gettime", "CLOCK_BOOTTIME", "CLOCK_MONOTONIC"],
    "signal": ["SIGHUP"],
}
WITHOUT = {
    "what Windows lacks": LIKE_WINDOWS,
    "fcntl": {"modules": ["fcntl"]},
    "fork()": {"os": ["fork", "register_at_fork"]},
    "sqlite3": {"modules": ["sqlite3", "_sqlite3"]},
    "Unix sockets": {"socket": ["AF_UNIX"]},
    "users": {"os": ["getuid", "geteuid"]},
}

REMOVE = """
    import asyncio, os, signal, socket, sys, time

    loop = asyncio.new_event_loop()  # the one that is here needs some of it

    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name in {modules!r}:
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

    sys.meta_path.insert(0, Missing())
    # redis-py loads the SDK of OpenTelemetry where there is one, and that psutil, which looks at the real system.
    sys.modules["psutil"] = None
    for name in {modules!r}:
        sys.modules.pop(name, None)
    for module, names in ((os, {os!r}), (socket, {socket!r}), (time, {time!r}), (signal, {signal!r})):
        for name in names:
            vars(module).pop(name, None)
"""
USE = """
    import holdfast
    import holdfast.cluster

    async def main():
        async with holdfast.connect("memory:", ttl=5) as session:
            async with session.lock("x") as grant:
                print(grant.token)
        print(holdfast.connect("redis://localhost"))
        for url in (None, "sqlite:///tmp/nowhere"):
            try:
                holdfast.connect(url)
            except holdfast.cluster.EngineError as exc:
                print(exc)

    loop.run_until_complete(main())
    loop.close()
"""


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=BOUND, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("what", WITHOUT)
def test_memory_and_redis_work_and_the_embedded_engine_says_what_it_lacks(what):
    missing = {"modules": [], "os": [], "socket": [], "time": [], "signal": []} | WITHOUT[what]
    token, redis, *refused = run(sys.executable, "-c", dedent(REMOVE.format(**missing)) + dedent(USE))
    assert int(token) > 0
    assert "Session" in redis
    assert len(refused) == 2
    for sentence in refused:
        assert "for POSIX systems" in sentence
        assert "this one lacks " in sentence
        assert "Use redis://HOST, or memory: within one process" in sentence


def test_platforms_that_only_have_the_names_are_refused(monkeypatch):
    monkeypatch.setattr(requirements.sys, "platform", "emscripten")
    with pytest.raises(EngineError, match="this one lacks processes"):
        holdfast.connect()
    holdfast.connect("memory:")


def refuse(number):
    raise OSError(28, "Invalid argument")


@pytest.mark.parametrize("lacks", ["CLOCK_BOOTTIME", "CLOCK_BOOTTIME is refused", "all are refused", "clock_gettime"])
def test_the_clock_is_the_best_that_there_is(monkeypatch, lacks):
    real, clocks = clock.time.clock_gettime, []

    def clock_gettime(number):
        if lacks == "all are refused" or number == clock.time.CLOCK_BOOTTIME:
            refuse(number)
        clocks.append(number)
        return real(number)

    monkeypatch.setattr(clock.time, "CLOCK_BOOTTIME", 7, raising=False)
    if lacks == "clock_gettime":
        monkeypatch.delattr(clock.time, "clock_gettime")
    elif lacks == "CLOCK_BOOTTIME":
        monkeypatch.delattr(clock.time, "CLOCK_BOOTTIME")
        monkeypatch.setattr(clock.time, "clock_gettime", lambda number: clocks.append(number) or real(number))
    else:
        monkeypatch.setattr(clock.time, "clock_gettime", clock_gettime)
    first, second = (best := clock._best())(), best()
    assert first <= second
    assert {*clocks} == ({clock.time.CLOCK_MONOTONIC} if lacks.startswith("CLOCK_BOOTTIME") else set())


class NumbersOnly(asyncio.SelectorEventLoop):
    """As rloop: files are given by their numbers."""

    def add_reader(self, file, *args):
        if type(file) is not int:
            raise TypeError("'socket' object cannot be interpreted as an integer")
        super().add_reader(file, *args)

    def remove_reader(self, file):
        if type(file) is not int:
            raise TypeError("'socket' object cannot be interpreted as an integer")
        return super().remove_reader(file)


def rloop():
    return pytest.importorskip("rloop").new_event_loop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # rloop leaves its own sockets open
@pytest.mark.parametrize("make", [NumbersOnly, rloop], ids=["numbers only", "rloop"])
def test_a_loop_that_takes_file_numbers_only(tmp_path, make, monkeypatch):
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)  # it is woken, or waits for ever
    url = f"sqlite://{tmp_path}/locks"

    async def main():
        async with asyncio.timeout(BOUND), holdfast.connect(url) as one, holdfast.connect(url) as two:
            lock = one.lock("x")
            await lock.acquire()
            waiting = asyncio.ensure_future(two.lock("x").acquire())
            await asyncio.sleep(0.05)
            await lock.release()
            await waiting

    loop = make()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
