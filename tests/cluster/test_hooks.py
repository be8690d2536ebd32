"""What hooks are told of sessions: waits, holdings, losses, calls of the engine, and the life of each session."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, LeaseLost, Session, SessionLost
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.instrumentation import Hook

from .engines import place, settle
from .worker import until_waiting

__all__ = ["place"]  # the fixture

_numbers = count(1)


class Notes(Hook):
    """Notes what it is told, without the seconds, which it checks."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.calls: list[tuple[str, str, BaseException | None]] = []
        self.seconds: dict[str, float] = {}

    def began_to_wait(self, kind: str, name: str) -> None:
        self.told.append(("began_to_wait", kind, name))

    def waited(self, kind: str, name: str, seconds: float, outcome: str) -> None:
        self.told.append(("waited", kind, name, outcome))
        self.seconds["waited"] = seconds

    def acquired(self, kind: str, name: str) -> None:
        self.told.append(("acquired", kind, name))

    def held(self, kind: str, name: str, seconds: float) -> None:
        self.told.append(("held", kind, name))
        self.seconds["held"] = seconds

    def lease_lost(self, kind: str, name: str) -> None:
        self.told.append(("lease_lost", kind, name))

    def engine_call(self, engine: str, operation: str, seconds: float, error: BaseException | None) -> None:
        assert 0 <= seconds < BOUND
        self.calls.append((engine, operation, error))

    def session_opened(self, session: str) -> None:
        self.told.append(("opened", session))

    def session_reopened(self, session: str) -> None:
        self.told.append(("reopened", session))

    def session_lost(self, session: str, why: Exception) -> None:
        self.told.append(("lost", session, str(why)))

    def session_closed(self, session: str) -> None:
        self.told.append(("closed", session))

    def session_evicted(self, session: str, by: str) -> None:
        self.told.append(("evicted", session, by))

    def take(self) -> list[tuple[Any, ...]]:
        """What was told since the last time."""
        told, self.told = self.told, []
        return told


@pytest.fixture
def notes() -> Iterator[Notes]:
    notes = Notes()
    remove = holdfast.instrument(notes)
    yield notes
    remove()


def pair() -> tuple[Session, Session]:
    namespace = f"hooks {next(_numbers)}"
    return tuple(holdfast.connect("memory:", namespace=namespace, name=name) for name in ("a", "b"))


async def until_told(notes: Notes, *what: Any) -> None:
    async with asyncio.timeout(BOUND):
        while what not in notes.told:
            await asyncio.sleep(0.001)


async def test_a_lock_that_is_free_is_held_and_nobody_waits(notes):
    async with holdfast.connect("memory:", namespace=f"hooks {next(_numbers)}", name="a") as session:
        lock = session.lock("x")
        async with lock:
            await asyncio.sleep(0.01)
        assert 0.01 <= notes.seconds["held"] < BOUND
        assert await lock.try_acquire()
        assert await lock.try_acquire() is None
    assert notes.take() == [
        ("opened", "a"),
        ("acquired", "lock", "x"),
        ("held", "lock", "x"),
        ("acquired", "lock", "x"),
        ("closed", "a"),
        ("lease_lost", "lock", "x"),  # it was not released
        ("held", "lock", "x"),
    ]


async def test_what_is_dropped_without_a_release_is_held_until_the_session_ends(notes):
    async with holdfast.connect("memory:", namespace=f"hooks {next(_numbers)}", name="a") as session:
        await session.lock("x").acquire()
        gc.collect()
        assert notes.take() == [("opened", "a"), ("acquired", "lock", "x")]
    assert notes.take() == [("closed", "a"), ("held", "lock", "x")]


async def test_a_condition_whose_task_is_cancelled_waits_no_more(notes):
    a, b = pair()
    async with a, b:
        condition = a.condition("news")
        task = asyncio.create_task(listen(condition))
        await until_told(notes, "began_to_wait", "condition", "news")
        async with b.lock("news"):
            task.cancel()
            await until_told(notes, "waited", "condition", "news", "cancelled")
            assert not task.done()  # it has to take the lock again
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [each[0] for each in notes.take() if each[1] == "condition"] == ["began_to_wait", "waited"]


