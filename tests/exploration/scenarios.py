"""What the primitives promise, as scenarios for the explorer, over a library: `holdfast` (or its `threads`), `asyncio`.

A scenario does not believe the primitive: the tasks themselves keep a Ledger of who asked, who got it and who left, and
what the primitive says of itself is compared with that. Where something may be left over that nobody comes for (an
item, as its consumer was cancelled), the main task, which the explorer does not cancel, ends the scenario when
everybody is at rest: by then all checks at rest have been made.
"""

from __future__ import annotations

import asyncio
import itertools
import string
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import holdfast
from holdfast.tasks.rw_lock import ALL
from holdfast.testing import Run

CLOSING = 1000
"""A time after all timeouts, in seconds. Time passes only at rest, so every task is at rest by then."""


async def plainly(coroutine: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """Wait without a timeout."""
    return await coroutine


async def timeout(coroutine: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """Wait in an `asyncio.timeout`."""
    async with asyncio.timeout(seconds):
        return await coroutine


async def wait_for(coroutine: Coroutine[Any, Any, Any], seconds: float) -> Any:
    """Wait with `asyncio.wait_for`, which in 3.11 makes a task for what it awaits."""
    return await asyncio.wait_for(coroutine, seconds)


@dataclass(frozen=True)
class Setup:
    """How large a scenario is, and how its tasks wait."""

    waiters: int = 2
    late: int = 1
    around: Callable[[Coroutine[Any, Any, Any], float], Awaitable[Any]] = plainly
    in_order: bool = True
    """Whether tasks run in the order in which they were granted. They do not if the explorer changes it."""

    keep_tasks: bool = True
    """Whether somebody refers to the waiting tasks. If not, the collector closes those that were granted when the loop
    ends; else it cannot."""
    eager: bool = False
    """Whether tasks start at once, as with `asyncio.eager_task_factory`."""
    two_loops: bool = False
    """Whether every second task is of another event loop."""

    @property
    def timed(self) -> bool:
        return self.around is not plainly

    def spawn(
        self,
        run: Run,
        function: Callable[[str], Coroutine[Any, Any, Any]],
        late_function: Callable[[str], Coroutine[Any, Any, Any]] | None = None,
        more: int = 0,
    ) -> None:
        """Start the waiters, and announce the late ones: A, B, ..."""
        self.prepare()
        loops = self.loops(run)
        for name in string.ascii_uppercase[: self.waiters + more]:
            run.spawn(function, name, name=name, loop=next(loops))
        self.spawn_late(run, late_function or function, loops)

    def loops(self, run: Run) -> Iterator[asyncio.AbstractEventLoop | None]:
        """The event loop of the next task; None for the first loop."""
        return itertools.cycle([run.another_loop(), None] if self.two_loops else [None])

    def prepare(self) -> None:
        if self.eager:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)

    def spawn_late(
        self,
        run: Run,
        function: Callable[[str], Coroutine[Any, Any, Any]],
        loops: Iterator[asyncio.AbstractEventLoop | None],
    ) -> None:
        for number in range(1, self.late + 1):
            run.late(function, f"late {number}", name=f"late {number}", loop=next(loops))

    def patience(self, name: str) -> float:
        """The seconds after which a task gives up. B gives up when A ends its second as a holder."""
        return 1.5 if name.startswith("late") else 0.5 + 0.5 * string.ascii_uppercase.index(name)


class Ledger:
    """The tasks that asked for something, and what became of them. The tasks themselves write it."""

    def __init__(self, run: Run, setup: Setup, in_order: bool = True) -> None:
        self.line: dict[str, Callable[[], asyncio.Task[Any] | None]] = {}
        """The tasks that asked, and have neither got it nor left, in the order of asking."""
        self.inside: list[str] = []
        self.got_it = 0
        self.left = 0
        """How many tasks left by an exception without having got it."""
        self._run = run
        self._in_order = in_order and setup.in_order
        self._keep_tasks = setup.keep_tasks
        if setup.two_loops:
            run.invariant(self._forget_ended)

    def ask(self, name: str) -> None:
        self._run.log(f"{name} asks")
        task = asyncio.current_task()
        assert task is not None
        self.line[name] = (lambda: task) if self._keep_tasks else weakref.ref(task)

    def get(self, name: str, waited: bool = True) -> None:
        """Note that a task got it. No task may get it before one that asked earlier and was not cancelled."""
        self._run.log(f"{name} gets it")
        earlier = itertools.takewhile(lambda other: other != name, self.line)
        overtaken = [other for other in earlier if not self._is_cancelled(other)]
        assert not (overtaken and waited and self._in_order), f"{name} overtook {overtaken}"
        del self.line[name]
        self.got_it += 1

    def _is_cancelled(self, name: str) -> bool:
        task = self.line[name]()
        return task is None or task.cancelling() > 0

    def _forget_ended(self) -> None:
        """Note that the tasks that waited in a loop have left: the loop was ended, so they could not say so."""
        for name, reference in [*self.line.items()]:
            task = reference()
            if task is None or task.get_loop().is_closed():
                del self.line[name]
                self.left += 1

    def lose(self, name: str, exc: BaseException) -> None:
        """Note that a task left without it."""
        self._run.log(f"{name} leaves by {type(exc).__name__}")
        self.line.pop(name, None)
        self.left += 1

    def enter(self, name: str) -> None:
        self._run.log(f"{name} in")
        self.inside.append(name)

    def leave(self, name: str) -> None:
        """Note that a task is out. A task whose coroutine was closed may not have come in again."""
        if name in self.inside:
            self._run.log(f"{name} out")
            self.inside.remove(name)


# What a primitive says of itself. asyncio's have no statistics().


def on_the_way(primitive: Any) -> int:
    """Return how many waiters were granted or notified, and have not run since."""
    return sum(w is None or (w.done() and not w.cancelled()) for w in primitive._waiters or ())


def free_permits(primitive: Any) -> int:
    """Return how many are free. asyncio's Lock counts as free while it is handed over (gh-138121)."""
    if isinstance(primitive, asyncio.Semaphore):
        return primitive._value
    if is_holdfast(primitive):
        return int(not primitive.locked())
    return int(not primitive.locked() and not on_the_way(primitive))


def is_holdfast(primitive: Any) -> bool:
    return type(primitive).__module__.startswith("holdfast")


def must_be_idle(primitive: Any) -> None:
    """Check that nobody waits, in each way in which that can be asked."""
    if isinstance(primitive, asyncio.Barrier):
        assert primitive.n_waiting == 0
    else:
        assert not primitive._waiters, f"{primitive!r} is not idle"
        assert "waiters" not in repr(primitive)
    if is_holdfast(primitive):
        assert primitive.statistics().tasks_waiting == 0
        queue = primitive._queue
        if isinstance(primitive, asyncio.Condition):  # keeps an empty one until the next notify()
            assert queue is None or not (queue.granted or queue.line)
        else:
            assert queue is None, "an idle primitive has a queue"


Scenario = Callable[[Run], object]
Builder = Callable[[ModuleType, Setup], Scenario]


def exclusion(
    make: Callable[[ModuleType], Any], permits: int, by_acquire: bool = False, late_ones: str = "wait"
) -> Builder:
    """Tasks that go in for a moment, the first of them twice without a pause, which would show barging.

    late_ones: "wait" like the others; or "try" to get in without waiting; or "insist": wait, and when cancelled
        while they do, ask again, behind the others.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        def scenario(run: Run) -> None:
            primitive = make(library)
            ledger = Ledger(run, setup)

            async def acquire(name: str) -> None:
                ledger.ask(name)
                try:
                    assert await primitive.acquire() is True
                except BaseException as exc:
                    ledger.lose(name, exc)
                    raise
                ledger.get(name)
                ledger.enter(name)

            async def use_by_acquire(name: str) -> None:
                await setup.around(acquire(name), setup.patience(name))
                try:
                    await stay(name)
                finally:
                    ledger.leave(name)
                    primitive.release()

            async def block(name: str) -> None:
                ledger.ask(name)
                try:
                    async with primitive:
                        ledger.get(name)
                        ledger.enter(name)
                        try:
                            await stay(name)
                        finally:
                            ledger.leave(name)
                except BaseException as exc:
                    if name in ledger.line:
                        ledger.lose(name, exc)
                    raise

            async def use_by_async_with(name: str) -> None:
                await setup.around(block(name), setup.patience(name))

            async def use_if_free(name: str) -> None:
                ledger.ask(name)
                if primitive.try_acquire():
                    ledger.get(name)
                    ledger.enter(name)
                    try:
                        await stay(name)
                    finally:
                        ledger.leave(name)
                        primitive.release()
                else:
                    del ledger.line[name]
                    assert len(ledger.inside) + on_the_way(primitive) > 0, "it was free"

            async def insist(name: str) -> None:
                try:
                    await user(name)
                except asyncio.CancelledError:
                    asyncio.current_task().uncancel()
                    await user(name)

            async def stay(name: str) -> None:
                await asyncio.sleep(1 if setup.timed and name == "A" else 0)

            async def user(name: str) -> None:
                for _ in range(2 if name == "A" else 1):
                    try:
                        await (use_by_acquire if by_acquire else use_by_async_with)(name)
                    except TimeoutError:
                        run.log(f"{name} is out of time")

            async def afterwards() -> None:
                ledger.line.clear()
                await asyncio.gather(*map(user, "XYZ"))

            def are_conserved() -> None:
                free, granted = free_permits(primitive), on_the_way(primitive)
                assert free + len(ledger.inside) + granted == permits, (
                    f"of {permits} permits, {free} are free, {granted} on the way, {ledger.inside} are inside"
                )
                assert primitive.locked() or not is_holdfast(primitive) or (free and not granted)

            def nobody_waits_in_vain() -> None:
                assert not ledger.line or len(ledger.inside) == permits, f"{[*ledger.line]} could run"

            def is_free() -> None:
                assert not ledger.inside
                assert not primitive.locked()
                assert free_permits(primitive) == permits
                must_be_idle(primitive)
                if isinstance(primitive, asyncio.BoundedSemaphore):
                    must_refuse_a_release(primitive)

            latecomer = {"wait": user, "try": use_if_free, "insist": insist}[late_ones]
            setup.spawn(run, user, latecomer, more=permits - 1)
            run.invariant(are_conserved)
            run.at_rest(nobody_waits_in_vain)
            run.at_end(is_free)
            run.afterwards(afterwards)

        return scenario

    return build


def shares(
    make: Callable[[ModuleType], Any],
    entry: Callable[[Any, str], tuple[Any, int]],
    permits: int,
    downgrade: Callable[[Any], object] | None = None,
) -> Builder:
    """Tasks that need several permits at once, the first of them twice without a pause.

    entry: from what was made and a task's name to what it enters by `async with`, and how many permits that takes.
    downgrade: gives back all permits but one in the middle of a body that has all.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        def scenario(run: Run) -> None:
            made = make(library)
            semaphore = getattr(made, "_permits", made)
            ledger = Ledger(run, setup)
            taken: dict[str, int] = {}

            async def use(name: str) -> None:
                ledger.ask(name)
                entered, needs = entry(made, name)
                try:
                    async with entered:
                        ledger.get(name)
                        ledger.enter(name)
                        taken[name] = needs
                        try:
                            await asyncio.sleep(1 if setup.timed and name == "A" else 0)
                            if downgrade is not None and needs == permits:
                                downgrade(made)
                                taken[name] = 1
                                await asyncio.sleep(0)
                        finally:
                            ledger.leave(name)
                            taken.pop(name, None)
                except BaseException as exc:
                    if name in ledger.line:
                        ledger.lose(name, exc)
                    raise

            async def user(name: str) -> None:
                for _ in range(2 if name == "A" else 1):
                    try:
                        await setup.around(use(name), setup.patience(name))
                    except TimeoutError:
                        run.log(f"{name} is out of time")

            async def afterwards() -> None:
                ledger.line.clear()
                await asyncio.gather(*map(user, "XYZ"))

            def are_conserved() -> None:
                free, granted = semaphore._value, on_the_way(semaphore)
                under_way = permits - free - sum(taken.values())
                state = f"of {permits} permits, {free} are free, {taken} are taken, {granted} tasks are on the way"
                assert under_way >= granted, state
                assert granted or not under_way, state

            def nobody_waits_in_vain() -> None:
                first = next(iter(ledger.line), None)
                if first is not None:
                    _, needs = entry(made, first)
                    assert needs > permits - sum(taken.values()), f"{first} could run"

            def is_free() -> None:
                assert not ledger.inside
                assert semaphore._value == permits
                must_be_idle(semaphore)

            setup.spawn(run, user, more=1)
            run.invariant(are_conserved)
            run.at_rest(nobody_waits_in_vain)
            run.at_end(is_free)
            run.afterwards(afterwards)

        return scenario

    return build


def several_permits(semaphore: Any, name: str) -> tuple[Any, int]:
    needs = {"A": 2, "B": 3, "C": 1, "X": 3, "Y": 2}.get(name, 1)
    return semaphore.permits(needs), needs


def side(first_writer: str) -> Callable[[Any, str], tuple[Any, int]]:
    """The side of an RWLock for each task: writers are X and the one that is named, or the latecomers."""

    def entry(lock: Any, name: str) -> tuple[Any, int]:
        writes = name == "X" or name.startswith(first_writer)
        return (lock.writer, ALL) if writes else (lock.reader, 1)

    return entry


def keyed(library: ModuleType, setup: Setup) -> Scenario:
    """Tasks with one key or with both, which they name in different orders; nothing is left of a key at the end."""

    def scenario(run: Run) -> None:
        locks = library.KeyedLock()
        wanted = {"A": "x", "B": "xy", "C": "yx", "X": "xy", "Y": "y"}
        inside: list[str] = []

        async def use(name: str) -> None:
            keys = wanted.get(name, "x")
            async with locks.all(*keys) if len(keys) > 1 else locks[keys]:
                run.log(f"{name} in, with {keys}")
                inside.extend(keys)
                try:
                    await asyncio.sleep(1 if setup.timed and name == "A" else 0)
                finally:
                    run.log(f"{name} out")
                    for key in keys:
                        inside.remove(key)

        async def user(name: str) -> None:
            for _ in range(2 if name == "A" else 1):
                try:
                    await setup.around(use(name), setup.patience(name))
                except TimeoutError:
                    run.log(f"{name} is out of time")

        def one_at_a_time() -> None:
            assert len(inside) == len({*inside}), f"{inside} are inside"
            for key in inside:
                assert locks[key].locked()

        def nobody_waits_in_vain() -> None:
            if not setup.two_loops:  # the tasks of a loop that has ended count until their coroutines are closed
                assert inside or not len(locks), f"{[*locks]} are free, and somebody waits"

        def nothing_is_left() -> None:
            assert not inside
            assert not any(locks[key].locked() for key in "xy")
            if not setup.two_loops:
                assert not len(locks), f"{[*locks]} are left"

        async def afterwards() -> None:
            await asyncio.gather(*map(user, "XYZ"))

        setup.spawn(run, user, more=1)
        run.invariant(one_at_a_time)
        run.at_rest(nobody_waits_in_vain)
        run.at_end(nothing_is_left)
        run.afterwards(afterwards)

    return scenario


def must_refuse_a_release(primitive: Any) -> None:
    """All permits are free; one more is refused, and nothing changes."""
    before = repr(primitive)
    try:
        primitive.release()
    except ValueError:
        assert repr(primitive) == before
    else:
        raise AssertionError("one release too many was accepted")


def signals(library: ModuleType, setup: Setup) -> Scenario:
    """A semaphore that is only released by one task, before and while others wait, and more often than they acquire."""

    async def scenario(run: Run) -> None:
        semaphore = library.Semaphore(0)
        ledger = Ledger(run, setup)
        released = 0

        async def waiter(name: str) -> None:
            async def acquire() -> None:
                ledger.ask(name)
                try:
                    await semaphore.acquire()
                except BaseException as exc:
                    ledger.lose(name, exc)
                    raise
                ledger.get(name)

            try:
                await setup.around(acquire(), setup.patience(name))
            except TimeoutError:
                run.log(f"{name} is out of time")

        async def afterwards() -> None:
            semaphore.locked()  # this use takes back the grant of a task that never ran
            free = semaphore.statistics().value
            assert free == released - ledger.got_it, f"{free} are free; {released} were made, {ledger.got_it} taken"
            for _ in range(free):
                await semaphore.acquire()
            assert semaphore.locked()
            ledger.line.clear()
            waiting = asyncio.create_task(waiter("X"))
            await asyncio.sleep(0)
            semaphore.release()
            await waiting

        def are_conserved() -> None:
            free, granted = semaphore._value, on_the_way(semaphore)
            assert free + ledger.got_it + granted == released, (
                f"of {released} permits, {free} are free, {granted} on the way, {ledger.got_it} were taken"
            )

        def nobody_waits_in_vain() -> None:
            assert not ledger.line or ledger.got_it == released, f"{[*ledger.line]} could run"

        run.invariant(are_conserved)
        run.at_rest(nobody_waits_in_vain)
        run.at_end(lambda: must_be_idle(semaphore))
        run.afterwards(afterwards)
        setup.spawn(run, waiter)
        for number in (1, 2):  # 1 before anybody waits; 2 at once; then for the rest, and one more
            for _ in range(number):
                semaphore.release()
                released += 1
            await asyncio.sleep(0)
        if setup.timed:
            await asyncio.sleep(1)
        while released <= setup.waiters + setup.late:
            semaphore.release()
            released += 1

    return scenario


def event(library: ModuleType, setup: Setup) -> Scenario:
    """set() wakes the tasks that wait at that moment, in order, and no others, although clear() follows at once."""

    async def scenario(run: Run) -> None:
        flag = library.Event()
        ledger = Ledger(run, setup)
        asked: dict[str, int] = {}
        sets = 0

        async def waiter(name: str) -> None:
            async def wait() -> None:
                asked[name] = sets
                was_set = flag.is_set()
                ledger.ask(name)
                try:
                    assert await flag.wait() is True
                except BaseException as exc:
                    ledger.lose(name, exc)
                    raise
                ledger.get(name, waited=not was_set)
                assert was_set or sets > asked[name], f"{name} woke up, and nobody called set()"

            try:
                await setup.around(wait(), setup.patience(name))
            except TimeoutError:
                run.log(f"{name} is out of time")

        async def afterwards() -> None:
            nonlocal sets
            ledger.line.clear()
            flag.clear()
            waiting = asyncio.create_task(waiter("X"))
            await asyncio.sleep(0)
            assert not waiting.done()
            flag.set()
            sets += 1
            await waiting

        def nobody_waits_in_vain() -> None:
            in_vain = [name for name in ledger.line if flag.is_set() or asked[name] < sets]
            assert not in_vain, f"set() did not wake {in_vain}"

        run.at_rest(nobody_waits_in_vain)
        if not (setup.two_loops and setup.keep_tasks):  # else the repr may count a task that was woken and never runs
            run.at_end(lambda: must_be_idle(flag))
        run.afterwards(afterwards)
        setup.spawn(run, waiter)
        await asyncio.sleep(0)
        for _ in range(2):
            flag.set()
            sets += 1
            flag.clear()
            await asyncio.sleep(1 if setup.timed else 0)
        await asyncio.sleep(CLOSING)
        flag.clear()  # which must not wake a task that waits
        await asyncio.sleep(0)
        flag.set()
        sets += 1

    return scenario


class Monitor:
    """A Condition, the ledger of its lock, the ledger of its waiters, and the number of notifications."""

    def __init__(self, library: ModuleType, run: Run, setup: Setup, lock: Any) -> None:
        self.lock = lock
        self.condition = library.Condition(lock)
        self.holders = Ledger(run, setup)
        self.sleepers = Ledger(run, setup)
        self.notified = 0
        self._around = setup.around
        self._patience = setup.patience
        run.invariant(self._at_most_one_is_inside)
        run.invariant(self._nobody_wakes_for_nothing)

    def share_lock_with(self, other: Monitor) -> None:
        self.holders = other.holders

    async def hold(self, name: str, function: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something with the lock held."""
        async with self.condition:
            self.holders.enter(name)
            try:
                await function()
            finally:
                self.holders.leave(name)

    async def wait(self, name: str) -> None:
        """Wait to be notified. However that ends, the lock is held then, unless the coroutine is closed."""
        await self._sleep(name, self.condition.wait)

    async def wait_until(self, name: str, predicate: Callable[[], object]) -> None:
        """Wait in `wait_for()`, in the same way."""
        if not predicate():
            await self._sleep(name, lambda: self.condition.wait_for(predicate))

    async def _sleep(self, name: str, wait: Callable[[], Coroutine[Any, Any, object]]) -> None:
        async def sleep() -> None:
            self.holders.leave(name)
            self.sleepers.ask(name)
            try:
                assert await wait() is True
            except BaseException as exc:
                self.sleepers.lose(name, exc)
                if not isinstance(exc, GeneratorExit):
                    self.holders.enter(name)
                raise
            self.sleepers.get(name)
            self.holders.enter(name)

        await self._around(sleep(), self._patience(name))

    def notify(self, n: int | None = 1) -> None:
        """Notify so many tasks, or all."""
        before = on_the_way(self.condition)
        if n is None:
            self.condition.notify_all()
        else:
            self.condition.notify(n)
        self.notified += on_the_way(self.condition) - before

    def _at_most_one_is_inside(self) -> None:
        inside = self.holders.inside
        assert len(inside) <= 1, f"{inside} hold the lock at once"
        assert self.lock.locked() or not inside, f"{inside} hold the lock, and it is not locked"
        if is_holdfast(self.lock):
            granted = on_the_way(self.lock)
            assert self.lock.locked() == (len(inside) + granted == 1), f"{granted} are granted it, {inside} hold it"

    def _nobody_wakes_for_nothing(self) -> None:
        woken = self.sleepers.got_it + on_the_way(self.condition)
        assert woken <= self.notified, f"{woken} were woken, and {self.notified} notified"

    def must_be_free(self) -> None:
        assert not self.holders.inside
        assert not self.condition.locked()
        assert not on_the_way(self.lock)
        must_be_idle(self.lock)
        must_be_idle(self.condition)

    async def use_afterwards(self) -> None:
        """In a new loop, let a task wait, and another one notify it."""

        async def wait() -> None:
            async with self.condition:
                await self.condition.wait()

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        async with self.condition:
            self.condition.notify_all()
        await waiting
        assert not self.condition.locked()


def own_lock(library: ModuleType) -> Any:
    return library.Lock()


def asyncio_lock(library: ModuleType) -> Any:
    return asyncio.Lock()


def consumers(make_lock: Callable[[ModuleType], Any], late_ones: bool = False) -> Builder:
    """Consumers wait for items; a producer, which may come late, puts two and notifies one consumer for each.

    It keeps the lock for a moment after that, so that the notified one has to queue for it.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        async def scenario(run: Run) -> None:
            monitor = Monitor(library, run, setup, make_lock(library))
            items = 0
            closed = False

            async def consumer(name: str) -> None:
                async def take() -> None:
                    nonlocal items
                    while not (items or closed):
                        await monitor.wait(name)
                    if items:
                        items -= 1
                        run.log(f"{name} takes an item")

                try:
                    await monitor.hold(name, take)
                except TimeoutError:
                    run.log(f"{name} is out of time")

            async def producer(name: str) -> None:
                async def put() -> None:
                    nonlocal items
                    items += 1
                    run.log(f"{name} puts an item")
                    monitor.notify()
                    await asyncio.sleep(0)

                for _ in range(2):
                    await monitor.hold(name, put)

            async def close() -> None:
                nonlocal closed
                closed = True
                monitor.notify(None)

            def no_consumer_sleeps_while_there_are_items() -> None:
                sleepers = [*monitor.sleepers.line]
                assert not (items and sleepers), f"{sleepers} sleep, and there are {items} items"

            run.at_rest(no_consumer_sleeps_while_there_are_items)
            run.at_end(monitor.must_be_free)
            run.afterwards(monitor.use_afterwards)
            setup.prepare()
            loops = setup.loops(run)
            for name in string.ascii_uppercase[: setup.waiters]:
                run.spawn(consumer, name, name=name, loop=next(loops))
            if late_ones:
                setup.spawn_late(run, consumer, loops)
                run.spawn(producer, "producer", name="producer", loop=next(loops))
            else:
                setup.spawn_late(run, producer, loops)
            await asyncio.sleep(CLOSING)
            await monitor.hold("main", close)

        return scenario

    return build


def notify(make_lock: Callable[[ModuleType], Any]) -> Builder:
    """notify() wakes as many tasks as it is told to, in order. A task that comes later waits for the next one."""

    def build(library: ModuleType, setup: Setup) -> Scenario:
        async def scenario(run: Run) -> None:
            monitor = Monitor(library, run, setup, make_lock(library))
            closed = False

            async def waiter(name: str) -> None:
                async def wait() -> None:
                    if not closed:
                        await monitor.wait(name)

                try:
                    await monitor.hold(name, wait)
                except TimeoutError:
                    run.log(f"{name} is out of time")

            async def notify_one() -> None:
                monitor.notify(1)
                await asyncio.sleep(0)

            async def notify_two() -> None:
                monitor.notify(2)

            async def close() -> None:
                nonlocal closed
                closed = True
                monitor.notify(None)

            run.at_end(monitor.must_be_free)
            run.afterwards(monitor.use_afterwards)
            setup.spawn(run, waiter)
            await asyncio.sleep(0)
            await monitor.hold("main", notify_one)
            await asyncio.sleep(1 if setup.timed else 0)
            await monitor.hold("main", notify_two)
            await asyncio.sleep(CLOSING)
            await monitor.hold("main", close)

        return scenario

    return build


def place_kept(library: ModuleType, setup: Setup) -> Scenario:
    """A task that is notified or cancelled in wait() gets the lock before those that ask for it later.

    Also one who is cancelled while it takes the lock again, which in asyncio goes to the end of the line.
    """

    async def scenario(run: Run) -> None:
        monitor = Monitor(library, run, setup, library.Lock())
        ahead: list[str] = []

        async def waiter(name: str) -> None:
            async def wait() -> None:
                ahead.append(name)
                await monitor.wait(name)

            try:
                await monitor.hold(name, wait)
            except TimeoutError:
                run.log(f"{name} is out of time")

        async def follower(name: str) -> None:
            before = [other for other in ahead if other in monitor.sleepers.line]

            async def pass_through() -> None:
                overtaken = [other for other in before if other in monitor.sleepers.line]
                assert not (overtaken and setup.in_order), f"{name} overtook {overtaken}"
                await asyncio.sleep(0)

            await monitor.hold(name, pass_through)

        async def passer_by(name: str) -> None:
            async def pass_through() -> None:
                await asyncio.sleep(0)

            await monitor.hold(name, pass_through)

        async def notify_all() -> None:
            monitor.notify(None)
            await asyncio.sleep(0)
            for name in ("follower 1", "follower 2"):
                run.spawn(follower, name, name=name)
            await asyncio.sleep(0)

        run.at_end(monitor.must_be_free)
        run.afterwards(monitor.use_afterwards)
        setup.spawn(run, waiter, passer_by)
        await asyncio.sleep(0)
        await monitor.hold("main", notify_all)
        await asyncio.sleep(CLOSING)
        await monitor.hold("main", notify_all)

    return scenario


def broadcast(make_lock: Callable[[ModuleType], Any]) -> Builder:
    """After notify_all(), no task sleeps in `wait_for()` whose predicate is true."""

    def build(library: ModuleType, setup: Setup) -> Scenario:
        async def scenario(run: Run) -> None:
            monitor = Monitor(library, run, setup, make_lock(library))
            generation = 0
            seen: dict[str, int] = {}

            async def waiter(name: str) -> None:
                async def wait() -> None:
                    seen[name] = generation
                    await monitor.wait_until(name, lambda: generation == 2 or generation > seen[name])
                    run.log(f"{name} sees generation {generation}")

                try:
                    await monitor.hold(name, wait)
                except TimeoutError:
                    run.log(f"{name} is out of time")

            async def change() -> None:
                nonlocal generation
                generation += 1
                monitor.notify(None)
                await asyncio.sleep(0)

            def nobody_sleeps_whose_predicate_is_true() -> None:
                in_vain = [name for name in monitor.sleepers.line if generation > seen[name]]
                assert not in_vain, f"{in_vain} sleep, and their predicate is true"

            run.at_rest(nobody_sleeps_whose_predicate_is_true)
            run.at_end(monitor.must_be_free)
            run.afterwards(monitor.use_afterwards)
            setup.spawn(run, waiter)
            await asyncio.sleep(0)
            await monitor.hold("main", change)
            await asyncio.sleep(CLOSING)
            await monitor.hold("main", change)

        return scenario

    return build


def shared_lock(library: ModuleType, setup: Setup) -> Scenario:
    """A buffer for one item has two conditions over one lock. The lock is kept for a moment after each change."""

    async def scenario(run: Run) -> None:
        lock = library.Lock()
        filled, emptied = (Monitor(library, run, setup, lock) for _ in range(2))
        emptied.share_lock_with(filled)
        items = 0
        closed = False

        async def consumer(name: str) -> None:
            async def take() -> None:
                nonlocal items
                while not (items or closed):
                    await filled.wait(name)
                if items:
                    items -= 1
                    run.log(f"{name} takes an item")
                    emptied.notify()
                    await asyncio.sleep(0)

            try:
                await filled.hold(name, take)
            except TimeoutError:
                run.log(f"{name} is out of time")

        async def producer(name: str) -> None:
            async def put() -> None:
                nonlocal items
                while items and not closed:
                    await emptied.wait(name)
                if not closed:
                    items += 1
                    run.log(f"{name} puts an item")
                    filled.notify()
                    await asyncio.sleep(0)

            try:
                for _ in range(2):
                    await emptied.hold(name, put)
            except TimeoutError:
                run.log(f"{name} is out of time")

        async def close() -> None:
            nonlocal closed
            closed = True
            filled.notify(None)
            emptied.notify(None)

        def nobody_waits_in_vain() -> None:
            assert not (items and filled.sleepers.line), "there is an item, and a consumer sleeps"
            assert items or not emptied.sleepers.line, "there is room, and a producer sleeps"

        def is_free() -> None:
            filled.must_be_free()
            emptied.must_be_free()

        run.at_rest(nobody_waits_in_vain)
        run.at_end(is_free)
        run.afterwards(filled.use_afterwards)
        setup.prepare()
        loops = setup.loops(run)
        for number, name in enumerate(string.ascii_uppercase[: setup.waiters]):
            run.spawn(consumer if number % 2 else producer, name, name=name, loop=next(loops))
        setup.spawn_late(run, consumer, loops)
        await asyncio.sleep(CLOSING)
        await emptied.hold("main", close)

    return scenario


def barrier(parties: int, intrusion: str | None = None) -> Builder:
    """Rounds of a barrier, each with the indices 0 ... parties-1, each once.

    A task that was cancelled after its round was complete takes an index with it. So the returns are told apart into
    rounds by the indices alone, and no more may be missing than tasks have left.

    intrusion: "reset" or "abort", done by a task that comes at any moment.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        async def scenario(run: Run) -> None:
            meeting = library.Barrier(parties)
            ledger = Ledger(run, setup, in_order=False)
            rounds: list[list[int]] = []
            aborted = closed = False
            asked = 0
            in_this_round: set[str] = set()  # they asked since the last one got through or left
            hit: set[str] = set()  # by reset()

            async def meet(name: str) -> None:
                nonlocal asked
                was_aborted = aborted
                ledger.ask(name)
                in_this_round.add(name)
                asked += 1
                try:
                    if name == "A":
                        async with meeting as index:
                            pass
                    else:
                        index = await meeting.wait()
                except BaseException as exc:
                    ledger.lose(name, exc)
                    in_this_round.clear()
                    hit.discard(name)
                    raise
                ledger.get(name)
                in_this_round.clear()
                assert name not in hit, f"{name} passed a barrier that was reset"
                assert not was_aborted, f"{name} passed a broken barrier"
                run.log(f"{name} is number {index}")
                if not rounds or index in rounds[-1]:
                    rounds.append([])
                rounds[-1].append(index)
                if len(rounds[-1]) == parties:
                    rounds.append([])

            async def party(name: str) -> None:
                for _ in range(2 if name in "AB" else 1):
                    if closed:
                        return
                    try:
                        await setup.around(meet(name), setup.patience(name))
                    except TimeoutError:
                        run.log(f"{name} is out of time")
                    except holdfast.BrokenBarrierError:
                        run.log(f"{name} finds it broken")

            async def intruder() -> None:
                nonlocal aborted
                try:
                    if intrusion == "abort":
                        await meeting.abort()
                        aborted = True
                        run.log("aborted")
                        assert meeting.broken
                        await asyncio.sleep(0)
                finally:  # it mends what it has broken in any case
                    aborted = False  # from here on, a task that asks may get through
                    if is_holdfast(meeting) and meeting.n_waiting:  # and no round is leaving; asyncio's may wait first
                        hit.update(in_this_round & {*ledger.line})
                    await meeting.reset()
                run.log("reset")

            async def afterwards() -> None:
                ledger.line.clear()
                await meeting.reset()
                indices = await asyncio.gather(*(meeting.wait() for _ in range(parties)))
                assert sorted(indices) == [*range(parties)], f"the indices were {indices}"

            def no_complete_round_sleeps() -> None:
                waiting = [*ledger.line]
                assert not hit & {*waiting}, f"{hit} still wait after reset()"
                assert len(waiting) < parties, f"{waiting} sleep, and are enough"
                assert meeting.n_waiting == len(waiting), f"{meeting.n_waiting} wait, it says, and {waiting} do"

            def indices_are_right() -> None:
                complete = [indices for indices in rounds if indices]
                if complete and len(rounds[-1]) < parties and ledger.line:
                    complete = complete[:-1] if rounds[-1] else complete  # it may be leaving just now
                missing = sum(parties - len(indices) for indices in complete)
                assert missing <= ledger.left, f"{ledger.left} left, and the rounds were {rounds}"
                assert len(complete) <= asked // parties, f"{asked} came, and the rounds were {rounds}"
                assert all(set(indices) <= {*range(parties)} for indices in complete)

            def is_free() -> None:
                indices_are_right()
                assert not meeting.broken
                must_be_idle(meeting)

            run.at_rest(no_complete_round_sleeps)
            run.at_rest(indices_are_right)
            run.at_end(is_free)
            run.afterwards(afterwards)
            setup.spawn(run, party)
            if intrusion is not None:
                run.late(intruder)
            await asyncio.sleep(CLOSING)
            closed = True
            await meeting.abort()
            await asyncio.sleep(CLOSING)
            await meeting.reset()

        return scenario

    return build


SCENARIOS: dict[str, Builder] = {
    "Lock": exclusion(lambda library: library.Lock(), 1),
    "Lock, acquire()": exclusion(lambda library: library.Lock(), 1, by_acquire=True),
    "Lock, insistent": exclusion(lambda library: library.Lock(), 1, by_acquire=True, late_ones="insist"),
    "Semaphore(1)": exclusion(lambda library: library.Semaphore(), 1, by_acquire=True),
    "Semaphore(2)": exclusion(lambda library: library.Semaphore(2), 2),
    "BoundedSemaphore(1)": exclusion(lambda library: library.BoundedSemaphore(1), 1),
    "Semaphore(0), signals": signals,
    "Event": event,
    "Condition, consumers": consumers(own_lock),
    "Condition, late consumers": consumers(own_lock, late_ones=True),
    "Condition, notify()": notify(own_lock),
    "Condition, notify_all() and wait_for()": broadcast(own_lock),
    "Condition over asyncio.Lock, consumers": consumers(asyncio_lock),
    "Condition over asyncio.Lock, notify()": notify(asyncio_lock),
    "Conditions that share a lock": shared_lock,
    "Barrier(2)": barrier(2),
    "Barrier(3)": barrier(3),
    "Barrier(2), reset()": barrier(2, "reset"),
    "Barrier(2), abort() and reset()": barrier(2, "abort"),
}

ONLY_HOLDFAST: dict[str, Builder] = {
    "Condition, place kept": place_kept,
    "Lock, try_acquire()": exclusion(lambda library: library.Lock(), 1, late_ones="try"),
    "Semaphore(2), try_acquire()": exclusion(lambda library: library.Semaphore(2), 2, late_ones="try"),
    "Semaphore(3), permits()": shares(lambda library: library.Semaphore(3), several_permits, 3),
    "BoundedSemaphore(3), permits()": shares(lambda library: library.BoundedSemaphore(3), several_permits, 3),
    "KeyedLock": keyed,
    "RWLock, a writer first": shares(
        lambda library: library.RWLock(), side("A"), ALL, downgrade=lambda lock: lock.writer.downgrade()
    ),
    "RWLock, a writer between readers": shares(lambda library: library.RWLock(), side("B"), ALL),
    "RWLock, a writer that comes late": shares(lambda library: library.RWLock(), side("late"), ALL),
}
"""What asyncio does in another way, or has nothing like."""
