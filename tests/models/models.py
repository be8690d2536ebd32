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
BROKEN; of a flight, what its body returned or raised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

Actor = str
CANCELLED: Final = "cancelled"
BROKEN: Final = "broken"
BODY_CANCELLED: Final = "the body was cancelled"


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

    def give_back(self, actor: Actor) -> None:
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
            self.give_back(actor)

    def end(self, actors: list[Actor]) -> None:
        """Close the event loop of these actors, which are all that wait. They are gone, without an outcome."""
        for actor in actors:
            self.close(actor)

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
                self.give_back(actor)
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
        self.pass_on()

    def give_back(self, actor: Actor) -> None:
        self.pass_on()

    def pass_on(self) -> None:
        """Hand the lock to the next actor, or unlock it."""
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

    def stays(self, actor: Actor) -> bool:
        """Whether an actor of the line is in the way of others until it has run, though it is cancelled."""
        return actor in self.line and self.needs[actor] > 1

    def put_back(self, n: int) -> None:
        """Take back permits that were granted, and not used."""
        self.value += n

    def cancel(self, actor: Actor) -> None:
        if self.stays(actor):
            if actor not in self.cancelled and actor not in self.refused:
                self.ready.append(actor)
            self.cancelled.add(actor)
        else:
            super().cancel(actor)

    def close(self, actor: Actor) -> None:
        granted, stays = actor in self.granted, self.stays(actor)
        if granted:
            self.granted.remove(actor)
            self.put_back(self.needs[actor])
        super().close(actor)
        if granted or stays:
            self.hand_out()

    def run(self, actor: Actor) -> None:
        if actor in self.granted and actor in self.cancelled:
            self.ready.remove(actor)
            self.granted.remove(actor)
            self.put_back(self.needs[actor])
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


class RateLimiter(Semaphore):
    """A bucket of at most `burst` tokens. One more comes every `each` seconds, and what an actor takes is gone.

    Whoever is cancelled in the line is in the way until it has run, or until its own tokens are there.
    """

    def __init__(self, each: float, burst: int) -> None:
        super().__init__(burst)
        self.each = each
        self.burst = burst
        self.now = 0.0
        self.value: float = burst
        self.since = 0.0
        """The time of the first grant that is under way."""

    def stays(self, actor: Actor) -> bool:
        return actor in self.line

    def check(self, n: int) -> None:
        if n > self.burst:
            raise ValueError

    def acquire(self, actor: Actor, n: int = 1) -> None:
        """While others have their tokens and have not run, the actor waits even if its own are there."""
        super().acquire(actor, n)
        if self.line[:1] == [actor] and not self.granted:
            self.hand_out()

    def take(self, actor: Actor) -> None:
        self.finish(actor, True)

    def put_back(self, n: int) -> None:
        """Take back tokens, less what has come since they were granted: nobody has them twice."""
        self.value = min(self.burst, self.value + max(0.0, n - (self.now - self.since) / self.each))

    def end(self, actors: list[Actor]) -> None:
        """What they were granted is taken back together."""
        lost = sum(self.needs[actor] for actor in actors if actor in self.granted)
        self.line.clear(), self.granted.clear(), self.ready.clear()
        if lost:
            self.put_back(lost)

    def hand_out(self) -> None:
        while self.line and (needs := self.needs[self.line[0]]) <= self.value:
            if not self.granted:
                self.since = self.now
            self.value -= self.serve(needs)

    def pass_time(self, seconds: float) -> None:
        """Let tokens come. The first of the line has its own when they are there."""
        until = self.now + seconds
        while self.line and (at := self.now + (self.needs[self.line[0]] - self.value) * self.each) <= until:
            self.come_to(max(at, self.now))
            self.hand_out()
        self.come_to(until)

    def come_to(self, time: float) -> None:
        self.value = min(self.burst, self.value + (time - self.now) / self.each)
        self.now = time