async def test_all_waits_and_holdings_end_on_each_engine(notes, place):
    """Ten tasks of two sessions take turns. Most learn of their grants by wake-ups, and some in the answer."""

    async def work(session: Session) -> None:
        async with session.lock("x"):
            await asyncio.sleep(0.001)

    async with place.connect(name="a") as a, place.connect(name="b") as b, asyncio.timeout(BOUND):
        await asyncio.gather(*(work(session) for session in 5 * (a, b)))
    counts = Counter(notes.take())
    assert counts["acquired", "lock", "x"] == counts["held", "lock", "x"] == 10
    assert counts["began_to_wait", "lock", "x"] == counts["waited", "lock", "x", "granted"] >= 5
    assert not counts["waited", "lock", "x", "cancelled"]
    name = {"valkey": "redis"}.get(place.engine, place.engine)
    assert {engine for engine, _, _ in notes.calls} == {name}
    assert {operation for _, operation, _ in notes.calls} >= {"open", "apply", "close"}
    assert {error for _, _, error in notes.calls} == {None}


async def listen(condition: Any) -> None:
    async with condition:
        await condition.wait()


@pytest.mark.parametrize("in_one_session", [False, True])
async def test_who_waits_for_a_lock_is_told_when_it_begins_and_when_it_ends(notes, in_one_session):
    a, b = pair()
    async with a, b:
        notes.take()
        async with a.lock("x"):
            task = asyncio.create_task((a if in_one_session else b).lock("x").acquire())
            await until_told(notes, "began_to_wait", "lock", "x")
            await asyncio.sleep(0.02)
        await task
        assert notes.take() == [
            ("acquired", "lock", "x"),
            ("began_to_wait", "lock", "x"),
            ("held", "lock", "x"),
            ("waited", "lock", "x", "granted"),
            ("acquired", "lock", "x"),
        ]
        assert 0.02 <= notes.seconds["waited"] < BOUND


async def test_a_wait_that_is_given_up_is_told_as_such(notes):
    a, b = pair()
    async with a, b, a.lock("x"):
        notes.take()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await b.lock("x").acquire()
        assert notes.take() == [("began_to_wait", "lock", "x"), ("waited", "lock", "x", "cancelled")]
        task = asyncio.create_task(b.lock("x").acquire())
        await until_told(notes, "began_to_wait", "lock", "x")
        await b.close()
        with pytest.raises(SessionLost):
            await task
        assert notes.take() == [
            ("began_to_wait", "lock", "x"),
            ("closed", "b"),
            ("waited", "lock", "x", "failed"),
        ]


async def test_waits_that_are_ended_by_close_are_told_as_such(notes, place):
    async with place.connect(name="a") as a, place.connect(name="b") as b:
        held, limiter = a.lock("x"), a.rate_limiter("r", 1, 3600, burst=1)
        await held.acquire()
        await limiter.acquire()
        calls = b.lock("x").acquire(), b.rate_limiter("r", 1, 3600, burst=1).acquire(), b.event("e").wait()
        waiting = [asyncio.create_task(call) for call in calls]
        for name in ("x", "r", "e"):
            await until_waiting(a, name)
        await settle(a, b)
        for primitive in (held, limiter, a.event("e")):
            await primitive.close("over")
        await asyncio.wait(waiting)
        assert all(isinstance(task.exception(), holdfast.Closed) for task in waiting)
        await settle(a, b)
    told = [each for each in notes.told if each[0] == "waited"]
    assert sorted(told) == [
        ("waited", "event", "e", "closed"),
        ("waited", "lock", "x", "closed"),
        ("waited", "rate limiter", "r", "closed"),
    ]


async def test_other_kinds_wait_under_their_own_names(notes):
    a, b = pair()
    async with a, b:
        condition = a.condition("news", a.lock("desk"))
        barrier, event, limiter = a.barrier("meeting", 2), a.event("go"), a.rate_limiter("api", 100, 1, burst=1)

        for wait, end, told, times in (
            (event.wait, b.event("go").set, ("event", "go"), 1),
            # Who comes last waits until it is known that the others live.
            (barrier.wait, b.barrier("meeting", 2).wait, ("barrier", "meeting"), 2),
        ):
            notes.take()
            task = asyncio.create_task(wait())
            await until_told(notes, "began_to_wait", *told)
            await end()
            await task
            assert [each for each in notes.take() if each[1] == told[0]] == [
                *times * [("began_to_wait", *told)],
                *times * [("waited", *told, "granted")],
            ]
        notes.take()
        task = asyncio.create_task(listen(condition))
        await until_told(notes, "began_to_wait", "condition", "news")
        assert ("held", "lock", "desk") in notes.told  # not while it waits
        async with condition:
            await condition.notify()
        await task
        assert ("waited", "condition", "news", "granted") in notes.told
        counts = Counter(each[:3] for each in notes.take())
        assert counts["acquired", "lock", "desk"] == counts["held", "lock", "desk"] == 3
        await limiter.acquire()
        assert notes.take() == []
        await limiter.acquire()
        assert notes.take() == [("began_to_wait", "rate limiter", "api"), ("waited", "rate limiter", "api", "granted")]
        assert 0.005 < notes.seconds["waited"] < BOUND
        limiter = a.rate_limiter("slow", 1, 60, burst=1)
        await limiter.acquire()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await limiter.acquire()
        assert notes.take() == [
            ("began_to_wait", "rate limiter", "slow"),
            ("waited", "rate limiter", "slow", "cancelled"),
        ]


