"""Loops whose timers come before their time, and loops whose timers do not tell it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import time

import pytest

from holdfast.cluster import EngineError, LeaseLost
from holdfast.cluster.engines import contract

from .test_lock import connect, opened, url

__all__ = ["url"]  # the fixture

TTL = 1.0


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
        async with asyncio.timeout(20):
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
        session = await opened(url, ttl=TTL)
        session._engine.renew = failing
        began = time.monotonic()
        with pytest.raises(LeaseLost, match="could not be renewed"):
            async with session.lock("x"):
                await asyncio.sleep(10)
        assert 0.5 * TTL < time.monotonic() - began < 1.5 * TTL

    loop = run_in(make, main)
    assert loop.called < 60  # the alarm's and the tries to renew


@pytest.mark.parametrize("make", LOOPS)
def test_an_alarm_that_comes_too_early_ends_nothing(make, url):
    async def main():
        async with connect(url, ttl=10 * TTL) as session, session.lock("x") as grant:
            for _ in range(5):
                session._life._on_alarm()
                grant.check()
                await asyncio.sleep(TTL / 10)
            assert session.over is None

    run_in(make, main)


@pytest.mark.parametrize("make", LOOPS)
def test_who_waits_for_a_session_that_has_expired_is_next(make, url):
    """Whose own timer has looked before that was so."""

    async def main():
        one = await opened(url, ttl=TTL)
        one._engine.renew = failing
        await one.lock("x").acquire()
        async with connect(url) as two:
            began = time.monotonic()
            await two.lock("x").acquire()
            assert time.monotonic() - began < TTL + 10 * contract.LATER + 0.5

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
import asyncio, sys, time
import holdfast
from holdfast.cluster import EngineError, LeaseLost

async def hold(url, n, lost):
    async def failing(*args):
        raise EngineError("no answer")
    try:
        async with holdfast.connect(url, ttl=2) as session:
            async with session.lock(f"lock-{n}"):
                session._engine.renew = failing
                await asyncio.sleep(8)
    except LeaseLost:
        lost.append(n)

async def main(url):
    async with holdfast.connect(url) as a, holdfast.connect(url, ttl=1e9) as b:
        async with a.lock("x"):
            waiter = asyncio.create_task(b.lock("x").acquire())
            await asyncio.sleep(0.05)
        await waiter
    lost = []
    began = time.monotonic()
    await asyncio.gather(*(hold(url, n, lost) for n in range(20)))
    print(len(lost), time.monotonic() - began)

url, kind = sys.argv[1:]
if kind == "qasync":
    from PySide6.QtCore import QCoreApplication
    import qasync
    application = QCoreApplication([])
    loop = qasync.QEventLoop(application)
else:
    loop = __import__(kind).new_event_loop()
asyncio.set_event_loop(loop)
loop.run_until_complete(asyncio.wait_for(main(url), 20))
"""


@pytest.mark.parametrize("kind", ["asyncio", "uvloop", "qasync"])
@pytest.mark.parametrize("engine", ["memory", "embedded"])
def test_a_real_loop(kind, engine, tmp_path):
    if importlib.util.find_spec(kind) is None or (kind == "qasync" and importlib.util.find_spec("PySide6") is None):
        pytest.skip(f"{kind} is not installed")
    url = "memory:" if engine == "memory" else f"sqlite://{tmp_path}/locks"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, url, kind],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lost, seconds = done.stdout.split()
    assert int(lost) == 20
    assert float(seconds) < 5
