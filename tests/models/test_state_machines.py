"""Model and implementation of each primitive, driven with the same operations, must do the same.

Nothing runs between two operations unless a rule lets it, so that a release, a cancellation and a newcomer may all fall
into one iteration of the loop, in any order. After each operation the two are compared: who has finished, with what and
in which order; who would go on now; what the primitive says of itself; and, when nothing moves, how many wait.

HYPOTHESIS_PROFILE=deep looks at many more sequences, different ones in each run.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import holdfast

from . import models
from .driven_loop import DrivenLoop, Stage, go_on_as
from .models import BODY_CANCELLED, BROKEN, CANCELLED, Actor

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SETTINGS = settings(
    derandomize=not DEEP,
    database=None,
    deadline=None,
    max_examples=5000 if DEEP else 150,
    stateful_step_count=60 if DEEP else 30,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)
WHICH = st.integers(0, 7)
"""Which of the actors that a rule may be about: the n-th, going round."""


@dataclass
class Waiting:
    """The task of an actor."""

    loop: DrivenLoop
    closable: bool
    task: asyncio.Task[None] = field(init=False)
    messages: list[str] = field(default_factory=list)
    """The cancellations that it was sent."""
    timed: bool = False
    expired: bool = False


def attempt(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or the type of the error that its caller is meant to see."""
    try:
        return call()
    except (RuntimeError, ValueError) as error:
        return RuntimeError if isinstance(error, RuntimeError) else ValueError