def test_sessions_for_threads_tell_the_same(notes):
    namespace = f"hooks {next(_numbers)}"
    with holdfast.connect("memory:", namespace=namespace, name="a").sync as session:
        lock = session.lock("x")
        notes.take()
        with lock:
            assert not lock.acquire(timeout=0.05)
        assert notes.take() == [
            ("acquired", "lock", "x"),
            ("began_to_wait", "lock", "x"),
            ("waited", "lock", "x", "cancelled"),
            ("held", "lock", "x"),
        ]


async def test_evictions_losses_and_reopenings(notes, caplog):
    caplog.set_level(logging.INFO, "holdfast.cluster")
    namespace = f"hooks {next(_numbers)}"
    async with (
        holdfast.connect("memory:", namespace=namespace, name="a", reopen=True) as a,
        holdfast.connect("memory:", namespace=namespace, name="b") as b,
    ):
        lock, victim = a.lock("x"), a.id
        with pytest.raises(LeaseLost):  # noqa: PT012
            async with lock:
                notes.take()
                assert await b.evict(victim, reason="a test", by="me")
                await asyncio.sleep(BOUND)
        told = notes.take()
        why = next(each[2] for each in told if each[0] == "lost")
        assert "was evicted by me" in why
        assert sorted(told) == sorted(
            [
                ("evicted", victim, "me"),
                ("lost", "a", why),
                ("lease_lost", "lock", "x"),
                ("held", "lock", "x"),
            ]
        )
        assert not await b.evict(victim)
        async with lock:
            pass
        assert notes.take() == [("reopened", "a"), ("acquired", "lock", "x"), ("held", "lock", "x")]
    records = [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "holdfast.cluster"]
    assert [level for level, _ in records] == ["WARNING", "WARNING", "INFO"]
    texts = "\n".join(sorted(text for _, text in records))
    assert f"has evicted session '{victim}' for 'me': 'a test'" in texts
    assert f"session 'a' {victim} was lost: session {victim} was evicted by me" in texts
    assert f"session 'a' {a.id} was opened, in place of one that was lost" in texts


async def test_a_limiter_whose_place_is_gone_waits_no_more(notes):
    async with Session(engine := MemoryEngine(f"hooks {next(_numbers)}", None), "a") as session:
        limiter = session.rate_limiter("api", 20, 1, burst=1)
        await limiter.acquire()
        task = asyncio.create_task(limiter.acquire())
        await until_told(notes, "began_to_wait", "rate limiter", "api")
        text = await engine.read("api")
        assert await engine.remove("api", text, 0)
        with pytest.raises(SessionLost, match="is gone"):
            async with asyncio.timeout(BOUND):
                await task
        assert ("waited", "rate limiter", "api", "failed") in notes.told


class Failing(MemoryEngine):
    """Fails, or takes long, as the test says."""

    fails = False
    takes = 0.0

    async def apply(self, *args: Any, **options: Any) -> Any:
        if self.fails:
            raise EngineError("it is away")
        await asyncio.sleep(self.takes)
        return await super().apply(*args, **options)


async def test_calls_of_the_engine_and_why_they_fail(notes):
    async with Session(engine := Failing(f"hooks {next(_numbers)}", None), "a") as session:
        async with session.lock("x"):
            pass
        await session.names()
        assert [call for call in notes.calls if call[1] != "old"] == [
            ("failing", "open", None),
            ("failing", "apply", None),
            ("failing", "apply", None),
            ("failing", "names", None),
        ]
        engine.fails = True
        with pytest.raises(EngineError):
            await session.lock("x").acquire()
        name, operation, error = notes.calls[-1]
        assert (name, operation, type(error), str(error)) == ("failing", "apply", EngineError, "it is away")
        engine.fails = False
        with pytest.raises(holdfast.NameConflict):
            await session.semaphore("x", 3).locked()
        assert session.engine is engine
    assert notes.calls[-1] == ("failing", "close", None)


