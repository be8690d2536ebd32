"""Loops whose timers come before their time, and loops whose timers do not tell it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time

import pytest
from interpreters import BOUND, RARELY
from tests.loops.program import NOT_INSTALLED

from holdfast.cluster import EngineError, LeaseLost
from holdfast.cluster.session_life import renewal

from .test_lock import connect, opened, url

__all__ = ["url"]  # the fixture

TTL = 1.5


class Plain(asyncio.SelectorEventLoop):
    """Its timers come when they should, and are plain handles, as those of qasync and gbulb: without when()."""

    called = 0

    def call_later(self, delay, callback, *args, context=None):
        handle = asyncio.Handle(callback, args, self, context)

        def call():
            if not handle.cancelled():
                if "Session" in repr(callback):
                    self.called += 1
                handle._run()

        super().call_at(self.time() + self.shortened(delay), call)
        return handle

    def call_at(self, when, callback, *args, context=None):
        return self.call_later(when - self.time(), callback, *args, context=context)

    def shortened(self, delay):
        return delay


class Floor(Plain):
    """In whole milliseconds, rounded down."""

    def shortened(self, delay):
        return int(delay * 1000) / 1000


class TwentiethEarly(Plain):
    """As Qt's coarse timers: by up to 5 %."""

    def shortened(self, delay):
        return delay * 0.95


class HalfTheTime(Plain):
    def shortened(self, delay):
        return delay / 2


class AlwaysTooEarly(Plain):
    """By the same 20 ms, however short the delay is."""

    def shortened(self, delay):
        return max(delay - 0.02, 0.001)


LOOPS = [Plain, Floor, TwentiethEarly, HalfTheTime, AlwaysTooEarly]


def run_in(make, main):
    async def bounded():
        async with asyncio.timeout(BOUND):
            await main()

    loop = make()
    try:
        loop.run_until_complete(bounded())
        return loop
    finally:
        loop.close()


async def failing(*args):
    raise EngineError("no answer")


@pytest.mark.parametrize("make", LOOPS)
def test_a_body_is_told_when_its_lease_has_run_out(make, url):
    """No renewal succeeds, and nothing else looks at the clock."""

    async def main():
        began, loop = time.monotonic(), asyncio.get_running_loop()
        session = await opened(url, ttl=TTL)
        session.engine.renew = failing
        # A timer of this loop that rings in time. If the machine stands still until both have passed, it comes second.
        in_time = loop.create_future()
        punctual = asyncio.SelectorEventLoop.call_at
        punctual(loop, loop.time() + 1.5 * TTL, lambda: in_time.set_result(session.over is not None))
        with pytest.raises(LeaseLost, match="could not be renewed"):
            async with session.lock("x"):
                await asyncio.sleep(60)
        assert time.monotonic() - began > 0.5 * TTL
        assert await in_time

    loop = run_in(make, main)
    assert loop.called < 90  # the alarm's and the tries to renew


@pytest.mark.parametrize("make", LOOPS)
def test_an_alarm_that_comes_too_early_ends_nothing(make, url):
    async def main():
        async with connect(url, ttl=10 * TTL) as session, session.lock("x") as grant:
            for _ in range(5):
                session._life.expiry.on_alarm(session._life.loop)
                grant.check()
                await asyncio.sleep(TTL / 10)
            assert session.over is None

    run_in(make, main)


@pytest.mark.parametrize("make", LOOPS)
def test_who_waits_for_a_session_that_has_expired_is_next(make, url, monkeypatch):
    """Whose own timer has looked before that was so. It is told, and does not look for itself."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)

    async def main():
        one = await opened(url, ttl=TTL)
        one.engine.renew = failing
        await one.lock("x").acquire()
        async with connect(url) as two:
            await two.lock("x").acquire()

    run_in(make, main)


def test_the_longest_ttl_needs_no_timer_that_a_loop_cannot_have(url):
    """Qt's count milliseconds in 31 bits."""
    longest = 0

    class Counting(asyncio.SelectorEventLoop):
        def call_later(self, delay, callback, *args, context=None):
            nonlocal longest
            longest = max(longest, delay)
            return super().call_at(self.time() + delay, callback, *args, context=context)

    async def main():
        async with connect(url, ttl=1e9) as one, connect(url, ttl=1e9) as two:
            await one.lock("x").acquire()
            waiter = asyncio.create_task(two.lock("x").acquire())
            await asyncio.sleep(0.05)
            waiter.cancel()

    run_in(Counting, main)
    assert 0 < longest * 1000 < 1 << 31


PROGRAM = """
import asyncio, sys
import holdfast
from holdfast.cluster import EngineError, LeaseLost

async def hold(url, n, sessions, lost):
    async def failing(*args):
        raise EngineError("no answer")
    try:
        async with holdfast.connect(url, ttl=2) as session:
            async with session.lock(f"lock-{n}"):
                session.engine.renew = failing
                sessions.append(session)
                await asyncio.sleep(60)
    except LeaseLost:
        lost.append(n)

async def main(url):
    async with holdfast.connect(url) as a, holdfast.connect(url, ttl=1e9) as b:
        async with a.lock("x"):
            waiter = asyncio.create_task(b.lock("x").acquire())
            await asyncio.sleep(0.05)
        await waiter
    sessions, lost = [], []
    holders = [asyncio.create_task(hold(url, n, sessions, lost)) for n in range(20)]
    while len(sessions) < 20:
        await asyncio.sleep(0.1)
    await asyncio.sleep(4)
    for _ in range(3):  # if the machine has stood still, not all timers may have come that were due
        await asyncio.sleep(0.1)
    in_time = sum(session.over is not None for session in sessions)
    await asyncio.gather(*holders)
    print(in_time, len(lost))

url, kind = sys.argv[1:]
try:
    if kind == "qasync":
        from PySide6.QtCore import QCoreApplication
        import qasync
        application = QCoreApplication([])
        loop = qasync.QEventLoop(application)
    else:
        loop = __import__(kind).new_event_loop()
except ImportError as exc:  # as well if PySide6 is installed, and a library of the system that it needs is not
    print(f"{kind} is not installed: {exc}")
    sys.exit(NOT_INSTALLED)
asyncio.set_event_loop(loop)
loop.run_until_complete(asyncio.wait_for(main(url), 80))
"""


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "qasync"])
@pytest.mark.parametrize("engine", ["memory", "embedded"])
def test_a_real_loop(kind, engine, tmp_path):
    url = "memory:" if engine == "memory" else f"sqlite://{tmp_path}/locks"
    done = subprocess.run(
        [sys.executable, "-c", f"NOT_INSTALLED = {NOT_INSTALLED}\n{PROGRAM}", url, kind],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=BOUND,
        check=False,
    )
    if done.returncode == NOT_INSTALLED:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["20", "20"]
