"""Many tasks that give up, and many conditions of one lock: the cost is that of what changes, not of all that waits.

It is measured in the process's own time, with bounds that are far above what it takes, and far below a cost that grows
with the square of the number.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from interpreters import without_the_collector

from holdfast.cluster.engines.contract import Stored
from holdfast.cluster.records import barrier as barrier_record
from holdfast.cluster.records import event as event_record
from holdfast.cluster.records import lock as lock_record
from holdfast.cluster.records import semaphore as semaphore_record
from holdfast.cluster.records import stored
from holdfast.cluster.records.additions import added
from holdfast.cluster.records.line import size
from holdfast.cluster.records.record import Withdraw
from holdfast.cluster.records.run import Run
from holdfast.cluster.records.step import Batch, burial, step
from holdfast.cluster.records.stored import decode, encode
from holdfast.cluster.session_life.known_record import KnownRecord

from .test_lock import connect, run, url
from .worker import until_waiting

__all__ = ["url"]  # the fixture

MANY = 20_000
WAITING = {
    "lock": (lock_record.LockRecord(tokens=1, holder=lock_record.Holder("a", 1, 1)), lock_record.Acquire),
    "semaphore": (semaphore_record.SemaphoreRecord(value=1, free=0, permits={"b": 1}), semaphore_record.Acquire),
    "event": (event_record.EventRecord(), event_record.Wait),
    "barrier": (barrier_record.BarrierRecord(parties=10**9), barrier_record.Arrive),
}
ORDERS = {
    "every second one": range(1, MANY, 2),
    "newest first": range(MANY, MANY // 2, -1),
    "every third one, newest first": range(MANY, 0, -3),
}


class Stopwatch(contextlib.ExitStack):
    def __enter__(self):
        self.enter_context(without_the_collector())
        self.start = time.process_time()
        return self

    def __exit__(self, *exc):
        self.seconds = time.process_time() - self.start
        return super().__exit__(*exc)


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("kind", WAITING)
def test_thousands_give_up_at_once(kind, order):
    initial, ask = WAITING[kind]
    crowded = step(initial, Batch("a", 1, tuple(ask(ticket) for ticket in range(2, MANY + 2)))).record
    with Stopwatch() as watch:
        done = step(crowded, Batch("a", 2, tuple(Withdraw(ticket) for ticket in order)))
        assert size(done.record.line) == MANY - sum(done.outcomes)
        assert decode(encode(done.record), "x", initial) == done.record
    assert sum(done.outcomes) >= len(order) - 1
    assert watch.seconds < 1
    assert len(encode(done.record)) < 14 * MANY


def test_thousands_of_sessions_stand_in_a_line():
    crowded, _ = WAITING["lock"]
    for number in range(3000):
        crowded = step(crowded, Batch(f"session {number}", 1, (lock_record.Acquire(1),))).record
    with Stopwatch() as watch:
        for number in range(300):
            crowded, _, wakes, _ = step(crowded, Batch("a", number + 2, (lock_record.Release(number + 1),)))
            assert [wake[:2] for wake in wakes] == [(f"session {number}", 1)]
    assert watch.seconds < 2


def test_the_dead_leave_thousands_of_sessions_behind():
    """What is stored of so many is searched as text, and that once for each session would take seconds."""
    sessions = [f"session {number}" for number in range(30_000)]
    record = lock_record.LockRecord(tokens=1)
    line = tuple(Run(session, (1, 2), 1.5) for session in sessions[1:])
    crowd = record.but(line=line, holder=lock_record.Holder(sessions[0], 1, 1), answers=dict.fromkeys(sessions, "1\t0"))
    crowd = decode(encode(crowd), "x", record)
    for dead in [sessions[7]], sessions[::3]:
        with Stopwatch() as watch:
            left = burial(crowd, dead, 2.0).record
            assert len(left.line) == len(line) - len({*dead} - {sessions[0]}) - (sessions[0] in dead)
            assert decode(encode(left), "x", record) == left
        assert watch.seconds < 1.5
    with Stopwatch() as watch:
        assert crowd.watches({*sessions})[sessions[2]] == {sessions[1]}
    assert watch.seconds < 0.5


@pytest.mark.parametrize("order", ["at once", "one by one, newest first"])
def test_the_loop_goes_on_while_thousands_of_tasks_give_up(url, order):
    many = 6000

    async def main():
        async with connect(url) as holder, connect(url) as session:
            await holder.lock("x").acquire()
            lock = session.lock("x")
            tasks = [asyncio.create_task(lock.acquire()) for _ in range(many)]
            await until_waiting(holder, "x", many)
            blocked = asyncio.create_task(longest_block())
            await asyncio.sleep(0.01)
            with Stopwatch() as watch:
                if order == "at once":
                    for task in tasks[::2]:
                        task.cancel()
                else:
                    for task in reversed(tasks[::2]):
                        task.cancel()
                        await asyncio.sleep(0)
                await until_waiting(holder, "x", many // 2)
            blocked.cancel()
            assert watch.seconds < 5
            assert await blocked < 0.6, "of the loop's own time"
            for task in tasks:
                task.cancel()

    run(main)


async def longest_block():
    """Seconds of this process's own time between two iterations of the loop, at most."""
    longest, last = 0.0, time.process_time()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            longest, last = max(longest, now - last), now
    except asyncio.CancelledError:
        return longest


