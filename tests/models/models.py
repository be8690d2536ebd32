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

from typing import Final

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
    """`value` free permits. While a permit is on its way to an actor, no other actor takes a free one at once."""

    def __init__(self, value: int) -> None:
        super().__init__()
        self.value = value

    @property
    def locked(self) -> bool:
        return self.value == 0 or bool(self.granted)

    def try_acquire(self) -> bool:
        if self.locked:
            return False
        self.value -= 1
        return True

    def acquire(self, actor: Actor) -> None:
        if self.try_acquire():
            self.finish(actor, True)
        else:
            self.line.append(actor)

    def release(self) -> None:
        """Add a permit. It may be called more often than acquire()."""
        if self.line:
            self.grant(self.line[0])
        else:
            self.value += 1

    def take(self, actor: Actor) -> None:
        self.finish(actor, True)
        self.hand_out()

    def give_back(self) -> None:
        self.value += 1
        self.hand_out()

    def hand_out(self) -> None:
        """Grant the free permits to the actors that queued behind a permit on its way, as that has arrived."""
        while self.value and self.line:
            self.value -= 1
            self.grant(self.line[0])


class BoundedSemaphore(Semaphore):
    """A Semaphore that never has more permits than at the start."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.bound = value

    def release(self) -> None:
        if self.value >= self.bound:
            raise ValueError
        super().release()


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
