"""One reference model per primitive: what it must do, without a queue of futures, a loop or a thread.

A model is told what happens and says who gets what. Actors are names. An operation that waits (`acquire`, `wait`)
either finishes at once or leaves its actor waiting, in one of these states:

    queued     in `line`
    granted    in `granted`: what it waits for is its own already, but it has not run since
    gone       in `outcomes`, or closed

`ready` lists who would move now, in the order in which that came about: who was granted something, or cancelled while
it was queued. `run(actor)` lets one of them go on, `settle()` all of them, until nothing moves. What tiers must agree
on is the settled state and the outcomes; the state in between is the contract where the reference speaks of it: a
lock stays locked while it is handed over, and nobody overtakes a semaphore's waiter that was granted.

Errors that a caller gets at once are raised. What an actor that waited gets is an outcome: True, an index, CANCELLED or
BROKEN.
"""

from __future__ import annotations

from typing import Any, Final

Actor = str
CANCELLED: Final = "cancelled"
BROKEN: Final = "broken"


class Model:
    """What all primitives share: actors wait in a line, are granted, and leave."""

    def __init__(self) -> None:
        self.line: list[Actor] = []
        self.granted: list[Actor] = []
        self.ready: list[Actor] = []
        self.cancelled: set[Actor] = set()
        self.outcomes: list[tuple[Actor, object]] = []

    def finish(self, actor: Actor, outcome: object) -> None:
        """End the operation of an actor, with a value or an exception."""
        self.outcomes.append((actor, outcome))

    def grant(self, actor: Actor) -> None:
        """Grant an actor in the line what it waits for."""
        self.line.remove(actor)
        self.granted.append(actor)
        self.ready.append(actor)

    def take(self, actor: Actor) -> None:
        """Let an actor that was granted go on."""
        self.finish(actor, True)

    def give_back(self) -> None:
        """Let an actor that was granted leave without using it."""

    def cancel(self, actor: Actor) -> None:
        """Cancel an actor that waits. From now on nothing is granted to it. It leaves when it runs."""
        if actor in self.line:
            self.line.remove(actor)
            self.ready.append(actor)
        self.cancelled.add(actor)

    def close(self, actor: Actor) -> None:
        """Close the coroutine of an actor that waits, as the collector does. The actor is gone, without an outcome."""
        for where in (self.line, self.ready):
            if actor in where:
                where.remove(actor)
        if actor in self.granted:
            self.granted.remove(actor)
            self.give_back()

    def run(self, actor: Actor) -> None:
        """Let an actor that is ready go on."""
        self.ready.remove(actor)
        granted = actor in self.granted
        if granted:
            self.granted.remove(actor)
        if actor not in self.cancelled:
            self.take(actor)
        else:
            if granted:
                self.give_back()
            self.finish(actor, CANCELLED)

    def settle(self) -> None:
        """Let all actors go on until nothing moves."""
        while self.ready:
            self.run(self.ready[0])


class Lock(Model):
    """A lock is held or free. It is handed to the first in the line, and is held all the while."""

    def __init__(self) -> None:
        super().__init__()
        self.locked = False

    def try_acquire(self) -> bool:
        if self.locked:
            return False
        self.locked = True
        return True

    def acquire(self, actor: Actor) -> None:
        if self.try_acquire():
            self.finish(actor, True)
        else:
            self.line.append(actor)

    def release(self) -> None:
        """Release the lock. Any actor may, as its owner is not recorded."""
        if not self.locked:
            raise RuntimeError
        self.give_back()

    def give_back(self) -> None:
        if self.line:
            self.grant(self.line[0])
        else:
            self.locked = False