def test_of_thousands_of_conditions_only_those_that_change_are_read_and_written(monkeypatch):
    lock = lock_record.LockRecord()
    for number in range(3000):
        wait = lock_record.Acquire(2 * number), lock_record.Wait(2 * number + 1, f"condition {number}", number + 1)
        lock = step(lock, Batch("a", number + 1, wait)).record
    text = encode(lock)
    read, written = [], []
    monkeypatch.setattr(lock_record, "line_of", lambda rows, make=lock_record.line_of: read.append(rows) or make(rows))
    room = lock_record.Room.of
    monkeypatch.setattr(lock_record.Room, "of", lambda *which: written.append(which) or room(*which))
    known = decode(text, "x", lock_record.LockRecord(), known=lock)
    assert (known, read) == (lock, [])
    notified = (
        lock_record.Acquire(9000),
        lock_record.Notify("condition 1500", 1, 3001),
        lock_record.Release(3001),
    )
    changed = encode(step(known, Batch("b", 1, notified)).record)
    assert (len(read), len(written)) == (0, 0)
    again = decode(changed, "x", lock_record.LockRecord(), known=known)
    assert len(again.rooms) == 2999
    assert read == []
    assert len(decode(changed, "x", lock_record.LockRecord()).rooms) == len(read) == 2999


def test_what_is_behind_a_text_that_is_known_is_read_alone(monkeypatch):
    event = event_record.EventRecord()
    text = encode(event)
    rows = [f"\n0 s{n}{added(event, Batch(f's{n}', 1, (event_record.Wait(1),)))}" for n in range(3)]
    seen = text + rows[0], decode(text + rows[0], "x", event)
    monkeypatch.setattr(stored, "parse", None)
    assert decode("".join([text, *rows]), "x", event, seen=seen).answers.keys() == {"s0", "s1", "s2"}


def test_what_is_behind_the_text_of_the_last_change_is_read_alone(monkeypatch):
    event = event_record.EventRecord()
    known = KnownRecord("x", event)
    batch = Batch("me", 1, (event_record.Wait(1),))
    text, _ = known.changed(Stored(None, 1.0, 0), batch, (), "label", lambda record: None)
    monkeypatch.setattr(stored, "parse", None)
    row = f"\n1000000 another{added(event, batch._replace(session='another'))}"
    assert known.decoded(text + row).answers.keys() == {"me", "another"}


def test_two_sessions_take_turns_in_hundreds_of_conditions(url):
    many = 300

    async def main():
        async with connect(url) as one, connect(url) as two:

            async def wait(number):
                condition = one.condition(f"c{number}", one.lock("x"))
                async with condition:
                    await condition.wait()

            async with two.lock("x"):
                pass
            with Stopwatch() as watch:
                tasks = [asyncio.create_task(wait(number)) for number in range(many)]
                while sum(waiting.condition is not None for waiting in (await two.inspect("x")).waiters) < many:
                    await asyncio.sleep(0.02)
                lock = two.lock("x")
                for number in range(many):
                    condition = two.condition(f"c{number}", lock)
                    async with condition:
                        await condition.notify()
                await asyncio.gather(*tasks)
            assert watch.seconds < 5

    run(main)
