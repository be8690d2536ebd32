"""What the primitives of a session promise, as scenarios for the explorer, over engines that lose what they may lose.

The main task, which the explorer does not cancel, opens the sessions, ends them when everybody is at rest, and looks
whether the record is in its initial state then.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

from holdfast.cluster import EngineError, Session, SessionLost
from holdfast.cluster.engines.contract import Addition, Change, Notice, Opening, Stored, T
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.records.barrier import BarrierRecord
from holdfast.cluster.records.event import EventRecord
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.semaphore import SemaphoreRecord
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import decode
from holdfast.tasks.closed import Closed
from holdfast.testing import Run

from .scenarios import Ledger, Setup

NAME = "x"
AT_REST = 30
"""The time that a scenario waits, in seconds. A lost wake-up costs less than four, and time passes only at rest."""
_namespaces = (f"explored {number}" for number in itertools.count())


class Distant(MemoryEngine):
    """A request takes a moment to arrive, and so does its answer."""

    async def apply(self, *args: Any, **options: Any) -> Any:
        await asyncio.sleep(0)
        result = await super().apply(*args, **options)
        await asyncio.sleep(0)
        return result


class Near(MemoryEngine):
    """Requests take no time. Anybody can send a wake-up, so a session does not believe one."""

    vouches = False


class Silent(Distant):
    """All wake-ups are lost."""

    def wake(self, session: str, name: str, message: str) -> None:
        """Lose the wake-up: the session that was to be woken has to look for itself."""


class Lossy(MemoryEngine):
    """Half of the answers are lost, and the wake-ups with them, in an order that nothing repeats in step with
    (Thue-Morse)."""

    answers = 0

    async def apply(self, *args: Any, notices: Any = None, **options: Any) -> Any:
        lost = (self.answers + 1).bit_count() % 2
        result = await super().apply(*args, notices=None if lost else notices, **options)
        self.answers += 1
        if lost:
            raise EngineError("the answer was lost")
        return result


class Deaf(Lossy, Distant):
    """A session over an engine that makes changes itself."""


class Comparing(MemoryEngine):
    """Compares texts, as an engine on a server does: each session changes what it knows of. Makes additions."""

    makes_additions = True
    sends_texts = 10_000
    begins_at_once = False
    _kept: ClassVar[dict[tuple[str, str], tuple[int, Opening | None]]] = {}
    """The revision of each namespace and name, and whether it is open."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self._namespace = namespace
        self._known: dict[str, tuple[int, str | None]] = {}

    async def apply(
        self,
        name: str,
        change: Change[T],
        *,
        evicted: Iterable[str] = (),
        notices: Callable[[T], Iterable[Notice]] | None = None,
        addition: Addition | None = None,
        opens: Callable[[T], Opening | None] | None = None,
    ) -> T | None:
        place = self._namespace, name
        while True:
            revision, known = self._known.get(name, (0, None))
            text, result = change(Stored(known, 0.0, self._store.floor))
            opening = opens(result) if opens is not None else None
            await asyncio.sleep(0)  # the request arrives
            self._check_alive()
            assert not self._store.sessions.keys() & {*evicted}, "it buries the living"
            stored = self._store.texts.get(name)
            current, may_have = self._kept.get(place, (0, None))
            unknown = (stored or "")[len(known or "") :]
            is_known = revision == current and (not unknown or (opening is not None and opening.is_alike))
            may_add = addition is not None and may_have is not None and may_have.kind == addition.kind
            if addition is not None and may_add and (addition.is_better or not is_known):
                before, stored = stored, f"{stored}\n0 {self._id}{addition.text}"
                self._store.texts[name] = stored
                self._tell(may_have.told, name, current, stored, None)
                await asyncio.sleep(0)  # the answer arrives
                if addition.is_known:
                    return None
                self._known[name] = current, stored
                text, result = change(Stored(before, 0.0, self._store.floor))
                for session, message in notices(result) if notices is not None else ():
                    self._tell(session, name, 0, "", message)
                self._write_anew(name, current, stored, text)
                return result
            if is_known:
                stored = self._store.texts[name] = text + unknown
                self._kept[place] = current + 1, opening
                for session, message in notices(result) if notices is not None else ():
                    self._tell(session, name, current + 1, stored, message)
                await asyncio.sleep(0)
                self._known[name] = current + 1, stored
                return result
            await asyncio.sleep(0)
            self._known[name] = current, stored

    def _write_anew(self, name: str, revision: int, known: str, text: str) -> None:
        """Do it every second time only: nobody waits for it."""
        place, stored = (self._namespace, name), self._store.texts[name]
        current, opening = self._kept[place]
        if revision == current and known.count("\n") % 2:
            assert stored.startswith(known)
            self._store.texts[name] = text + stored[len(known) :]
            self._kept[place] = current + 1, opening

    def _tell(self, session: str, name: str, revision: int, text: str, message: str | None) -> None:
        other = self._store.sessions.get(session)
        if isinstance(other, Comparing):
            self._loop.call_soon(other._receive, name, revision, text, message)

    def _receive(self, name: str, revision: int, text: str, message: str | None) -> None:
        known, seen = self._known.get(name, (0, None))
        if (revision, len(text)) > (known, len(seen or "")):
            self._known[name] = revision, text
        if message is not None:
            self._on_wake(name, message, text or None)