class Event(Model):
    """A flag. To set it lets all actors go that wait at that moment, whatever happens to the flag afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.is_set = False

    def set(self) -> None:
        self.is_set = True
        while self.line:
            self.grant(self.line[0])

    def clear(self) -> None:
        self.is_set = False

    def wait(self, actor: Actor) -> None:
        if self.is_set:
            self.finish(actor, True)
        else:
            self.line.append(actor)


class Semaphore(Model):
    """`value` free permits. While a permit is on its way to an actor, no other actor takes a free one at once.

    An actor may need several at once. Then nobody behind it is granted anything before it; and if it is cancelled, it
    is in the way until it has run, or until a release passes over it.
    """

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value
        self.needs: dict[Actor, int] = {}
        self.refused: dict[Actor, type[Exception]] = {}
        """The actors that are told that they will not be granted anything, and what each of them raises."""

    @property
    def locked(self) -> bool:
        return self.value <= 0 or bool(self.granted) or bool(self.line)

    def try_acquire(self, n: int = 1) -> bool:
        self.check(n)
        if self.locked or self.value < n:
            return False
        self.value -= n
        return True

    def acquire(self, actor: Actor, n: int = 1) -> None:
        if self.try_acquire(n):
            self.finish(actor, True)
        else:
            self.needs[actor] = n
            self.line.append(actor)

    def check(self, n: int) -> None:
        """Raise ValueError if there are never so many permits."""

    def release(self, n: int = 1) -> None:
        """Add permits. It may be called more often than acquire()."""
        given = 0 if self.value < 0 else self.serve(n)
        if given < n:
            self.value += n - given
            self.hand_out()

    def serve(self, permits: int) -> int:
        """Grant so many permits, or fewer, to the first in the line; return how many."""
        given = 0
        while self.line and given < permits:
            first = self.line[0]
            if first in self.cancelled or first in self.refused:
                self.line.remove(first)
                continue
            if given + self.needs[first] > permits:
                break
            given += self.needs[first]
            self.grant(first)
        return given

    def hand_out(self) -> None:
        """Grant what is free, if that is enough for the first in the line."""
        if self.value > 0:
            self.value -= self.serve(self.value)

    def take(self, actor: Actor) -> None:
        self.finish(actor, True)
        self.hand_out()

    def cancel(self, actor: Actor) -> None:
        if actor in self.line and self.needs[actor] > 1:
            if actor not in self.cancelled and actor not in self.refused:
                self.ready.append(actor)
            self.cancelled.add(actor)
        else:
            super().cancel(actor)

    def close(self, actor: Actor) -> None:
        granted, heavy = actor in self.granted, actor in self.line and self.needs[actor] > 1
        if granted:
            self.granted.remove(actor)
            self.value += self.needs[actor]
        super().close(actor)
        if granted or heavy:
            self.hand_out()

    def run(self, actor: Actor) -> None:
        if actor in self.granted and actor in self.cancelled:
            self.ready.remove(actor)
            self.granted.remove(actor)
            self.value += self.needs[actor]
            self.finish(actor, CANCELLED)
            self.hand_out()
        elif actor in self.refused or actor in self.line:
            self.ready.remove(actor)
            self.finish(actor, CANCELLED if actor in self.cancelled else self.refused[actor])
            if actor in self.line:
                self.line.remove(actor)
                self.hand_out()
        else:
            super().run(actor)

    def refuse(self, actor: Actor, error: type[Exception]) -> None:
        """Let an actor of the line raise this when it runs."""
        if actor not in self.cancelled and actor not in self.refused:
            self.refused[actor] = error
            self.ready.append(actor)

    def shut(self) -> None:
        """close(): whoever is in the line is refused."""
        for actor in [*self.line]:
            self.refuse(actor, RuntimeError)
        self.line.clear()


class BoundedSemaphore(Semaphore):
    """A Semaphore that never has more permits than at the start, or than resize() says."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.bound = value

    def check(self, n: int) -> None:
        if n > max(self.bound, 1):
            raise ValueError

    def release(self, n: int = 1) -> None:
        if self.value + n > self.bound:
            raise ValueError
        super().release(n)

    def resize(self, value: int) -> None:
        self.value += value - self.bound
        self.bound = value
        for actor in self.line:
            if self.needs[actor] > max(value, 1):
                self.refuse(actor, ValueError)
        self.hand_out()


class RWLock:
    """A Semaphore of which a reader takes one permit, and a writer all of them, until it is downgraded."""

    ALL = 1 << 30

    def __init__(self) -> None:
        self.permits = Semaphore(self.ALL)
        self.downgraded = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.permits, name)

    @property
    def readers(self) -> int:
        return self.ALL - self.permits.value if self.permits.value > 0 else 0

    @property
    def writing(self) -> bool:
        return self.permits.value == 0

    def release_reader(self) -> None:
        if not self.readers:
            raise RuntimeError
        self.permits.release(1)

    def release_writer(self) -> None:
        was_downgraded, self.downgraded = self.downgraded, False
        if self.writing:
            self.permits.release(self.ALL)
        elif was_downgraded and self.readers:
            self.permits.release(1)
        else:
            raise RuntimeError

    def downgrade(self) -> None:
        if not self.writing:
            raise RuntimeError
        self.downgraded = True
        self.permits.release(self.ALL - 1)


class Barrier(Model):
    """Rounds of so many parties. An actor that comes while a round leaves is in the line for the next one.

    A round leaves when its last party arrives. Those of it who were granted and have not run yet can still be hit by
    reset() or abort().
    """

    def __init__(self, parties: int) -> None:
        super().__init__()
        self.parties = parties
        self.broken = False
        self.results: dict[Actor, object] = {}  # of the actors that are granted
        self.spared: list[Actor] = []  # they came while a round left: no reset() hits them before they have run

    def wait(self, actor: Actor) -> None:
        if self.broken:
            self.finish(actor, BROKEN)
        elif not self.granted and len(self.line) == self.parties - 1:
            self.let_go()
            self.finish(actor, self.parties - 1)
        else:
            self.line.append(actor)

    def let_go(self) -> None:
        """Let the first actors of the line leave, as a complete round."""
        self.spared = []
        for index, actor in enumerate(self.line[: self.parties]):
            self.results[actor] = index
            self.grant(self.line[0])

    def reset(self) -> None:
        """Let all actors of the round leave with BROKEN: those that fill it, or else those that leave it."""
        self.broken = False
        if not self.granted:
            hit = [actor for actor in self.line if actor not in self.spared]
            self.line = hit + self.spared
            for _ in hit:
                self.grant(self.line[0])
        self.results = dict.fromkeys(self.granted, BROKEN)
        self.begin_round()

    def abort(self) -> None:
        """Let all actors leave with BROKEN. So does an actor that comes before the next reset()."""
        self.broken = True
        self.spared = []
        while self.line:
            self.grant(self.line[0])
        self.results = dict.fromkeys(self.granted, BROKEN)

    def begin_round(self) -> None:
        """Begin the next round with the actors in the line, if the round before has left."""
        if self.granted or self.broken:
            return
        if len(self.line) >= self.parties:
            self.let_go()
        else:
            self.spared = list(self.line)

    def take(self, actor: Actor) -> None:
        self.finish(actor, self.results.pop(actor))
        self.begin_round()

    def give_back(self) -> None:
        """Let the others of the round go on without the actor that left."""
        self.begin_round()

    def cancel(self, actor: Actor) -> None:
        super().cancel(actor)
        self.spared = [other for other in self.spared if other != actor]

    def close(self, actor: Actor) -> None:
        self.spared = [other for other in self.spared if other != actor]
        super().close(actor)

    def settle(self) -> None:
        super().settle()
        self.spared = []