class KeyedLock(Model):
    """A lock for each key. An actor wants one key or several, and takes them one after the other.

    The order in which it takes several is that in which others than their holders have first asked for them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: set[str] = set()
        self.wanted: dict[Actor, list[str]] = {}
        """Of the actors that wait: the keys that they want, in the order in which they take them."""
        self.taken: dict[Actor, list[str]] = {}
        """Those that they have taken already."""
        self.shared: list[str] = []
        """The keys that others than their holders want or wanted, since they were free and nobody wanted them."""

    @property
    def used(self) -> set[str]:
        return self.held.union(*self.wanted.values())

    def line_of(self, key: str) -> list[Actor]:
        return [actor for actor in self.line if self.next_key(actor) == key]

    def next_key(self, actor: Actor) -> str:
        return self.wanted[actor][len(self.taken[actor])]

    def may_be_released(self, key: str) -> bool:
        """Whether nobody misses it who is on the way."""
        return not any(key in self.taken[actor] for actor in self.wanted) and key not in [
            self.next_key(actor) for actor in self.granted
        ]

    def share(self, keys: list[str]) -> None:
        self.shared += [key for key in keys if key not in self.shared]

    def forget(self) -> None:
        """Forget the order of the keys that are not in use."""
        self.shared = [key for key in self.shared if key in self.used]

    def try_acquire(self, *keys: str) -> bool:
        """Take all or none."""
        for key in keys:
            if key in self.used:
                self.share([key])
            if key in self.held:
                return False
        self.held.update(keys)
        return True

    def acquire(self, actor: Actor, key: str) -> None:
        if self.try_acquire(key):
            self.finish(actor, True)
        else:
            self.acquire_all(actor, key)

    def acquire_all(self, actor: Actor, *keys: str) -> None:
        self.share([*keys])
        self.wanted[actor] = sorted({*keys}, key=self.shared.index)
        self.taken[actor] = []
        self.go_on(actor)

    def go_on(self, actor: Actor) -> None:
        """Take keys until one is held by another."""
        while len(self.taken[actor]) < len(self.wanted[actor]):
            key = self.next_key(actor)
            if key in self.held:
                self.line.append(actor)
                return
            self.held.add(key)
            self.taken[actor].append(key)
        self.leave(actor)
        self.finish(actor, True)

    def leave(self, actor: Actor) -> list[str]:
        """Want nothing any more; return what it has taken."""
        del self.wanted[actor]
        taken = self.taken.pop(actor)
        self.forget()
        return taken

    def take(self, actor: Actor) -> None:
        self.taken[actor].append(self.next_key(actor))
        self.go_on(actor)

    def give_back(self, actor: Actor) -> None:
        self.pass_on(self.next_key(actor))

    def finish(self, actor: Actor, outcome: object) -> None:
        if actor in self.wanted:
            self.give_up(actor)
        super().finish(actor, outcome)

    def close(self, actor: Actor) -> None:
        super().close(actor)
        self.give_up(actor)

    def give_up(self, actor: Actor) -> None:
        for key in reversed(self.taken[actor]):
            self.pass_on(key)
        self.leave(actor)

    def release(self, *keys: str) -> None:
        """Release all, whoever holds them, or none."""
        if not self.held.issuperset(keys):
            raise RuntimeError
        for key in reversed(keys):
            self.pass_on(key)

    def pass_on(self, key: str) -> None:
        """Hand a key to the next actor of its line, or free it."""
        if line := self.line_of(key):
            self.grant(line[0])
        else:
            self.held.remove(key)
        self.forget()


@dataclass
class Flight:
    """One run of a body."""

    name: Actor
    key: str
    ending: str
    """How it ends when it is cancelled: see SingleFlight."""
    members: list[Actor]
    """Who waits for its result; when it is given up, who waits until it has ended."""
    is_given_up: bool = False
    is_cancelled: bool = False
    """Whether it is cancelled, and has not run since."""
    cleans_up: bool = False
    result: object = None
    """What it will end with when it runs."""


class SingleFlight(Model):
    """Of each key, one body runs at a time, for all who call meanwhile. Bodies are actors as well.

    When the last caller of a body has left, the body is given up and cancelled. Then it ends "at once", or cleans up
    and ends "later", or cleans up and ends "well", with a result. Whoever comes meanwhile waits until it has ended, and
    starts anew.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flights: dict[str, Flight] = {}
        """By key."""
        self.bodies: dict[Actor, Flight] = {}
        """By the name of the body."""
        self.flight_of: dict[Actor, Flight] = {}
        """Of each caller that waits."""
        self.calls: dict[Actor, tuple[str, str]] = {}
        self.begun = 0

    def call(self, actor: Actor, key: str, ending: str) -> None:
        """Call with a key; if that begins a body, it is one that ends so when it is cancelled."""
        flight = self.flights.get(key)
        if flight is None:
            self.begun += 1
            flight = self.flights[key] = Flight(f"body {self.begun}", key, ending, [])
            self.bodies[flight.name] = flight
        flight.members.append(actor)
        self.flight_of[actor] = flight
        self.calls[actor] = key, ending
        self.line.append(actor)

    def work(self, body: Actor, result: object) -> None:
        """What a body waits for has come."""
        self.bodies[body].result = result
        self.ready.append(body)

    def cancel_body(self, body: Actor) -> None:
        self.bodies[body].is_cancelled = True
        if body not in self.ready:
            self.ready.append(body)

    def run(self, actor: Actor) -> None:
        if actor in self.bodies:
            self.ready.remove(actor)
            self.run_body(self.bodies[actor])
        else:
            super().run(actor)

    def run_body(self, flight: Flight) -> None:
        if flight.is_cancelled and not flight.cleans_up and flight.ending != "at once":
            flight.is_cancelled, flight.cleans_up = False, True
        elif flight.is_cancelled or (flight.cleans_up and flight.ending == "later"):
            self.land(flight, BODY_CANCELLED)
        else:
            self.land(flight, flight.name if flight.cleans_up else flight.result)

    def land(self, flight: Flight, result: object) -> None:
        """End a body. Those that wait for it go on."""
        del self.bodies[flight.name], self.flights[flight.key]
        flight.result = result
        for actor in flight.members:
            if actor in self.line:
                self.grant(actor)

    def take(self, actor: Actor) -> None:
        flight = self.flight_of.pop(actor)
        if flight.is_given_up:
            self.call(actor, *self.calls[actor])
        else:
            self.finish(actor, flight.result)

    def finish(self, actor: Actor, outcome: object) -> None:
        """Leave. The last who leaves a body gives it up."""
        flight = self.flight_of.pop(actor, None)
        if flight is not None and flight.name in self.bodies:
            flight.members.remove(actor)
            if not flight.members and not flight.is_given_up:
                flight.is_given_up = True
                self.cancel_body(flight.name)
        super().finish(actor, outcome)


class Once(SingleFlight):
    """A SingleFlight of one key, until a body has ended well. Its result is kept, also if it was given up."""

    def __init__(self) -> None:
        super().__init__()
        self.value: object = None

    def call(self, actor: Actor, key: str, ending: str) -> None:
        if self.value is not None:
            self.finish(actor, self.value)
        else:
            super().call(actor, key, ending)

    def land(self, flight: Flight, result: object) -> None:
        if result == flight.name:
            self.value = result
        super().land(flight, result)


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

    def give_back(self, actor: Actor) -> None:
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
        self.pass_on()

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
