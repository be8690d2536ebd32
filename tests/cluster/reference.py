"""What each record is, said as simply as it can be: tickets join a line, and the line is served from the front.

The models are lists of (session, ticket), without runs, and without any short cut. The kinds say what a session may do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from holdfast.cluster.records import barrier as barrier_record
from holdfast.cluster.records import event as event_record
from holdfast.cluster.records import lock as lock_record
from holdfast.cluster.records import rw_lock as rw_lock_record
from holdfast.cluster.records import semaphore as semaphore_record
from holdfast.cluster.records.barrier import BROKEN, BarrierRecord
from holdfast.cluster.records.closing import ITSELF, Close, Reopen
from holdfast.cluster.records.event import EventRecord
from holdfast.cluster.records.line import tickets
from holdfast.cluster.records.lock import LockRecord
from holdfast.cluster.records.record import Withdraw, WithdrawMany
from holdfast.cluster.records.rw_lock import RWLockRecord
from holdfast.cluster.records.semaphore import SemaphoreRecord

from .protocol import Client, Ticket, Woken

Line = tuple[Ticket, ...]


def split_off(woken: Woken, session: str, ticket: int) -> tuple[int, Woken]:
    """What this ticket was granted, or 0; and the others."""
    mine = [value for *who, value in woken if who == [session, ticket]]
    return (mine[0] if mine else 0), [entry for entry in woken if entry[:2] != (session, ticket)]


class Plain:
    """What most kinds have in common."""

    def worth(self, asked: Any, value: int) -> int:
        """What a ticket has got that has asked with this operation, from the value that it was granted."""
        return int(value * getattr(asked, "permits", 1))


# The Lock and its Conditions


class LockModel(NamedTuple):
    holder: tuple[str, int, int, int] | None = None
    """The session, its first ticket, the token of that, and how many tickets have the lock in turn."""
    line: Line = ()
    rooms: tuple[tuple[str, int, str], ...] = ()
    """The waiters in a condition."""
    tokens: int = 0
    unknown: int = 0
    """How many of the last in the line are not known to the session that acts."""

    def serve(self) -> tuple[LockModel, Woken]:
        if self.holder or not self.line:
            return self, []
        (session, first), count = self.line[0], 1
        while count < len(self.line) - self.unknown and self.line[count] == (session, first + count):
            count += 1
        holder = (session, first, self.tokens + 1, count)
        woken = [(session, first + number, self.tokens + 1 + number) for number in range(count)]
        return self._replace(holder=holder, line=self.line[count:], tokens=self.tokens + count), woken

    def has(self) -> dict[tuple[str, int], int]:
        """The tickets that have the lock in turn, and their tokens."""
        session, ticket, token, tickets = self.holder or ("", 0, 0, 0)
        return {(session, ticket + number): token + number for number in range(tickets)}

    def holds(self, token: int) -> bool:
        return token in self.has().values()

    def end(self, token: int) -> tuple[LockModel, Woken]:
        session, ticket, first, tickets = self.holder or ("", 0, 0, 0)
        ended = token - first + 1
        if ended < tickets:
            return self._replace(holder=(session, ticket + ended, token + 1, tickets - ended)), []
        return self._replace(holder=None).serve()

    def apply(self, session: str, operation: Any) -> tuple[LockModel, int, Woken]:
        match operation:
            case lock_record.Acquire(ticket):
                model, woken = self._replace(line=(*self.line, (session, ticket))).serve()
                return model, *split_off(woken, session, ticket)
            case lock_record.TryAcquire(ticket):
                return (self, -1, []) if self.holder else self.apply(session, lock_record.Acquire(ticket))
            case lock_record.Release(token) if self.holds(token):
                model, woken = self.end(token)
                return model, 1, woken
            case lock_record.Release():
                return self, 0, []
            case lock_record.Wait(ticket, room, token) if self.holds(token):
                model, woken = self._replace(rooms=(*self.rooms, (session, ticket, room))).end(token)
                return model, 0, woken
            case lock_record.Notify(room, n, token) if self.holds(token):
                inside = [entry for entry in self.rooms if entry[2] == room]
                moved = inside if n == -1 else inside[:n]
                rooms = tuple(entry for entry in self.rooms if entry not in moved)
                return self._replace(rooms=rooms, line=(*self.line, *(entry[:2] for entry in moved))), len(moved), []
            case lock_record.Relock(ticket, room) if (session, ticket, room) in self.rooms:
                rooms = tuple(entry for entry in self.rooms if entry != (session, ticket, room))
                model, woken = self._replace(rooms=rooms, line=(*self.line, (session, ticket))).serve()
                return model, 1, woken
            case lock_record.Wait() | lock_record.Notify() | lock_record.Relock():
                return self, -1, []
            case Withdraw(ticket):
                if (session, ticket) in self.has():
                    alone = len(self.has()) == 1
                    model, woken = self._replace(holder=None).serve() if alone else (self, [])
                    return model, 1, woken
                left = self._replace(
                    line=tuple(entry for entry in self.line if entry != (session, ticket)),
                    rooms=tuple(entry for entry in self.rooms if entry[:2] != (session, ticket)),
                )
                return left, int(left != self), []
        raise TypeError(operation)

    def bury(self, dead: frozenset[str]) -> tuple[LockModel, Woken]:
        return self._replace(
            holder=None if self.holder and self.holder[0] in dead else self.holder,
            line=tuple(entry for entry in self.line if entry[0] not in dead),
            rooms=tuple(entry for entry in self.rooms if entry[0] not in dead),
        ).serve()

    def waiting(self) -> Iterator[Ticket]:
        yield from self.line
        yield from (entry[:2] for entry in self.rooms)


class LockKind(Plain):
    initial = LockRecord()
    model = LockModel()
    asking = lock_record.Acquire, lock_record.TryAcquire, lock_record.Wait
    keeps = True

    def __init__(self, *rooms: str) -> None:
        self.rooms = rooms

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        yield lock_record.Acquire, 0
        if not self.rooms:
            yield lock_record.TryAcquire, 0
        for held, token in client.got:
            for room in self.rooms:
                yield (lambda ticket, room=room, token=token: lock_record.Wait(ticket, room, token)), held

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        for _, token in client.got:
            for room in self.rooms:
                for n in (1, -1):
                    yield lock_record.Notify(room, n, token), 0

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        match asked:
            case lock_record.Wait(_, room, _):
                yield lock_record.Relock(ticket, room)
            case lock_record.TryAcquire():
                return
        yield Withdraw(ticket)

    def agree(self, record: LockRecord, model: LockModel) -> None:
        holder = record.holder
        assert (holder and (*holder[:3], holder.tickets)) == model.holder
        assert (*tickets(record.line),) == model.line
        rooms = {entry[2] for entry in model.rooms}
        assert {room: [*tickets(line)] for room, (line, _) in record.rooms.items()} == {
            room: [entry[:2] for entry in model.rooms if entry[2] == room] for room in rooms
        }
        assert record.tokens == model.tokens, "a token was given twice, or went back"
        assert record.holder or not record.line, "the lock is free, and somebody waits for it"

    def believe(self, name: str, client: Client, model: LockModel) -> None:
        for ticket, token in client.got:
            assert model.has().get((name, ticket)) == token, "it believes to hold the lock, and does not"
        assert len(client.got) <= 1, "two of one session believe that they hold the lock"

    def give_back(self, ticket: int, value: int) -> Any:
        return lock_record.Release(value)

    def tidy(self, model: LockModel) -> Iterator[Any]:
        yield from ()

    def is_drained(self, record: LockRecord) -> bool:
        return record.is_initial()


# Semaphores


class SemaphoreModel(NamedTuple):
    value: int
    free: int
    bounded: bool
    inside: tuple[str, ...] = ()
    """The session of each permit that is taken."""
    line: tuple[tuple[str, int, int], ...] = ()
    """The session, the ticket, and how many permits it asks for."""
    refused: tuple[tuple[str, int, int], ...] = ()
    """The session, the ticket, and how many permits there were."""

    def serve(self) -> tuple[SemaphoreModel, Woken]:
        model, woken = self, Woken()
        while model.line and model.line[0][2] <= model.free:
            session, ticket, permits = model.line[0]
            inside = tuple(sorted([*model.inside, *[session] * permits]))
            model = model._replace(free=model.free - permits, inside=inside, line=model.line[1:])
            woken.append((session, ticket, 1))
        return model, woken

    def refuse(self) -> tuple[SemaphoreModel, Woken]:
        """Refuse who asks for more permits than there are. One permit is waited for."""
        gone = [entry for entry in self.line if self.bounded and entry[2] > max(self.value, 1)]
        model = self._replace(
            line=tuple(entry for entry in self.line if entry not in gone),
            refused=(*self.refused, *((*entry[:2], self.value) for entry in gone)),
        )
        return model, [(*entry[:2], semaphore_record.refusal(self.value)) for entry in gone]

    def give_back(self, session: str, permits: int = 1) -> tuple[SemaphoreModel, int, Woken]:
        inside = [*self.inside]
        for _ in range(permits):
            inside.remove(session)
        model, woken = self._replace(inside=tuple(inside), free=self.free + permits).serve()
        return model, 1, woken

    def ask(self, session: str, ticket: int, permits: int) -> tuple[SemaphoreModel, int, Woken]:
        model, woken = self._replace(line=(*self.line, (session, ticket, permits))).refuse()
        model, more = model.serve()
        return model, *split_off([*woken, *more], session, ticket)

    def withdraw(self, session: str, ticket: int, permits: int) -> tuple[SemaphoreModel, int, Woken]:
        waiting = tuple(entry for entry in self.line if entry[:2] != (session, ticket))
        refused = tuple(entry for entry in self.refused if entry[:2] != (session, ticket))
        if (waiting, refused) != (self.line, self.refused):
            return self._replace(line=waiting, refused=refused), 1, []
        return self.give_back(session, permits) if self.inside.count(session) >= permits else (self, 0, [])

    def apply(self, session: str, operation: Any) -> tuple[SemaphoreModel, int, Woken]:
        match operation:
            case semaphore_record.Acquire(ticket):
                return self.ask(session, ticket, 1)
            case semaphore_record.AcquireMany(ticket, permits):
                return self.ask(session, ticket, permits)
            case semaphore_record.TryAcquire(ticket):
                return self.ask(session, ticket, 1) if self.free > 0 and not self.line else (self, -1, [])
            case semaphore_record.TryAcquireMany(_, permits) if self.bounded and permits > self.value:
                return self, semaphore_record.refusal(self.value), []
            case semaphore_record.TryAcquireMany(ticket, permits):
                is_free = self.free >= permits and not self.line
                return self.ask(session, ticket, permits) if is_free else (self, -1, [])
            case semaphore_record.ReleaseMany(permits):
                held = min(self.inside.count(session), permits)
                if self.bounded and held < permits:
                    return self, 0, []
                return self._replace(free=self.free + permits - held).give_back(session, held)
            case semaphore_record.GiveBackMany(permits):
                return self.give_back(session, permits) if self.inside.count(session) >= permits else (self, 0, [])
            case semaphore_record.GiveBack():
                return self.give_back(session) if session in self.inside else (self, 0, [])
            case semaphore_record.Release():
                if session in self.inside:
                    return self.give_back(session)
                if self.bounded:
                    return self, 0, []
                model, woken = self._replace(free=self.free + 1).serve()
                return model, 1, woken
            case semaphore_record.Resize(value):
                model, refused = self._replace(value=value, free=self.free + value - self.value).refuse()
                model, woken = model.serve()
                return model, 1, [*refused, *woken]
            case Withdraw(ticket):
                return self.withdraw(session, ticket, 1)
            case WithdrawMany(ticket, permits):
                return self.withdraw(session, ticket, permits)
        raise TypeError(operation)

    def bury(self, dead: frozenset[str]) -> tuple[SemaphoreModel, Woken]:
        inside = tuple(session for session in self.inside if session not in dead)
        line = tuple(entry for entry in self.line if entry[0] not in dead)
        refused = tuple(entry for entry in self.refused if entry[0] not in dead)
        free = self.free + len(self.inside) - len(inside)
        return self._replace(inside=inside, line=line, refused=refused, free=free).serve()

    def waiting(self) -> Iterator[Ticket]:
        return ((session, ticket) for session, ticket, _ in self.line)


class SemaphoreKind(Plain):
    asking = (
        semaphore_record.Acquire,
        semaphore_record.TryAcquire,
        semaphore_record.AcquireMany,
        semaphore_record.TryAcquireMany,
    )
    keeps = True

    def __init__(self, value: int, bounded: bool, *values: int, many: Sequence[int] = ()) -> None:
        """values: to which it may be resized. many: how many permits may be asked for, besides one."""
        self.values = values
        self.many = many
        self.initial = SemaphoreRecord(value=value, bounded=bounded, free=value)
        self.model = SemaphoreModel(value, value, bounded)

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        yield semaphore_record.Acquire, 0
        if not self.many:
            yield semaphore_record.TryAcquire, 0
        for n in self.many:
            yield partial(semaphore_record.AcquireMany, permits=n), 0
            yield partial(semaphore_record.TryAcquireMany, permits=n), 0

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        """A release by a session in which nothing is held or on its way: the others are in give_back()."""
        if not (client.asked or client.pending or client.sent):
            if not client.got:
                yield semaphore_record.Release(), 0
            for n in self.many:
                if not client.got:
                    yield semaphore_record.ReleaseMany(n), 0
                elif len(client.got) == 1 and not self.initial.bounded:  # which refuses that before it is asked
                    ticket, permits = client.got[0]
                    yield semaphore_record.ReleaseMany(permits + n), ticket
        for value in self.values:
            yield semaphore_record.Resize(value), 0

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        match asked:
            case semaphore_record.Acquire():
                yield Withdraw(ticket)
            case semaphore_record.AcquireMany(_, permits):
                yield WithdrawMany(ticket, permits)

    def agree(self, record: SemaphoreRecord, model: SemaphoreModel) -> None:
        assert (record.value, record.free, record.permits) == (model.value, model.free, Counter(model.inside))
        assert (*((run.session, ticket, run.asks) for run in record.line for ticket in run.tickets()),) == model.line
        assert sorted(record.refused) == sorted(model.refused)
        assert not record.line or record.free < record.line[0].asks, "permits are free, and somebody waits for them"
        if record.bounded:
            assert record.free + sum(record.permits.values()) == record.value, "a permit was lost or made"

    def believe(self, name: str, client: Client, model: SemaphoreModel) -> None:
        held = sum(permits for _, permits in client.got)
        assert held <= model.inside.count(name), "it believes to hold more permits than it does"

    def give_back(self, ticket: int, value: int) -> Any:
        return semaphore_record.GiveBack() if value == 1 else semaphore_record.GiveBackMany(value)

    def tidy(self, model: SemaphoreModel) -> Iterator[Any]:
        yield from ()

    def is_drained(self, record: SemaphoreRecord) -> bool:
        """Permits that were added stay."""
        return replace(record, free=record.value).is_initial() and record.free >= record.value


# RWLock


class RWLockModel(NamedTuple):
    tokens: int = 1
    writer: tuple[str, int, int] | None = None
    """The session, its ticket, and the token of that."""
    readers: tuple[str, ...] = ()
    """The session of each reader."""
    line: tuple[tuple[str, int, bool], ...] = ()
    """The session, the ticket, and whether it wants to write."""

    def serve(self) -> tuple[RWLockModel, Woken]:
        model, woken = self, Woken()
        while model.line and not model.writer:
            session, ticket, writes = model.line[0]
            if writes and model.readers:
                break
            if writes:
                token = model.tokens + 1
                model = model._replace(tokens=token, writer=(session, ticket, token))
            else:
                model = model._replace(readers=tuple(sorted([*model.readers, session])))
            woken.append((session, ticket, model.tokens))
            model = model._replace(line=model.line[1:])
        return model, woken

    def ask(self, session: str, ticket: int, writes: bool) -> tuple[RWLockModel, int, Woken]:
        model, woken = self._replace(line=(*self.line, (session, ticket, writes))).serve()
        return model, *split_off(woken, session, ticket)

    def without_reader(self, session: str) -> RWLockModel:
        readers = [*self.readers]
        readers.remove(session)
        return self._replace(readers=tuple(readers))

    def apply(self, session: str, operation: Any) -> tuple[RWLockModel, int, Woken]:
        match operation:
            case rw_lock_record.Read(ticket):
                return self.ask(session, ticket, False)
            case rw_lock_record.Write(ticket):
                return self.ask(session, ticket, True)
            case rw_lock_record.TryRead(ticket):
                return (self, -1, []) if self.writer or self.line else self.ask(session, ticket, False)
            case rw_lock_record.TryWrite(ticket):
                return (self, -1, []) if self.writer or self.readers else self.ask(session, ticket, True)
            case rw_lock_record.EndRead() if session in self.readers:
                model, woken = self.without_reader(session).serve()
                return model, 1, woken
            case rw_lock_record.EndWrite(token) if self.writer and self.writer[2] == token:
                model, woken = self._replace(writer=None).serve()
                return model, 1, woken
            case rw_lock_record.Downgrade(token) if self.writer and self.writer[2] == token:
                readers = tuple(sorted([*self.readers, self.writer[0]]))
                model, woken = self._replace(writer=None, readers=readers).serve()
                return model, 1, woken
            case rw_lock_record.EndRead() | rw_lock_record.EndWrite() | rw_lock_record.Downgrade():
                return self, 0, []
            case Withdraw(ticket):
                line = tuple(entry for entry in self.line if entry[:2] != (session, ticket))
                if line != self.line:
                    return self._replace(line=line), 1, []
                if self.writer and self.writer[:2] == (session, ticket):
                    model, woken = self._replace(writer=None).serve()
                    return model, 1, woken
                if session in self.readers:
                    model, woken = self.without_reader(session).serve()
                    return model, 1, woken
                return self, 0, []
        raise TypeError(operation)

    def bury(self, dead: frozenset[str]) -> tuple[RWLockModel, Woken]:
        return self._replace(
            writer=None if self.writer and self.writer[0] in dead else self.writer,
            readers=tuple(session for session in self.readers if session not in dead),
            line=tuple(entry for entry in self.line if entry[0] not in dead),
        ).serve()

    def waiting(self) -> Iterator[Ticket]:
        return ((session, ticket) for session, ticket, _ in self.line)


class RWLockKind(Plain):
    """What a ticket has got is twice its token, and one more if it writes."""

    initial = RWLockRecord()
    model = RWLockModel()
    asking = rw_lock_record.Read, rw_lock_record.TryRead, rw_lock_record.Write, rw_lock_record.TryWrite
    keeps = True

    def __init__(self, tries: bool = False) -> None:
        self.tries = tries

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        yield rw_lock_record.Read, 0
        yield rw_lock_record.Write, 0
        if self.tries:
            yield rw_lock_record.TryRead, 0
            yield rw_lock_record.TryWrite, 0

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        for ticket, value in client.got:
            if value % 2:
                yield rw_lock_record.Downgrade(value // 2), ticket

    def worth(self, asked: Any, value: int) -> int:
        return 2 * value + isinstance(asked, (rw_lock_record.Write, rw_lock_record.TryWrite)) if value > 0 else value

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        if isinstance(asked, (rw_lock_record.Read, rw_lock_record.Write)):
            yield Withdraw(ticket)

    def agree(self, record: RWLockRecord, model: RWLockModel) -> None:
        assert record.tokens == model.tokens, "a token was given twice, or went back"
        assert (record.writer and record.writer[:3]) == model.writer
        assert record.readers == Counter(model.readers)
        line = [
            (run.session, ticket, run.asks == rw_lock_record.WRITE) for run in record.line for ticket in run.tickets()
        ]
        assert (*line,) == model.line
        assert not (record.writer and record.readers), "somebody reads while somebody writes"
        if record.line and not record.writer:
            assert record.readers, "it is free, and somebody waits for it"
            assert record.line[0].asks == rw_lock_record.WRITE, "a reader waits that could come in"

    def believe(self, name: str, client: Client, model: RWLockModel) -> None:
        reading = [(ticket, value // 2) for ticket, value in client.got if not value % 2]
        for ticket, value in client.got:
            if value % 2:
                assert model.writer == (name, ticket, value // 2), "it believes to write, and does not"
        inside = model.readers.count(name)
        if model.writer and model.writer[0] == name:  # which has been told to become a reader
            inside += (model.writer[1], model.writer[2]) in reading
        assert len(reading) <= inside, "it believes to read, and does not"
        for _, token in reading:
            assert token == model.tokens, "a writer has been in while it reads"

    def give_back(self, ticket: int, value: int) -> Any:
        return rw_lock_record.EndWrite(value // 2) if value % 2 else rw_lock_record.EndRead()

    def tidy(self, model: RWLockModel) -> Iterator[Any]:
        yield from ()

    def is_drained(self, record: RWLockRecord) -> bool:
        return record.is_initial()


# Event


class EventModel(NamedTuple):
    is_set: bool = False
    line: Line = ()

    def serve(self) -> tuple[EventModel, Woken]:
        return (self._replace(line=()), [(*entry, 1) for entry in self.line]) if self.is_set else (self, [])

    def apply(self, session: str, operation: Any) -> tuple[EventModel, int, Woken]:
        match operation:
            case event_record.Wait(ticket):
                model, woken = self._replace(line=(*self.line, (session, ticket))).serve()
                return model, *split_off(woken, session, ticket)
            case event_record.Set():
                model, woken = self._replace(is_set=True).serve()
                return model, 1, woken
            case event_record.Clear():
                return self._replace(is_set=False), 1, []
            case Withdraw(ticket):
                line = tuple(entry for entry in self.line if entry != (session, ticket))
                return self._replace(line=line), int(line != self.line), []
        raise TypeError(operation)

    def bury(self, dead: frozenset[str]) -> tuple[EventModel, Woken]:
        return self._replace(line=tuple(entry for entry in self.line if entry[0] not in dead)), []

    def waiting(self) -> Iterator[Ticket]:
        yield from self.line


class EventKind(Plain):
    initial = EventRecord()
    model = EventModel()
    asking = (event_record.Wait,)
    keeps = False

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        yield event_record.Wait, 0

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        yield event_record.Set(), 0
        yield event_record.Clear(), 0

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        yield Withdraw(ticket)

    def agree(self, record: EventRecord, model: EventModel) -> None:
        assert record.is_set == model.is_set
        assert (*tickets(record.line),) == model.line
        assert not (record.is_set and record.line), "it is set, and somebody waits for that"

    def believe(self, name: str, client: Client, model: EventModel) -> None:
        assert not client.got

    def give_back(self, ticket: int, value: int) -> Any:
        raise AssertionError("nothing is held")

    def tidy(self, model: EventModel) -> Iterator[Any]:
        if model.is_set:
            yield event_record.Clear()

    def is_drained(self, record: EventRecord) -> bool:
        return record.is_initial()


# Barrier


class BarrierModel(NamedTuple):
    parties: int
    broken: bool = False
    line: Line = ()
    places: tuple[tuple[str, int, int], ...] = ()

    def serve(self, alive: Collection[str] = ()) -> tuple[BarrierModel, Woken]:
        if self.broken:
            return self._replace(line=()), [(*entry, BROKEN) for entry in self.line]
        round = self.line[: self.parties]
        if len(round) < self.parties or not all(session in alive for session, _ in round):
            return self, []
        places = [(*entry, place) for place, entry in enumerate(round, 1)]
        after = self._replace(line=self.line[self.parties :], places=tuple(sorted([*self.places, *places])))
        model, more = after.serve(alive)
        return model, [*places, *more]

    def apply(self, session: str, operation: Any) -> tuple[BarrierModel, int, Woken]:
        match operation:
            case barrier_record.Arrive(ticket):
                model, woken = self._replace(line=(*self.line, (session, ticket))).serve({session})
                return model, *split_off(woken, session, ticket)
            case barrier_record.Trip(alive):
                model, woken = self.serve(alive)
                return model, len(woken), woken
            case barrier_record.GiveUp(ticket):
                if (session, ticket) in self.line:
                    line = tuple(entry for entry in self.line if entry != (session, ticket))
                    model, woken = self._replace(line=line, broken=True).serve()
                    return model, BROKEN, woken
                found = [place for *entry, place in self.places if (*entry,) == (session, ticket)]
                places = tuple(entry for entry in self.places if entry[:2] != (session, ticket))
                return self._replace(places=places), found[0] if found else BROKEN, []
            case barrier_record.Abort():
                model, woken = self._replace(broken=True).serve()
                return model, 1, woken
            case barrier_record.Reset():
                model, woken = self._replace(broken=True).serve()
                return model._replace(broken=False), 1, woken
            case Withdraw(ticket):
                line = tuple(entry for entry in self.line if entry != (session, ticket))
                places = tuple(entry for entry in self.places if entry[:2] != (session, ticket))
                model = self._replace(line=line, places=places)
                return model, int(model != self), []
        raise TypeError(operation)

    def bury(self, dead: frozenset[str]) -> tuple[BarrierModel, Woken]:
        line = tuple(entry for entry in self.line if entry[0] not in dead)
        return self._replace(line=line, places=tuple(entry for entry in self.places if entry[0] not in dead)), []

    def waiting(self) -> Iterator[Ticket]:
        yield from self.line


class BarrierKind(Plain):
    asking = (barrier_record.Arrive,)
    keeps = True

    def __init__(self, parties: int) -> None:
        self.initial = BarrierRecord(parties=parties)
        self.model = BarrierModel(parties)

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        yield barrier_record.Arrive, 0

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        yield barrier_record.Abort(), 0
        yield barrier_record.Reset(), 0

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        yield barrier_record.GiveUp(ticket)
        yield Withdraw(ticket)

    def agree(self, record: BarrierRecord, model: BarrierModel) -> None:
        assert record.broken == model.broken
        assert (*tickets(record.line),) == model.line
        assert tuple(sorted(record.places)) == model.places
        assert not (record.broken and record.line), "it is broken, and somebody waits"

    def believe(self, name: str, client: Client, model: BarrierModel) -> None:
        for ticket, place in client.got:
            assert (name, ticket, place) in model.places, "it has another place than it believes"

    def give_back(self, ticket: int, value: int) -> Any:
        return Withdraw(ticket)

    def tidy(self, model: BarrierModel) -> Iterator[Any]:
        if model.broken:
            yield barrier_record.Reset()

    def is_drained(self, record: BarrierRecord) -> bool:
        return record.is_initial()


# What can be closed


@dataclass(frozen=True)
class ClosableModel:
    """Another model, and what of it is closed."""

    model: Any
    closed: frozenset[str] = frozenset()
    away: tuple[tuple[str, int, str], ...] = ()
    """The session and the ticket of each that was turned away, and from what."""

    def _replace(self, **fields: Any) -> ClosableModel:
        return replace(self, model=self.model._replace(**fields))

    def serve(self) -> tuple[ClosableModel, Woken]:
        model, woken = self.model.serve()
        return replace(self, model=model), woken

    def close(self, what: str) -> ClosableModel:
        if what:
            gone = [entry[:2] for entry in self.model.rooms if entry[2] == what]
            model = self.model._replace(rooms=tuple(entry for entry in self.model.rooms if entry[2] != what))
        else:
            gone = [entry[:2] for entry in self.model.line]
            model = self.model._replace(line=())
        away = tuple(sorted([*self.away, *((*ticket, what) for ticket in gone)]))
        return ClosableModel(model, self.closed | {what}, away)

    def turned_away(self, session: str, ticket: int, what: str) -> ClosableModel:
        return replace(self, away=tuple(sorted([*self.away, (session, ticket, what)])))

    def refuses(self, operation: Any) -> bool:
        if ITSELF not in self.closed or isinstance(operation, (lock_record.Wait, lock_record.Return)):
            return False
        is_set = isinstance(self.model, EventModel) and self.model.is_set
        return not is_set and isinstance(operation, ASKING)

    def apply(self, session: str, operation: Any) -> tuple[ClosableModel, int, Woken]:
        mine = [entry for entry in self.away if entry[:2] == (session, getattr(operation, "ticket", 0))]
        left = replace(self, away=tuple(entry for entry in self.away if entry not in mine))
        match operation:
            case Close(what) if what in self.closed:
                return self, 0, []
            case Close(what):
                return self.close(what), 1, []
            case Reopen(what):
                return replace(self, closed=self.closed - {what}), int(what in self.closed), []
            case lock_record.Wait(ticket, room, token) if room in self.closed and self.model.holds(token):
                model, woken = self.model.end(token)
                return replace(self, model=model).turned_away(session, ticket, room), 0, woken
            case Withdraw() | WithdrawMany() if mine:
                return left, 1, []
            case barrier_record.GiveUp() if mine:
                return left, BROKEN, []
            case lock_record.Relock(ticket) if mine:
                model, woken = self.model._replace(line=(*self.model.line, (session, ticket))).serve()
                return replace(left, model=model), 1 if mine[0][2] else -1, woken
            case _ if self.refuses(operation):
                return self.turned_away(session, operation.ticket, ITSELF), 0, []
            case lock_record.Return(ticket):
                operation = lock_record.Acquire(ticket)
        model, outcome, woken = self.model.apply(session, operation)
        return replace(self, model=model), outcome, woken

    def bury(self, dead: frozenset[str]) -> tuple[ClosableModel, Woken]:
        model, woken = self.model.bury(dead)
        return replace(self, model=model, away=tuple(entry for entry in self.away if entry[0] not in dead)), woken

    def waiting(self) -> Iterator[Ticket]:
        yield from self.model.waiting()


ASKING = (
    *LockKind.asking,
    *SemaphoreKind.asking,
    *RWLockKind.asking,
    *EventKind.asking,
    *BarrierKind.asking,
)


class ClosableKind:
    """Another kind, which is closed, and opened again, at any moment."""

    def __init__(self, kind: Any, *what: str) -> None:
        """what: the conditions that are closed; by default the primitive is."""
        self._kind = kind
        self._what = what or (ITSELF,)
        self.model = ClosableModel(kind.model)
        self.asking = (*kind.asking, lock_record.Return)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kind, name)

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        for what in self._what:
            yield Close(what, "why"), 0
            yield Reopen(what), 0
        if isinstance(self._kind, LockKind):
            yield from self._kind.tells(client)
        elif isinstance(self._kind, EventKind):
            yield event_record.Set(), 0

    def agree(self, record: Any, model: ClosableModel) -> None:
        self._kind.agree(record, model.model)
        assert {*record.closings} == model.closed
        away = [(session, ticket, each.what) for each in record.turned_away for session, ticket in tickets(each.line)]
        assert tuple(sorted(away)) == model.away
        if ITSELF in model.closed and not isinstance(self._kind, LockKind):
            assert not record.line, "it is closed, and somebody waits"
        for room in model.closed - {ITSELF}:
            assert room not in record.rooms, "the condition is closed, and somebody waits"

    def believe(self, name: str, client: Client, model: ClosableModel) -> None:
        self._kind.believe(name, client, model.model)

    def tidy(self, model: ClosableModel) -> Iterator[Any]:
        yield from self._kind.tidy(model.model)