class Condition(Lock):
    """A lock, and rooms (conditions that share it) where actors wait to be notified before they take it again.

    Who leaves wait() by a return or a cancellation holds the lock. A notification that its receiver cannot act on
    goes to another one of the same room; nothing else wakes anybody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.room: dict[Actor, int] = {}  # of all actors inside wait()
        self.waiting: list[Actor] = []  # to be notified
        self.notified: set[Actor] = set()
        self.steadfast: set[Actor] = set()  # cancelled in the lock's line: they keep their places there
        self.entering: dict[Actor, int] = {}  # see visit()
        self.visitors: set[Actor] = set()

    def wait(self, actor: Actor, room: int = 0) -> None:
        """Wait. The actor that calls this holds the lock, and holds it again in the end."""
        if not self.locked:
            raise RuntimeError
        self.room[actor] = room
        self.waiting.append(actor)
        self.give_back()

    def visit(self, actor: Actor, room: int = 0) -> None:
        """Take the lock, wait, release it: `async with condition: await condition.wait()`."""
        self.entering[actor] = room
        self.acquire(actor)

    def notify(self, n: int = 1, room: int = 0) -> None:
        if not self.locked:
            raise RuntimeError
        self.wake(n, room)

    def wake(self, n: int, room: int) -> None:
        for actor in self.waiting_in(room)[: max(n, 0)]:
            self.waiting.remove(actor)
            self.notified.add(actor)
            self.ready.append(actor)

    def waiting_in(self, room: int) -> list[Actor]:
        return [actor for actor in self.waiting if self.room[actor] == room]

    def grant(self, actor: Actor) -> None:
        """Hand the lock to the next actor in turn, cancelled or not: one that was cancelled in the line runs anyway."""
        if actor in self.ready:
            self.line.remove(actor)
            self.granted.append(actor)
        else:
            super().grant(actor)

    def cancel(self, actor: Actor) -> None:
        """Cancel an actor. Inside wait() it leaves only when it has the lock again."""
        if actor not in self.room:
            super().cancel(actor)
            return
        self.cancelled.add(actor)
        if actor in self.waiting:
            self.waiting.remove(actor)
            self.ready.append(actor)
        elif actor in self.line and actor not in self.steadfast:
            self.steadfast.add(actor)
            self.ready.append(actor)

    def close(self, actor: Actor) -> None:
        """Close an actor. Inside wait() it leaves without the lock; a free one is taken for the exit of the block."""
        super().close(actor)
        self.entering.pop(actor, None)
        if actor in self.room:
            self.leave_room(actor)
            if actor in self.visitors:
                self.visitors.remove(actor)
            else:
                self.locked = True

    def run(self, actor: Actor) -> None:
        """Take the lock again inside wait(), or stand in its line."""
        if actor not in self.room:
            super().run(actor)
            return
        self.ready.remove(actor)
        if actor in self.granted:
            self.granted.remove(actor)
        elif not self.locked:
            self.locked = True
            if actor in self.line:
                self.line.remove(actor)
        else:
            if actor not in self.line:
                self.line.append(actor)
            return
        if actor not in self.cancelled:
            self.notified.remove(actor)
        self.leave_room(actor)
        self.finish(actor, CANCELLED if actor in self.cancelled else True)

    def leave_room(self, actor: Actor) -> None:
        """Forget an actor. Another one gets the notification that it has not used."""
        room = self.room.pop(actor)
        if actor in self.waiting:
            self.waiting.remove(actor)
        self.steadfast.discard(actor)
        if actor in self.notified:
            self.notified.remove(actor)
            self.wake(1, room)

    def finish(self, actor: Actor, outcome: object) -> None:
        if actor in self.entering and outcome is True:
            self.visitors.add(actor)
            self.wait(actor, self.entering.pop(actor))
            return
        self.entering.pop(actor, None)
        super().finish(actor, outcome)
        if actor in self.visitors:
            self.visitors.remove(actor)
            self.release()