async def test_an_engine_that_is_slow_is_logged_once(monkeypatch, caplog):
    monkeypatch.setattr("holdfast.cluster.session_life.told.SLOW", 0.01)
    async with Session(engine := Failing(f"hooks {next(_numbers)}", None), "a") as session:
        async with session.lock("x"):
            pass
        assert not caplog.records
        engine.takes = 0.02
        for _ in range(2):
            async with session.lock("x"):
                pass
        (record,) = [each for each in caplog.records if each.name == "holdfast.cluster"]
        assert "to change what is stored under 'x': that is slow, or the event loop was blocked" in record.getMessage()
        assert "session 'a'" in record.getMessage()
        engine.takes = 0


async def test_a_hook_that_raises_breaks_nothing_and_is_logged_once(notes, caplog):
    class Broken(Hook):
        def acquired(self, kind: str, name: str) -> None:
            raise RuntimeError("a bug of the hook's")

        def engine_call(self, *args: object) -> None:
            raise RuntimeError("another one")

    remove = holdfast.instrument(broken := Broken())
    try:
        async with holdfast.connect("memory:", namespace=f"hooks {next(_numbers)}") as session:
            notes.take()
            for _ in range(2):
                async with session.lock("x"):
                    pass
            assert notes.take() == 2 * [("acquired", "lock", "x"), ("held", "lock", "x")]
    finally:
        remove()
    (record,) = [each for each in caplog.records if each.name == "holdfast.instrumentation"]
    assert record.getMessage().startswith(f"{broken!r} has raised an error")
    assert record.exc_info is not None


async def test_a_hook_that_was_removed_hears_only_of_the_ends_of_what_it_knows():
    late = Notes()
    remove = holdfast.instrument(early := Notes())
    async with holdfast.connect("memory:", namespace=f"hooks {next(_numbers)}", name="a") as session:
        async with session.lock("x"):
            remove()
            remove()
            remove_late = holdfast.instrument(late)
            async with session.lock("y"):
                pass
        remove_late()
        async with session.lock("x"):
            pass
    assert early.told == [("opened", "a"), ("acquired", "lock", "x"), ("held", "lock", "x")]
    assert late.told == [("acquired", "lock", "y"), ("held", "lock", "y")]


@pytest.mark.parametrize("hook", [Notes, object(), None])
def test_what_is_no_hook_is_refused(hook):
    with pytest.raises(TypeError, match=r"^instrument\(\) needs an object of a subclass of .*Hook, not ") as caught:
        holdfast.instrument(hook)
    assert ("; write Notes()" in str(caught.value)) is (hook is Notes)


def test_a_lease_that_is_lost_while_its_session_lives_is_told_and_logged(notes, caplog):
    with holdfast.connect("memory:", namespace=f"hooks {next(_numbers)}", name="a").sync as session:
        lock = session.lock("x", hold_at_most=0.05)
        with pytest.raises(LeaseLost), lock as grant:  # noqa: PT012
            assert grant.lost.wait(BOUND)
            assert lock.acquire(timeout=BOUND)
            lock.release()
        told = [each for each in notes.take() if each[1:] == ("lock", "x")]
        assert Counter(told) == {
            ("acquired", "lock", "x"): 2,
            ("held", "lock", "x"): 2,
            ("lease_lost", "lock", "x"): 1,
        }
        assert session.over is None
    (record,) = [each for each in caplog.records if each.name == "holdfast.cluster"]
    assert "held for longer than its hold_at_most" in record.getMessage()


def test_nothing_is_printed_by_a_program_without_logging():
    program = """
import asyncio, holdfast
async def main():
    async with holdfast.connect("memory:", name="a") as a, holdfast.connect("memory:", name="b") as b:
        grant = await a.lock("x").acquire()
        await b.evict(a.id)
        await grant.lost.wait()
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=BOUND, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_a_program_without_logging_prints_nothing():
    program = """
import asyncio
import holdfast

async def main():
    async with (
        holdfast.connect("memory:", namespace="quiet", reopen=True) as a,
        holdfast.connect("memory:", namespace="quiet") as b,
    ):
        assert await b.evict(a.id)
        async with a.lock("x"):
            print("goes on")

asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=BOUND, check=True)
    assert (run.stdout, run.stderr) == ("goes on\n", "")