class Machine(RuleBasedStateMachine):
    """What the machines of all primitives share: actors wait, are cancelled and closed, and loops end."""

    model: Any
    primitive: Any

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage()
        self.loop = DrivenLoop(self.stage)
        self.tasks: dict[Actor, Waiting] = {}
        self.names = (f"actor {number}" for number in range(10_000))
        self.outcomes: list[tuple[Actor, object]] = []
        self.garbage: list[Waiting] = []

    # Driving both

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        """A call of a method that may wait."""
        raise NotImplementedError

    def both(self, modelled: Callable[[], Any], real: Callable[[], Any], *, inside: bool = True) -> None:
        """Call a method that does not wait, from within the loop or between two runs of it."""
        with self.loop.running() if inside else nullcontext():
            result = attempt(real)
        assert result == attempt(modelled)

    def start(
        self,
        modelled: Callable[[Actor], None],
        coroutine: Coroutine[Any, Any, Any],
        *,
        timed: bool = False,
        closable: bool = True,
    ) -> None:
        """Add an actor, and run it until it waits."""
        actor = next(self.names)
        waiting = self.tasks[actor] = Waiting(self.loop, closable, timed=timed)
        waiting.task = self.loop.start(actor, self._play(actor, coroutine))
        if (error := attempt(lambda: modelled(actor))) is not None:
            self.model.finish(actor, error)

    async def _play(self, actor: Actor, coroutine: Coroutine[Any, Any, Any]) -> None:
        waiting = self.tasks[actor]
        outcome: object
        try:
            outcome = await (self._within_timeout(coroutine) if waiting.timed else coroutine)
        except asyncio.CancelledError as error:
            sent = waiting.expired or error.args[:1] in [(message,) for message in waiting.messages]
            outcome = CANCELLED if sent and waiting.messages else self.other_cancellation(error)
        except TimeoutError:
            outcome = CANCELLED if waiting.expired and not waiting.messages else "a cancellation was swallowed"
        except asyncio.BrokenBarrierError:
            outcome = BROKEN
        except RuntimeError:
            outcome = RuntimeError
        except ValueError:
            outcome = ValueError
        self.outcomes.append((actor, outcome))

    def other_cancellation(self, error: asyncio.CancelledError) -> object:
        """The outcome of a CancelledError that nobody has sent to the actor that gets it."""
        return f"another cancellation, {error!r}"

    async def _within_timeout(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        if sys.version_info >= (3, 12):
            return await asyncio.wait_for(coroutine, 1)
        async with asyncio.timeout(1):  # wait_for() has a task of its own there
            return await coroutine

    def alive(self) -> list[Actor]:
        """The actors that have not finished."""
        return [actor for actor, waiting in self.tasks.items() if not waiting.task.done()]

    def closable(self) -> list[Actor]:
        return [actor for actor in self.alive() if self.tasks[actor].closable]

    def pick(self, which: int, actors: list[Actor]) -> Actor:
        return actors[which % len(actors)]

    # What may happen to anybody

    @precondition(alive)
    @rule(which=WHICH, times=st.integers(1, 2))
    def cancel(self, which: int, times: int) -> None:
        actor = self.pick(which, self.alive())
        waiting = self.tasks[actor]
        self.before_cancelling()
        for _ in range(times):
            waiting.messages.append(f"{actor}, {len(waiting.messages)}")
            with self.loop.running():
                waiting.task.cancel(waiting.messages[-1])
            self.model.cancel(actor)

    def before_cancelling(self) -> None:
        """Stay clear of what is known to go wrong."""

    def before_ending_loop(self) -> None:
        """Stay clear of what is known to go wrong."""

    def timed(self) -> list[Actor]:
        return [actor for actor in self.alive() if self.tasks[actor].timed and not self.tasks[actor].expired]

    @precondition(timed)
    @rule(which=WHICH)
    def expire(self, which: int) -> None:
        """The timeout around a waiting method expires."""
        actor = self.pick(which, self.timed())
        self.before_cancelling()
        self.tasks[actor].expired = True
        self.stage.expire(actor)
        self.model.cancel(actor)

    @rule()
    def wait_no_time_at_all(self) -> None:
        """A timeout of zero does not even start what it is put around."""
        actor = next(self.names)
        task = self.loop.start(actor, asyncio.wait_for(self.waiting_call(), 0))
        assert isinstance(task.exception(), TimeoutError)

    @precondition(closable)
    @rule(which=WHICH, inside=st.booleans())
    def close(self, which: int, inside: bool) -> None:
        """A coroutine is closed where it waits, as the collector does."""
        self.close_one(self.pick(which, self.closable()), inside)

    def close_one(self, actor: Actor, inside: bool) -> None:
        waiting = self.remove(actor)
        with self.loop.running() if inside else nullcontext():
            waiting.task.get_coro().close()
        self.model.close(actor)

    def remove(self, actor: Actor) -> Waiting:
        """Forget an actor whose task will not run again."""
        waiting = self.tasks.pop(actor)
        waiting.task._log_destroy_pending = False  # type: ignore[attr-defined]
        self.stage.forget(actor)
        return waiting

    # Time passes

    @precondition(lambda self: self.stage.ready())
    @rule(which=WHICH)
    def run_one(self, which: int) -> None:
        """An actor that can go on does so, in any order."""
        actor = self.pick(which, self.stage.ready())
        self.stage.run(actor)
        self.model.run(actor)

    @rule()
    def settle(self) -> None:
        """All actors go on until nothing moves."""
        self.stage.settle()
        self.model.settle()

    # Loops

    @precondition(lambda self: not self.alive())
    @rule()
    def go_to_another_loop(self) -> None:
        """The loop stays open, and is never run again."""
        self.settle()
        self.loop = DrivenLoop(self.stage)

    @precondition(lambda self: all(self.tasks[actor].closable for actor in self.alive()))
    @rule(collect=st.booleans())
    def end_loop(self, collect: bool) -> None:
        """The loop is closed with all that waits there. The coroutines may be collected much later."""
        collect = collect or not self.may_be_collected_late()
        self.before_ending_loop()
        self.loop.close()
        actors = sorted(self.alive(), key=lambda actor: actor in self.model.granted)
        for actor in actors:
            self.garbage.append(self.remove(actor))
        self.model.end(actors)
        self.stage.forget(None)
        self.loop = DrivenLoop(self.stage)
        if collect:
            self.collect()

    def may_be_collected_late(self) -> bool:
        """Whether it makes no difference to the others."""
        return True

    @precondition(lambda self: self.garbage)
    @rule()
    def collect(self) -> None:
        self.close_garbage()

    def close_garbage(self) -> None:
        for waiting in self.garbage:
            waiting.task.get_coro().close()
        self.garbage.clear()

    # Comparing

    @invariant()
    def same(self) -> None:
        self.tidy()
        assert self.outcomes == self.model.outcomes
        assert self.stage.ready() == self.model.ready
        assert not self.stage.errors
        self.compare()
        if not self.model.ready:
            self.compare_settled()

    def tidy(self) -> None:
        """Run what is left to do for actors that have finished."""

    def compare(self) -> None:
        """At any time."""

    def compare_settled(self) -> None:
        """When nothing moves."""
        assert self.primitive.statistics().tasks_waiting == len(self.model.line)
        self.compare_repr(len(self.model.line))

    def state_in_repr(self) -> str:
        raise NotImplementedError

    def compare_repr(self, waiters: int) -> None:
        kind = type(self.primitive).__name__
        state = self.state_in_repr() + (f", waiters:{waiters}" if waiters else "")
        assert repr(self.primitive) == f"<holdfast.{kind} object at {id(self.primitive):#x} [{state}]>"

    # The end

    def teardown(self) -> None:
        """All actors leave. Then the primitive is free, and works in another loop."""
        if sys.exc_info()[0] is not None or not hasattr(self, "primitive"):
            return
        while self.alive():
            for which in reversed(range(len(self.alive()))):
                self.cancel(which, 1)
            self.settle()
            self.same()
            self.empty()
        self.collect()
        self.empty()
        self.settle()
        self.same()
        self.loop = DrivenLoop(self.stage)
        self.use()
        self.settle()
        self.same()
        assert not self.alive()
        assert self.is_forgotten(), "something is remembered of what is over"

    def is_forgotten(self) -> bool:
        return self.primitive._queue is None

    def empty(self) -> None:
        """Make it free."""

    def use(self) -> None:
        """Let a few wait and go on, to show that it works."""
        raise NotImplementedError


class LockMachine(Machine):
    @initialize()
    def make(self) -> None:
        self.model, self.primitive = models.Lock(), holdfast.Lock()

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.acquire()

    async def enter(self) -> bool:
        return await self.primitive.__aenter__() is None

    @rule(timed=st.booleans(), enter=st.booleans())
    def acquire(self, timed: bool, enter: bool) -> None:
        self.start(self.model.acquire, self.enter() if enter else self.primitive.acquire(), timed=timed)

    @rule(inside=st.booleans())
    def try_acquire(self, inside: bool) -> None:
        self.both(self.model.try_acquire, self.primitive.try_acquire, inside=inside)

    @rule(inside=st.booleans())
    def release(self, inside: bool) -> None:
        """Release the lock, whoever holds it, and also if nobody does."""
        self.both(self.model.release, self.primitive.release, inside=inside)

    def compare(self) -> None:
        assert self.primitive.locked() == self.model.locked

    def state_in_repr(self) -> str:
        return "locked" if self.model.locked else "unlocked"

    def empty(self) -> None:
        if self.model.locked:
            self.release(inside=True)

    def use(self) -> None:
        for _ in range(3):
            self.acquire(timed=False, enter=False)
        for _ in range(3):
            self.settle()
            self.same()
            self.release(inside=True)
        assert not self.primitive.locked()


class EventMachine(Machine):
    @initialize()
    def make(self) -> None:
        self.model, self.primitive = models.Event(), holdfast.Event()

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.wait()

    @rule(timed=st.booleans())
    def wait(self, timed: bool) -> None:
        self.start(self.model.wait, self.primitive.wait(), timed=timed)

    @rule(inside=st.booleans())
    def set(self, inside: bool) -> None:
        self.both(self.model.set, self.primitive.set, inside=inside)

    @rule(inside=st.booleans())
    def clear(self, inside: bool) -> None:
        self.both(self.model.clear, self.primitive.clear, inside=inside)

    def may_be_collected_late(self) -> bool:
        """The repr counts an actor that was woken until its coroutine has left."""
        return not self.model.ready

    def compare(self) -> None:
        assert self.primitive.is_set() == self.model.is_set

    def state_in_repr(self) -> str:
        return "set" if self.model.is_set else "unset"

    def use(self) -> None:
        self.clear(inside=True)
        for _ in range(3):
            self.wait(timed=False)
        self.set(inside=True)
        self.clear(inside=True)
        self.settle()


PERMITS = st.sampled_from([1, 1, 1, 2, 3])
"""How many permits an actor asks for. Most ask for one."""


class SemaphoreMachine(Machine):
    modelled: type[models.Semaphore] = models.Semaphore
    made: type[holdfast.Semaphore] = holdfast.Semaphore

    @initialize(value=st.integers(0, 3))
    def make(self, value: int) -> None:
        self.value = value
        self.model, self.primitive = self.modelled(value), self.made(value)

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.acquire()

    async def enter(self, n: int) -> bool:
        entered = self.primitive if n == 1 else self.primitive.permits(n)
        return await entered.__aenter__() is None

    @rule(timed=st.booleans(), enter=st.booleans(), n=PERMITS)
    def acquire(self, timed: bool, enter: bool, n: int = 1) -> None:
        coroutine = self.enter(n) if enter else self.primitive.acquire(n)
        self.start(lambda actor: self.model.acquire(actor, n), coroutine, timed=timed)

    @rule(inside=st.booleans(), n=PERMITS)
    def try_acquire(self, inside: bool, n: int = 1) -> None:
        self.both(lambda: self.model.try_acquire(n), lambda: self.primitive.try_acquire(n), inside=inside)

    @rule(times=st.integers(1, 3), inside=st.booleans(), n=PERMITS)
    def release(self, times: int, inside: bool, n: int = 1) -> None:
        for _ in range(times):
            self.both(lambda: self.model.release(n), lambda: self.primitive.release(n), inside=inside)

    @rule(inside=st.booleans())
    def shut(self, inside: bool) -> None:
        """close(); and when all have left, a new one."""
        self.both(self.model.shut, lambda: self.primitive.close("over"), inside=inside)
        self.stage.settle()
        self.model.settle()
        assert self.outcomes == self.model.outcomes
        assert self.primitive.statistics().value == self.model.value
        assert attempt(self.primitive.try_acquire) is RuntimeError
        outcomes = self.model.outcomes
        self.make(self.value)
        self.model.outcomes = outcomes

    def compare(self) -> None:
        assert self.primitive.locked() == self.model.locked
        assert self.primitive.statistics().value == self.model.value

    def state_in_repr(self) -> str:
        return "locked" if self.model.locked else f"unlocked, value:{self.model.value}"

    def empty(self) -> None:
        """All permits are taken."""
        while not self.model.locked:
            self.try_acquire(inside=True)

    def use(self) -> None:
        while self.model.value < 0:
            self.release(times=1, inside=True)
        for n in (1, 2, 1):
            self.acquire(timed=False, enter=False, n=n)
        self.release(times=4, inside=True)
        self.settle()
        self.release(times=2, inside=True)


class BoundedSemaphoreMachine(SemaphoreMachine):
    modelled = models.BoundedSemaphore
    made = holdfast.BoundedSemaphore

    @initialize(value=st.integers(1, 3))
    def make(self, value: int) -> None:
        super().make(value)

    @rule(value=st.integers(0, 4), inside=st.booleans())
    def resize(self, value: int, inside: bool) -> None:
        self.both(lambda: self.model.resize(value), lambda: self.primitive.resize(value), inside=inside)

    def use(self) -> None:
        self.resize(value=self.value, inside=True)
        while self.model.value < 0:
            self.release(times=1, inside=True)
        for _ in range(self.value):
            self.acquire(timed=False, enter=False)
        self.release(times=self.value + 1, inside=True)


class RWLockMachine(Machine):
    @initialize()
    def make(self) -> None:
        self.model, self.primitive = models.RWLock(), holdfast.RWLock()

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.writer.acquire()

    async def enter(self, side: Any) -> bool:
        return await side.__aenter__() is None

    def side(self, writes: bool) -> tuple[Any, int]:
        return (self.primitive.writer, self.model.ALL) if writes else (self.primitive.reader, 1)

    @rule(timed=st.booleans(), enter=st.booleans(), writes=st.booleans())
    def acquire(self, timed: bool, enter: bool, writes: bool) -> None:
        side, n = self.side(writes)
        self.start(
            lambda actor: self.model.acquire(actor, n), self.enter(side) if enter else side.acquire(), timed=timed
        )

    @rule(inside=st.booleans(), writes=st.booleans())
    def try_acquire(self, inside: bool, writes: bool) -> None:
        side, n = self.side(writes)
        self.both(lambda: self.model.try_acquire(n), side.try_acquire, inside=inside)

    @precondition(lambda self: not self.model.granted)
    @rule(inside=st.booleans(), writes=st.booleans())
    def release(self, inside: bool, writes: bool) -> None:
        """Release a side, also if nobody holds it, but not for an actor to which it is on its way."""
        model = self.model.release_writer if writes else self.model.release_reader
        self.both(model, self.side(writes)[0].release, inside=inside)

    @precondition(lambda self: not self.model.granted)
    @rule(inside=st.booleans())
    def downgrade(self, inside: bool) -> None:
        self.both(self.model.downgrade, self.primitive.writer.downgrade, inside=inside)

    def compare(self) -> None:
        statistics = self.primitive.statistics()
        assert (statistics.readers, statistics.writing) == (self.model.readers, self.model.writing)
        assert self.primitive.reader.locked() == (bool(self.model.line) or self.model.writing)

    def state_in_repr(self) -> str:
        return "writing" if self.model.writing else f"reading, readers:{n}" if (n := self.model.readers) else "unlocked"

    def is_forgotten(self) -> bool:
        return self.primitive._permits._queue is None

    def empty(self) -> None:
        while self.model.writing or self.model.readers:
            self.settle()
            self.release(inside=True, writes=self.model.writing)

    def use(self) -> None:
        for writes in (True, False, False, True):
            self.acquire(timed=False, enter=False, writes=writes)
        self.downgrade(inside=True)
        self.settle()
        self.same()
        self.release(inside=True, writes=True)
        for _ in range(2):
            self.release(inside=True, writes=False)
        self.settle()
        self.release(inside=True, writes=True)


class RateLimiterMachine(Machine):
    """All is done inside of a loop, as outside there is another clock."""

    @initialize(each=st.sampled_from([0.5, 1.0, 2.0]), burst=st.integers(1, 3))
    def make(self, each: float, burst: int) -> None:
        """Numbers that are exact in binary, so the model may reckon in another way."""
        self.each = each
        self.model = models.RateLimiter(each, burst)
        self.model.now = self.stage.now
        self.primitive = holdfast.RateLimiter(1, per=each, burst=burst)
        self.try_acquire(n=burst)  # so that actors soon have to wait

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.acquire()

    async def enter(self) -> bool:
        return await self.primitive.__aenter__() is None

    @rule(timed=st.booleans(), n=st.sampled_from([1, 1, 2, 3, 4]))
    def acquire(self, timed: bool, n: int) -> None:
        self.start(lambda actor: self.model.acquire(actor, n), self.primitive.acquire(n), timed=timed)

    @rule(timed=st.booleans())
    def enter_block(self, timed: bool) -> None:
        self.start(self.model.acquire, self.enter(), timed=timed)

    @rule(n=st.sampled_from([1, 1, 2, 3, 4]))
    def try_acquire(self, n: int) -> None:
        self.both(lambda: self.model.try_acquire(n), lambda: self.primitive.try_acquire(n))

    @rule(quarters=st.sampled_from([1, 2, 4, 8, 16]))
    def pass_time(self, quarters: int) -> None:
        self.stage.pass_time(quarters / 4)
        self.model.pass_time(quarters / 4)

    @rule()
    def shut(self) -> None:
        """close(); and when all have left, a new one."""
        self.both(self.model.shut, lambda: self.primitive.close("over"))
        self.settle()
        assert self.outcomes == self.model.outcomes
        self.compare()
        with self.loop.running():
            assert attempt(self.primitive.try_acquire) is RuntimeError
        outcomes = self.model.outcomes
        self.make(self.each, self.model.burst)
        self.model.outcomes = outcomes

    def close_one(self, actor: Actor, inside: bool) -> None:
        super().close_one(actor, inside=True)

    def close_garbage(self) -> None:
        with self.loop.running():
            self.primitive.statistics()  # a closed loop is noticed, if by nobody else, by whoever looks
            super().close_garbage()

    def compare(self) -> None:
        with self.loop.running():
            assert self.primitive.statistics().tokens == self.model.value

    def compare_settled(self) -> None:
        with self.loop.running():
            super().compare_settled()

    def state_in_repr(self) -> str:
        return f"1 per {self.each:g} s, tokens:{math.floor(self.model.value)} of {self.model.burst}"

    def is_forgotten(self) -> bool:
        return self.primitive._queue is None and self.primitive._timer is None

    def use(self) -> None:
        for n in (1, self.model.burst, 1):
            self.acquire(timed=False, n=n)
        self.pass_time(quarters=100)
        self.settle()


KEYS = "xyz"
KEY = st.sampled_from(KEYS)


class KeyedLockMachine(Machine):
    @initialize()
    def make(self) -> None:
        self.model, self.primitive = models.KeyedLock(), holdfast.KeyedLock[str]()

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive["x"].acquire()

    async def enter(self, locks: Any) -> bool:
        return await locks.__aenter__() is None

    @rule(timed=st.booleans(), enter=st.booleans(), key=KEY)
    def acquire(self, timed: bool, enter: bool, key: str) -> None:
        lock = self.primitive[key]
        coroutine = self.enter(lock) if enter else lock.acquire()
        self.start(lambda actor: self.model.acquire(actor, key), coroutine, timed=timed)

    @rule(timed=st.booleans(), enter=st.booleans(), keys=st.permutations(KEYS), n=st.integers(1, 3))
    def acquire_all(self, timed: bool, enter: bool, keys: list[str], n: int) -> None:
        locks = self.primitive.all(*keys[:n], keys[0])
        coroutine = self.enter(locks) if enter else locks.acquire()
        self.start(lambda actor: self.model.acquire_all(actor, *keys[:n]), coroutine, timed=timed)

    @rule(inside=st.booleans(), keys=st.permutations(KEYS), n=st.integers(1, 3))
    def try_acquire(self, inside: bool, keys: list[str], n: int) -> None:
        locks = self.primitive[keys[0]] if n == 1 else self.primitive.all(*keys[:n])
        self.both(lambda: self.model.try_acquire(*keys[:n]), locks.try_acquire, inside=inside)

    @rule(inside=st.booleans(), keys=st.permutations(KEYS), n=st.integers(1, 3))
    def release(self, inside: bool, keys: list[str], n: int) -> None:
        """Release keys, whoever holds them, and also if nobody does; but none that somebody has on the way."""
        if not all(map(self.model.may_be_released, keys[:n])):
            return
        locks = self.primitive[keys[0]] if n == 1 else self.primitive.all(*keys[:n])
        self.both(lambda: self.model.release(*keys[:n]), locks.release, inside=inside)

    def may_be_collected_late(self) -> bool:
        """Whoever was to take a key, and is not closed, is expected to."""
        return False

    def compare(self) -> None:
        assert {*self.primitive} == self.model.used
        assert len(self.primitive) == len(self.model.used)
        for key in KEYS:
            assert (key in self.primitive) == (key in self.model.used)
            assert self.primitive[key].locked() == (key in self.model.held)

    def compare_settled(self) -> None:
        for key in KEYS:
            assert self.primitive[key].statistics().tasks_waiting == len(self.model.line_of(key))
        keys = len(self.model.used)
        assert repr(self.primitive) == f"<holdfast.KeyedLock object at {id(self.primitive):#x} [keys:{keys}]>"

    def is_forgotten(self) -> bool:
        return not len(self.primitive)

    def empty(self) -> None:
        for key in KEYS:
            if key in self.model.held and self.model.may_be_released(key):
                self.both(lambda key=key: self.model.release(key), self.primitive[key].release)

    def use(self) -> None:
        self.acquire(timed=False, enter=False, key="x")
        self.acquire_all(timed=False, enter=False, keys=["x", "y", "z"], n=2)
        self.acquire_all(timed=False, enter=False, keys=["y", "x", "z"], n=2)
        for keys in (["x"], ["y", "x"], ["x", "y"]):
            self.settle()
            self.same()
            self.release(inside=True, keys=keys, n=len(keys))


ENDINGS = st.sampled_from(["at once", "at once", "later", "well"])
"""How a body ends that is cancelled: see models.SingleFlight."""
RESULTS = st.sampled_from(["a value", "a value", "an error"])


class SingleFlightMachine(Machine):
    """Bodies are actors as well: each waits until the machine gives it a result.

    Callers are not closed, nor their loops: this is done by the explorer.
    """

    modelled: type[models.SingleFlight] = models.SingleFlight
    made: type[holdfast.SingleFlight | holdfast.Once[Any]] = holdfast.SingleFlight

    @initialize()
    def make(self) -> None:
        self.model, self.primitive = self.modelled(), self.made()
        self.awaited: dict[Actor, asyncio.Future[Any]] = {}
        """What each body waits for."""
        self.body_tasks: dict[Actor, asyncio.Task[Any]] = {}
        self.begun = 0

    def get(self, key: str, ending: str) -> Coroutine[Any, Any, Any]:
        return self.primitive.run(key, self.body, ending)

    async def body(self, ending: str) -> Actor:
        self.begun += 1
        name = f"body {self.begun}"
        go_on_as(name)
        task = asyncio.current_task()
        assert task is not None
        self.body_tasks[name] = task
        try:
            return await self.wait(name)
        except asyncio.CancelledError:
            if ending == "at once":
                raise
            await self.wait(name)
            if ending == "later":
                raise
            return name

    async def wait(self, name: Actor) -> Actor:
        self.awaited[name] = asyncio.get_running_loop().create_future()
        await self.awaited[name]
        return name

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.get("x", "at once")

    @rule(timed=st.booleans(), key=st.sampled_from("xy"), ending=ENDINGS)
    def call(self, timed: bool, key: str, ending: str) -> None:
        self.start(
            lambda actor: self.model.call(actor, key, ending), self.get(key, ending), timed=timed, closable=False
        )

    def at_work(self) -> list[Actor]:
        """The bodies that wait for a result."""
        return [body for body in self.model.bodies if body not in self.model.ready]

    @precondition(at_work)
    @rule(which=WHICH, result=RESULTS)
    def work(self, which: int, result: str) -> None:
        body = self.pick(which, self.at_work())
        cleans_up = self.model.bodies[body].cleans_up
        with self.loop.running():
            if result == "an error" and not cleans_up:
                self.awaited[body].set_exception(ValueError())
            else:
                self.awaited[body].set_result(None)
        self.model.work(body, ValueError if result == "an error" else body)

    @precondition(lambda self: self.model.bodies)
    @rule(which=WHICH)
    def cancel_body(self, which: int) -> None:
        """Somebody cancels the body itself."""
        body = self.pick(which, [*self.model.bodies])
        with self.loop.running():
            self.body_tasks[body].cancel()
        self.model.cancel_body(body)

    @precondition(at_work)
    @rule(which=WHICH, key=st.sampled_from("xy"), ending=ENDINGS)
    def end_and_call(self, which: int, key: str, ending: str) -> None:
        """A newcomer calls in the step in which a body has ended, before anybody knows."""
        self.work(which, "a value")
        body = self.model.ready[-1]
        self.stage.run(body)
        self.model.run(body)
        self.call(False, key, ending)

    def other_cancellation(self, error: asyncio.CancelledError) -> object:
        return BODY_CANCELLED

    def tidy(self) -> None:
        """The first caller's context is that in which a body is forgotten that has ended."""
        for actor in self.stage.ready():
            if actor in self.tasks and self.tasks[actor].task.done():
                self.stage.run(actor)
        # Of an error that nobody is left to get, asyncio tells.
        self.stage.errors = [error for error in self.stage.errors if "never retrieved" not in error["message"]]

    def compare_settled(self) -> None:
        assert len(self.primitive) == len(self.model.flights)
        for key in "xy":
            assert (key in self.primitive) == (key in self.model.flights)
        keys = len(self.model.flights)
        assert repr(self.primitive) == f"<holdfast.SingleFlight object at {id(self.primitive):#x} [keys:{keys}]>"

    @precondition(lambda self: not self.alive())
    @rule()
    def go_to_another_loop(self) -> None:
        self.empty()
        super().go_to_another_loop()

    def before_ending_loop(self) -> None:
        """A body that was left in a loop that ended never says that it has."""
        self.empty()

    def empty(self) -> None:
        self.settle()
        while self.model.bodies:
            self.work(0, "a value")
            self.settle()
            self.tidy()

    def is_forgotten(self) -> bool:
        return not len(self.primitive)

    def use(self) -> None:
        for _ in range(3):
            self.call(timed=False, key="x", ending="at once")
        self.empty()
        assert len({outcome for _, outcome in self.outcomes[-3:]}) == 1


class OnceMachine(SingleFlightMachine):
    modelled = models.Once
    made = holdfast.Once

    def get(self, key: str, ending: str) -> Coroutine[Any, Any, Any]:
        return self.primitive.get(lambda: self.body(ending))

    @rule(timed=st.booleans(), ending=ENDINGS)
    def call(self, timed: bool, ending: str, key: str = "x") -> None:
        super().call(timed, "x", ending)

    @precondition(lambda self: self.model.value is not None and not self.alive())
    @rule()
    def renew(self) -> None:
        """Go on with another one, as this one has its value."""
        self.empty()
        outcomes = self.model.outcomes
        self.make()
        self.model.outcomes = outcomes

    def compare(self) -> None:
        assert self.primitive.is_made() == (self.model.value is not None)

    def compare_settled(self) -> None:
        state = "made" if self.model.value is not None else "being made" if self.model.flights else "not made"
        assert repr(self.primitive) == f"<holdfast.Once object at {id(self.primitive):#x} [{state}]>"

    def is_forgotten(self) -> bool:
        return not len(self.primitive._flights)


class BarrierMachine(Machine):
    @initialize(parties=st.integers(1, 4))
    def make(self, parties: int) -> None:
        self.model, self.primitive = models.Barrier(parties), holdfast.Barrier(parties)

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.primitive.wait()

    @rule(timed=st.booleans(), enter=st.booleans())
    def wait(self, timed: bool, enter: bool) -> None:
        call = self.primitive.__aenter__ if enter else self.primitive.wait
        self.start(self.model.wait, call(), timed=timed)

    def let_early_ones_in(self) -> None:
        """The actors that came while the last round left have run, and are in the round like all others."""
        self.stage.run(None)
        self.model.spared = []

    def run_now(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """reset() and abort() are coroutines that never wait."""
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("it waits")

    def close_one(self, actor: Actor, inside: bool) -> None:
        """Call it within the loop. Outside, there is no moment at which an actor that came early has yet to run."""
        super().close_one(actor, inside=True)

    @rule()
    def reset(self) -> None:
        self.both(self.model.reset, lambda: self.run_now(self.primitive.reset()))

    @rule()
    def abort(self) -> None:
        self.both(self.model.abort, lambda: self.run_now(self.primitive.abort()))

    def compare(self) -> None:
        assert self.primitive.broken == self.model.broken

    def compare_settled(self) -> None:
        super().compare_settled()
        assert self.primitive.n_waiting == len(self.model.line)

    def compare_repr(self, waiters: int) -> None:
        state = "broken" if self.model.broken else f"filling, waiters:{waiters}/{self.model.parties}"
        assert repr(self.primitive) == f"<holdfast.Barrier object at {id(self.primitive):#x} [{state}]>"

    def use(self) -> None:
        self.reset()
        for _ in range(self.model.parties):
            self.wait(timed=False, enter=False)
        self.settle()
        last = self.outcomes[-self.model.parties :]
        assert sorted(index for _, index in last) == list(range(self.model.parties))


class ConditionMachine(Machine):
    """Two conditions over one lock."""

    @initialize()
    def make(self) -> None:
        self.model, self.primitive = models.Condition(), holdfast.Lock()
        self.conditions = [holdfast.Condition(self.primitive) for _ in range(2)]

    def waiting_call(self) -> Coroutine[Any, Any, Any]:
        return self.conditions[0].wait()

    @rule(timed=st.booleans(), room=st.integers(0, 1))
    def acquire(self, timed: bool, room: int) -> None:
        self.start(self.model.acquire, self.conditions[room].acquire(), timed=timed)

    @precondition(lambda self: not self.model.granted)
    @rule(timed=st.booleans(), room=st.integers(0, 1))
    def wait(self, timed: bool, room: int) -> None:
        """Notify in the name of the actor that holds the lock. It is an error if nobody does."""
        self.start(
            lambda actor: self.model.wait(actor, room), self.conditions[room].wait(), timed=timed, closable=False
        )

    async def _visit(self, room: int) -> bool:
        async with self.conditions[room]:
            return await self.conditions[room].wait()

    @rule(timed=st.booleans(), room=st.integers(0, 1))
    def visit(self, timed: bool, room: int) -> None:
        self.start(lambda actor: self.model.visit(actor, room), self._visit(room), timed=timed)

    def closable(self) -> list[Actor]:
        """A coroutine closed in wait() owes an exit, without `async with`, if another actor holds the lock then."""
        return [actor for actor in self.alive() if self.tasks[actor].closable or not self.model.locked]

    def may_be_collected_late(self) -> bool:
        """An actor that was notified and waits for the lock passes the notification on when it is collected."""
        return not self.model.notified

    @rule(n=st.integers(-1, 3), room=st.integers(0, 1), inside=st.booleans())
    def notify(self, n: int, room: int, inside: bool) -> None:
        self.both(lambda: self.model.notify(n, room), lambda: self.conditions[room].notify(n), inside=inside)

    @rule(room=st.integers(0, 1), inside=st.booleans())
    def notify_all(self, room: int, inside: bool) -> None:
        self.both(lambda: self.model.notify(100, room), self.conditions[room].notify_all, inside=inside)

    @rule(inside=st.booleans())
    def try_acquire(self, inside: bool) -> None:
        self.both(self.model.try_acquire, self.primitive.try_acquire, inside=inside)

    @precondition(lambda self: not self.model.granted)
    @rule(inside=st.booleans())
    def release(self, inside: bool) -> None:
        """Release the lock for the actor that holds it, and not for one to which it is on its way."""
        self.both(self.model.release, self.conditions[0].release, inside=inside)

    def compare(self) -> None:
        assert [condition.locked() for condition in self.conditions] == [self.model.locked] * 2

    def state_in_repr(self) -> str:
        return "locked" if self.model.locked else "unlocked"

    def compare_settled(self) -> None:
        super().compare_settled()
        for room, condition in enumerate(self.conditions):
            assert condition.statistics().tasks_waiting == len(self.model.waiting_in(room))

    def empty(self) -> None:
        if self.model.locked:
            self.release(inside=True)

    def use(self) -> None:
        for room in (0, 0, 1):
            self.visit(timed=False, room=room)
        self.try_acquire(inside=True)
        self.notify(n=2, room=0, inside=True)
        self.notify_all(room=1, inside=True)
        self.release(inside=True)
        self.settle()
        assert not self.primitive.locked()


def case(machine: type[Machine]) -> type:
    """The test of a machine."""
    machine.TestCase.settings = SETTINGS
    return machine.TestCase


TestLock = case(LockMachine)
TestEvent = case(EventMachine)
TestSemaphore = case(SemaphoreMachine)
TestBoundedSemaphore = case(BoundedSemaphoreMachine)
TestRWLock = case(RWLockMachine)
TestRateLimiter = case(RateLimiterMachine)
TestKeyedLock = case(KeyedLockMachine)
TestSingleFlight = case(SingleFlightMachine)
TestOnce = case(OnceMachine)
TestBarrier = case(BarrierMachine)
TestCondition = case(ConditionMachine)