class Prompt(Comparing):
    """A request begins in the step of the task that needs it."""

    begins_at_once = True


class Unaware(Comparing):
    """An engine that tells nobody of additions."""

    def _tell(self, session: str, name: str, revision: int, text: str, message: str | None) -> None:
        if message is not None:
            super()._tell(session, name, revision, text, message)


class DeafComparing(Lossy, Comparing):
    """An engine that may make an addition twice."""


@dataclass(frozen=True)
class Cluster:
    """How large a scenario is, and on what it runs."""

    engine: type[MemoryEngine] = Distant
    sessions: int = 2
    waiters: int = 2
    late: int = 1
    closes: bool = False
    """Whether the last session is closed at any moment."""
    cancels_background: bool = False
    """Whether the tasks that a session has created are cancelled like all others."""

    @property
    def is_prompt(self) -> bool:
        """Whether nobody waits at rest that could be served. A session that has missed something looks later."""
        return self.engine in (Distant, Near, Comparing, Prompt, Unaware)

    @property
    def ledger(self) -> Setup:
        return Setup(in_order=self.sessions == 1 and not self.closes)


class Stage:
    """The sessions of one run, and the tasks that use them."""

    def __init__(self, run: Run, cluster: Cluster, initial: Record) -> None:
        random.seed(0)  # the jitter of the timers, the same in each run
        self.run = run
        self.cluster = cluster
        self.initial = initial
        self.namespace = next(_namespaces)
        self.sessions = [Session(cluster.engine(self.namespace), f"session {n}") for n in range(cluster.sessions)]
        self.ledger = Ledger(run, cluster.ledger)

    async def play(
        self,
        make: Callable[[Session], Any],
        act: Callable[[str, Any], Coroutine[Any, Any, None]],
        before_closing: Callable[[Any], Coroutine[Any, Any, None]] | None = None,
        more: int = 0,
    ) -> None:
        """Let each task use the primitive of one of the sessions, and check what is left in the end."""
        for session in self.sessions:
            await session.__aenter__()
        primitives = [make(session) for session in self.sessions]
        setup = Setup(waiters=self.cluster.waiters, late=self.cluster.late)
        turn = {}

        async def actor(name: str) -> None:
            turn[name] = index = (len(name) - 1 if name.startswith("late") else ord(name)) % len(self.sessions)
            try:
                await act(name, primitives[index])
            except EngineError as exc:
                self.run.log(f"{name}: {exc}")
            except SessionLost:
                assert self.sessions[index].over, "only the session that was closed is lost"

        setup.spawn(self.run, actor, more=more)
        if self.cluster.closes:
            self.run.late(self.sessions[-1].close, name="closing", must_finish=True)
        await asyncio.sleep(AT_REST)
        if before_closing is not None:
            await before_closing(primitives[0])
        for session in self.sessions:
            await session.close()
        record = decode(await MemoryEngine(self.namespace).read(NAME), NAME, self.initial)
        if self.cluster.closes:  # if close() was cancelled or its answer lost, other sessions bury what is left
            record = step(record, Batch("who comes later", 0, ()), [session.id for session in self.sessions]).record
        assert record.is_initial(), f"left behind: {record}"
        assert not record.sessions(), f"left behind: {record}"


async def insist(call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Ask again until the answer is not lost."""
    done = False
    while not done:
        with suppress(EngineError):
            await call()
            done = True


Scenario = Callable[[Run], object]
Builder = Callable[[Cluster], Scenario]


def exclusion(make: Callable[[Session], Any], initial: Record, permits: int = 1, tries: bool = False) -> Builder:
    """Tasks hold the lock or a permit for a moment. Late ones may take it only if it is free."""

    def build(cluster: Cluster) -> Scenario:
        async def scenario(run: Run) -> None:
            stage = Stage(run, cluster, initial)
            ledger, inside = stage.ledger, {}

            async def use(name: str, primitive: Any) -> None:
                if tries and name.startswith("late"):
                    return await use_if_free(name, primitive)
                ledger.ask(name)
                try:
                    async with primitive as grant:
                        ledger.get(name)
                        await stay(name, grant)
                except BaseException as exc:
                    if name in ledger.line:
                        ledger.lose(name, exc)
                    raise

            async def use_if_free(name: str, primitive: Any) -> None:
                if await primitive.try_acquire():
                    try:
                        await stay(name, None)
                    finally:
                        await primitive.release()

            async def stay(name: str, grant: Any) -> None:
                inside[name] = grant
                run.log(f"{name} in")
                try:
                    await asyncio.sleep(0)
                finally:
                    del inside[name]
                    run.log(f"{name} out")

            def never_too_many() -> None:
                believed = [name for name, grant in inside.items() if grant is None or not grant.lost.is_set()]
                assert len(believed) <= permits, f"{believed} are inside"

            def nobody_waits_in_vain() -> None:
                assert not ledger.line or len(inside) == permits, f"{[*ledger.line]} could run"

            run.invariant(never_too_many)
            if cluster.is_prompt:
                run.at_rest(nobody_waits_in_vain)
            await stage.play(make, use, more=permits - 1)

        return scenario

    return build


def condition(cluster: Cluster) -> Scenario:
    """Consumers take one item each. The producer, too, may be cancelled."""

    async def scenario(run: Run) -> None:
        stage = Stage(run, cluster, LockRecord())
        items: list[str] = []
        asleep: list[str] = []
        inside: dict[str, Any] = {}

        async def act(name: str, condition: Any) -> None:
            async with condition as grant:
                inside[name] = grant
                try:
                    if name.startswith("late"):
                        items.append(name)
                        await condition.notify()
                    else:
                        await consume(name, condition)
                finally:
                    inside.pop(name, None)

        async def consume(name: str, condition: Any) -> None:
            while not items:
                asleep.append(name)
                grant = inside.pop(name)
                try:
                    await condition.wait()
                finally:
                    asleep.remove(name)
                    inside[name] = grant
            run.log(f"{name} takes {items.pop()}")

        async def send_home(condition: Any) -> None:
            nobody_sleeps_beside_an_item()
            await insist(condition.acquire)
            items.extend(asleep)
            await condition.notify_all()
            await condition.release()
            await asyncio.sleep(AT_REST)
            assert not asleep

        def one_at_a_time() -> None:
            believed = [name for name, grant in inside.items() if not grant.lost.is_set()]
            assert len(believed) <= 1, f"{believed} hold the lock"

        def nobody_sleeps_beside_an_item() -> None:
            assert not (items and asleep), f"{asleep} sleep beside {items}"

        run.invariant(one_at_a_time)
        if cluster.is_prompt:
            run.at_rest(nobody_sleeps_beside_an_item)
        await stage.play(lambda session: session.condition(NAME), act, send_home)

    return scenario


def event(cluster: Cluster) -> Scenario:
    """Tasks wait until a late task, or the main task, sets the event for a moment."""

    async def scenario(run: Run) -> None:
        stage = Stage(run, cluster, EventRecord())
        waiting: list[str] = []

        async def act(name: str, event: Any) -> None:
            if name.startswith("late"):
                await event.set()
            else:
                waiting.append(name)
                try:
                    assert await event.wait() is True
                finally:
                    waiting.remove(name)

        async def pulse(event: Any) -> None:
            setting, clearing = asyncio.create_task(event.set()), asyncio.create_task(event.clear())
            await asyncio.wait([setting, clearing])
            if clearing.cancelled():
                await event.clear()
            await asyncio.sleep(AT_REST)
            assert setting.cancelled() or not waiting, "they waited when it was set"

        await stage.play(lambda session: session.event(NAME), act, pulse)

    return scenario


def barrier(cluster: Cluster) -> Scenario:
    """There are more tasks than parties. A task that is left over is sent home."""

    async def scenario(run: Run) -> None:
        stage = Stage(run, cluster, BarrierRecord(parties=2))
        arrived: list[str] = []
        places: list[int] = []

        async def act(name: str, barrier: Any) -> None:
            arrived.append(name)
            with suppress(asyncio.BrokenBarrierError):
                places.append(await barrier.wait())
                run.log(f"{name} has place {places[-1]}")

        async def send_home(barrier: Any) -> None:
            assert max(map(places.count, places), default=0) <= len(arrived) // 2, f"places {places}"
            await barrier.abort()
            await asyncio.sleep(AT_REST)
            await barrier.reset()

        await stage.play(lambda session: session.barrier(NAME, 2), act, send_home)

    return scenario


Use = Callable[[Any, str, Callable[[], None]], Coroutine[Any, Any, None]]
"""Given a primitive and the name of a task: come in, and call the third argument inside."""


def closed_meanwhile(make: Callable[[Session], Any], initial: Record, use: Use) -> Builder:
    """Late tasks close it: each of the others gets in or gets Closed, whoever has closed it, and then nobody waits."""

    def build(cluster: Cluster) -> Scenario:
        async def scenario(run: Run) -> None:
            stage = Stage(run, cluster, initial)
            under_way: list[str] = []
            reasons: set[object] = set()
            state = {"closed": False}

            async def enter(name: str, primitive: Any) -> None:
                was_closed = state["closed"]

                def body() -> None:
                    run.log(f"{name} in")
                    assert not was_closed, f"{name} came in, and it was closed before"

                under_way.append(name)
                try:
                    await use(primitive, name, body)
                except Closed as closed:
                    run.log(f"{name} is refused")
                    reasons.add(closed.reason)
                finally:
                    under_way.remove(name)

            async def act(name: str, primitive: Any) -> None:
                if name.startswith("late"):
                    run.log("closes")
                    await primitive.close("over")
                    state["closed"] = True
                else:
                    await enter(name, primitive)

            def nobody_waits() -> None:
                assert not (state["closed"] and under_way), f"it is closed, and {under_way} wait"

            if cluster.is_prompt:
                run.at_rest(nobody_waits)

            async def end(primitive: Any) -> None:
                await insist(lambda: primitive.close("over"))
                state["closed"] = True
                await asyncio.sleep(AT_REST)
                nobody_waits()
                await insist(lambda: enter("X", primitive))
                assert reasons == {"over"}
                await insist(primitive.reopen)

            await stage.play(make, act, end)

        return scenario

    return build


async def held(lock: Any, name: str, body: Callable[[], None]) -> None:
    async with lock:
        body()
        await asyncio.sleep(0)


async def several(semaphore: Any, name: str, body: Callable[[], None]) -> None:
    async with semaphore.permits(2 if name == "A" else 1):
        body()
        await asyncio.sleep(0)


async def notified(condition: Any, name: str, body: Callable[[], None]) -> None:
    """A notifies the first of the others. A task that is refused holds the lock as the error passes."""
    async with condition as grant:
        if name == "A":
            await condition.notify()
            return
        try:
            await condition.wait()
        except Closed:
            grant.check()
            raise
        body()


async def told(event: Any, name: str, body: Callable[[], None]) -> None:
    await event.wait()
    body()


CLOSED: dict[str, Builder] = {
    "Lock, closed": closed_meanwhile(lambda session: session.lock(NAME), LockRecord(), held),
    "Semaphore(2), closed": closed_meanwhile(
        lambda session: session.semaphore(NAME, 2), SemaphoreRecord(value=2, free=2), several
    ),
    "Condition, closed": closed_meanwhile(lambda session: session.condition(NAME), LockRecord(), notified),
    "Event, closed": closed_meanwhile(lambda session: session.event(NAME), EventRecord(), told),
}
SCENARIOS: dict[str, Builder] = {
    "Lock": exclusion(lambda session: session.lock(NAME), LockRecord()),
    "Lock, try_acquire()": exclusion(lambda session: session.lock(NAME), LockRecord(), tries=True),
    "Semaphore(1), try_acquire()": exclusion(
        lambda session: session.semaphore(NAME, 1), SemaphoreRecord(value=1, free=1), tries=True
    ),
    "Semaphore(2)": exclusion(lambda session: session.semaphore(NAME, 2), SemaphoreRecord(value=2, free=2), 2),
    "BoundedSemaphore(1)": exclusion(
        lambda session: session.bounded_semaphore(NAME, 1), SemaphoreRecord(value=1, bounded=True, free=1)
    ),
    "Condition": condition,
    "Event": event,
    "Barrier(2)": barrier,
}
