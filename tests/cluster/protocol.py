"""Sessions, an engine and the mail between them in miniature: the whole protocol of a record, without tasks and loops.

A World is a value, and each move gives a new one. So a hypothesis state machine can walk through worlds, and a search
can visit all of them. A session does what `exchange.py` does: operations gather while a batch is on its way, a batch
is sent until its outcome is known, and each answer is searched for grants whose wake-up may be lost. The moves:

    ask, tell, leave    a task asks for something, does something, or leaves before or after it has got it
    send                a batch is applied and answered; applied, and the answer lost; or lost; each may be a repetition
                        also: applied without knowing of the last that have joined, which stay behind the record
    add                 a batch is stored behind the record, and answered or not; or so again
    write anew          somebody writes the record anew with some of what is stored behind it
    deliver             a wake-up arrives, late or not; or is lost, or comes once more
    die                 a session ends without a word, whatever is on its way; another that sends buries it, or not yet

Beside the record goes a reference model (`reference.py`), which sees each batch once. Whatever a record does is
compared with that: its contents, its outcomes, and the sessions that it wakes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from holdfast.cluster.records.additions import added, left, takes_additions
from holdfast.cluster.records.answers import Answer
from holdfast.cluster.records.barrier import GiveUp, Trip
from holdfast.cluster.records.closing import ITSELF
from holdfast.cluster.records.line import size
from holdfast.cluster.records.lock import Relock, Return, Wait
from holdfast.cluster.records.record import Grants, Record, Withdraw, WithdrawMany
from holdfast.cluster.records.rw_lock import Downgrade, Read
from holdfast.cluster.records.semaphore import AcquireMany, refusal
from holdfast.cluster.records.step import Batch, Step, step
from holdfast.cluster.records.stored import decode, encode

ADDED = re.compile(r"\d+ \w+'*\t")
"""The beginning of a row that was stored behind a record."""
WITHDRAWALS = Withdraw, WithdrawMany
RETURNING = Wait, Relock, Return
"""What those have sent last who take a lock back."""
Ticket = tuple[str, int]
Woken = list[tuple[str, int, int]]
"""Session, ticket, and what that has got."""
Letter = tuple[str, int, int, int]
"""A wake-up: the session, the first ticket, what that has got, and how many tickets have got something."""


class Model(Protocol):
    """What a primitive is, as simply as it can be said. A value."""

    def apply(self, session: str, operation: Any) -> tuple[Model, int, Woken]:
        """The new model, the outcome, and the other tickets that no longer wait."""

    def bury(self, dead: frozenset[str]) -> tuple[Model, Woken]: ...

    def serve(self) -> tuple[Model, Woken]:
        """Grant what can be granted."""

    def waiting(self) -> Iterable[Ticket]: ...


class Kind(Protocol):
    """What a search has to know of a primitive."""

    initial: Record
    model: Any
    asking: tuple[type, ...]
    """The operations with which a ticket asks for something."""
    keeps: bool
    """Whether what a ticket has got is something that has to be given back."""

    def asks(self, client: Client) -> Iterator[tuple[Callable[[int], Any], int]]:
        """How to ask for something, from the ticket; and which ticket gives up what it has got in doing so, or 0."""

    def tells(self, client: Client) -> Iterator[tuple[Any, int]]:
        """What else can be done; and which ticket gives up what it has got in doing so, or 0."""

    def worth(self, asked: Any, value: int) -> int:
        """What a ticket has got that has asked with this operation, from the value that it was granted."""

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        """What a task sends that leaves while it waits with this operation."""

    def agree(self, record: Any, model: Any) -> None:
        """Check that they say the same, and that no ticket waits for what it could have."""

    def believe(self, name: str, client: Client, model: Any) -> None:
        """Check that a session has what it believes to have."""

    def give_back(self, ticket: int, value: int) -> Any:
        """What ends the holding of a ticket."""

    def tidy(self, model: Any) -> Iterator[Any]:
        """What has to be done when nobody waits or holds anything, so that the record is as in the beginning."""

    def is_drained(self, record: Any) -> bool:
        """Whether the record is as in the beginning."""


class Left(NamedTuple):
    """How much may still happen."""

    asks: int
    tells: int
    faults: int
    sessions: int = 0
    """How many dead sessions are followed by a new one."""


class Client(NamedTuple):
    """A living session."""

    tickets: int = 0
    batches: int = 0
    pending: tuple[Any, ...] = ()
    sent: Batch | None = None
    """On its way, or lost; its outcome is not known."""
    applied: Answer = Answer(0, ())
    """The truth about the last batch that was applied."""
    asked: tuple[tuple[int, Any], ...] = ()
    """Tickets that wait as far as the session knows, and what they have sent last."""
    got: tuple[tuple[int, int], ...] = ()
    """Tickets that have got something and have not given it back, and what."""
    run: Grants = Grants(0, 0, 0)
    """What its tickets have in turn, as far as it knows; see `turns.py`."""
    inside: int = 0
    """The last ticket of the run that was let in."""

    def give_up(self, ticket: int) -> Client:
        return self._replace(got=tuple(entry for entry in self.got if entry[0] != ticket))

    def forget(self, ticket: int) -> Client:
        return self._replace(asked=tuple(entry for entry in self.asked if entry[0] != ticket))

    def add(self, operation: Any) -> Client:
        return self._replace(pending=(*self.pending, operation))

    def has_in_turn(self, ticket: int) -> bool:
        return 0 <= ticket - self.run.ticket < self.run.tickets

    def begin(self, run: Grants) -> tuple[Client, int]:
        """It has been granted a run. Also returns the value with which that has to be given back, or 0."""
        end, known = run.value + run.tickets, self.run.value + self.run.tickets
        if end > known:
            return self._replace(run=run, inside=run.ticket - 1).let_in_next()
        in_now = self.run.value + self.inside - self.run.ticket
        return self.let_in_next() if end == known and in_now < run.value < end else (self, 0)

    def let_in_next(self) -> tuple[Client, int]:
        end = self.run.ticket + self.run.tickets
        waiting = [ticket for ticket, _ in self.asked if self.inside < ticket < end]
        if not waiting:
            return self._replace(inside=end), self.run.value + self.run.tickets - 1
        ticket = min(waiting)
        value = self.run.value + ticket - self.run.ticket
        return self.forget(ticket)._replace(inside=ticket, got=(*self.got, (ticket, value))), 0


class World(NamedTuple):
    kind: Kind
    text: str | None
    model: Any
    clients: tuple[tuple[str, Client], ...]
    left: Left
    dead: frozenset[str] = frozenset()
    """Those that nobody has buried."""
    mail: tuple[Letter, ...] = ()

    @classmethod
    def new(cls, kind: Kind, sessions: str, left: Left) -> World:
        return cls(kind, None, kind.model, tuple((name, Client()) for name in sessions), left)

    @property
    def record(self) -> Any:
        return decode(self.text, "x", self.kind.initial)

    def with_client(self, name: str, client: Client) -> World:
        return self._replace(clients=tuple((other, client if other == name else old) for other, old in self.clients))

    def spending(self, **spent: int) -> World:
        return self._replace(
            left=self.left._replace(**{what: getattr(self.left, what) - n for what, n in spent.items()})
        )

    # The moves

    def moves(self) -> list[tuple[str, Callable[[], World]]]:
        """What can happen next."""
        moves: list[tuple[str, Callable[[], World]]] = []

        def move(label: str, function: Callable[..., World], *args: Any) -> None:
            moves.append((label, lambda: function(*args)))

        for name, client in self.clients:
            if self.left.asks:
                for make, given_up in self.kind.asks(client):
                    operation = make(client.tickets + 1)
                    move(f"{name} asks: {operation}", self.ask, name, operation, given_up)
            if self.left.tells:
                for operation, given_up in self.kind.tells(client):
                    move(f"{name}: {operation}", self.tell, name, operation, given_up)
            for ticket, value in client.got:
                move(f"{name} gives back what ticket {ticket} has got", self.end, name, ticket, value)
                if self.kind.initial.IN_TURN:
                    move(f"{name} gives that back, and asks whether it lives", self.end_and_ask, name, ticket, value)
            for ticket, asked in client.asked:
                for operation in self.kind.leaving(ticket, asked):
                    move(f"{name} leaves: {operation}", self.leave, name, ticket, operation)
            busy = bool(client.pending or client.sent)
            must_look = any(
                isinstance(operation, Trip) for operation in self._put_on_the_way(name)._sent(name).operations
            )
            for bury in (True,) if self.dead and must_look else (False, True) if self.dead else (False,):
                if busy or bury or client.asked:
                    move(f"{name} sends, answered, {bury=}", self.send, name, bury)
                if busy and self.left.faults:
                    move(f"{name} sends, answer lost, {bury=}", self.send_in_vain, name, bury, True)
            if busy and self.left.faults:
                move(f"{name} sends, lost", self.send_in_vain, name, False, False)
            if busy and not (self.dead and must_look) and self._put_on_the_way(name).added(name):
                move(f"{name} adds, answered", self.add, name)
                if self.left.faults:
                    move(f"{name} adds, answer lost", self.add_in_vain, name)
            for unknown in range(1, self._unknown(name) + 1) if busy else ():
                if self._put_on_the_way(name).step(name, unknown=unknown).is_alike_at_end:
                    move(f"{name} sends, not knowing of {unknown} who joined", self.send, name, False, unknown)
            if self.left.faults:
                move(f"{name} dies", self.die, name)
        for unknown in range(len(self._rows())):
            move(f"it is written anew, not knowing of {unknown} rows", self.write_anew, unknown)
        for letter in dict.fromkeys(self.mail):
            move(f"wake-up {letter} arrives", self.deliver, letter)
            if self.left.faults:
                move(f"wake-up {letter} is lost", self.lose, letter)
                move(f"wake-up {letter} comes twice", self.double, letter)
        return moves

    def ask(self, name: str, operation: Any, given_up: int) -> World:
        client = dict(self.clients)[name].give_up(given_up).add(operation)
        client = client._replace(tickets=operation.ticket, asked=(*client.asked, (operation.ticket, operation)))
        if given_up and self.kind.initial.IN_TURN:
            client, rest = client.let_in_next()
            if rest > operation.token:
                client = client.add(self.kind.initial.ending(rest))
        return self.with_client(name, client).spending(asks=1)

    def tell(self, name: str, operation: Any, given_up: int) -> World:
        client = dict(self.clients)[name].give_up(given_up).add(operation)
        if isinstance(operation, Downgrade):  # the ticket has got something else now
            worth = self.kind.worth(Read(given_up), operation.token)
            client = client._replace(got=tuple(sorted([*client.got, (given_up, worth)])))
        return self.with_client(name, client).spending(tells=1)

    def end(self, name: str, ticket: int, value: int) -> World:
        client = dict(self.clients)[name].give_up(ticket)
        if not self.kind.initial.IN_TURN:
            return self.with_client(name, client.add(self.kind.give_back(ticket, value)))
        client, rest = client.let_in_next()
        return self.with_client(name, client.add(self.kind.initial.ending(rest)) if rest else client)

    def end_and_ask(self, name: str, ticket: int, value: int) -> World:
        """The next one is let in once the record has heard of the end."""
        client = dict(self.clients)[name].give_up(ticket)
        return self.with_client(name, client.add(self.kind.initial.ending(value)))

    def leave(self, name: str, ticket: int, operation: Any) -> World:
        client = dict(self.clients)[name]
        if isinstance(operation, Withdraw) and client.has_in_turn(ticket):
            return self.with_client(name, client.forget(ticket))  # it is passed over
        client = client.add(operation)
        if isinstance(operation, (Withdraw, WithdrawMany, GiveUp)):
            return self.with_client(name, client.forget(ticket))
        asked = tuple((other, operation if other == ticket else old) for other, old in client.asked)
        return self.with_client(name, client._replace(asked=asked))

    def send(self, name: str, bury: bool, unknown: int = 0) -> World:
        """It is applied, and the answer arrives."""
        dead = self.dead if bury else frozenset[str]()
        return self._put_on_the_way(name)._apply(name, dead, unknown)._answered(name)

    def add(self, name: str) -> World:
        """It is stored behind the record, the answer arrives, and the sessions that it wakes are told."""
        return self._put_on_the_way(name)._add(name, is_answered=True)._answered(name)

    def add_in_vain(self, name: str) -> World:
        """It is stored, and the answer is lost."""
        return self._put_on_the_way(name)._add(name, is_answered=False).spending(faults=1)

    def write_anew(self, unknown: int) -> World:
        known, rest = self._split(unknown)
        world = self._replace(text=encode(decode(known, "x", self.kind.initial)) + rest)
        assert world.record == self.record
        return world._checked()

    def _answered(self, name: str) -> World:
        client = dict(self.clients)[name]
        assert client.sent is not None
        sent, gathered = client.sent, {each.ticket for each in client.pending if isinstance(each, self.kind.asking)}
        client = client._replace(sent=None)
        client = self._told_what_is_closed(name, client, gathered)
        asked = [ticket for ticket, _ in client.asked if ticket not in gathered]
        if self.kind.initial.IN_TURN:
            client = self._get(client, self.record.granted(name, asked))
        for operation, outcome in zip(sent.operations, client.applied.outcomes, strict=True):
            if isinstance(operation, self.kind.asking) and outcome:
                client = self._get_one(client, operation.ticket, outcome)
        if not self.kind.initial.IN_TURN:
            client = self._get(client, self.record.granted(name, asked))
        client = self._end_turns_if_closed(client)
        due = self.record.due()
        if due is not None and due[0] == name and not any(isinstance(each, Trip) for each in client.pending):
            client = client.add(due[1])
        return self.with_client(name, client)._checked(name)

    def _told_what_is_closed(self, name: str, client: Client, gathered: set[int]) -> Client:
        """Those learn it that were turned away. Who has waited in a condition takes the lock back."""
        asked = {ticket: operation for ticket, operation in client.asked if ticket not in gathered}
        for ticket, _ in sorted(self.record.turned_away_among(name, asked), key=lambda entry: entry[0]):
            operation = asked[ticket]
            many = isinstance(operation, AcquireMany)
            client = client.forget(ticket).add(WithdrawMany(*operation) if many else Withdraw(ticket))
            if isinstance(operation, RETURNING):
                back = Return(client.tickets + 1)
                client = client.add(back)._replace(tickets=back.ticket, asked=(*client.asked, (back.ticket, back)))
        return client

    def _end_turns_if_closed(self, client: Client) -> Client:
        """Of a run, those that have yet to be let in are turned away by their session."""
        if self.kind.initial.IN_TURN and ITSELF in self.record.closings:
            for ticket, operation in client.asked:
                is_next = client.has_in_turn(ticket) and ticket > client.inside
                if is_next and not isinstance(operation, RETURNING):
                    client = client.forget(ticket)
        return client

    def send_in_vain(self, name: str, bury: bool, applied: bool) -> World:
        """The answer is lost, or already the batch was."""
        world = self._put_on_the_way(name).spending(faults=1)
        return world._apply(name, self.dead if bury else frozenset()) if applied else world

    def die(self, name: str) -> World:
        successors = [(f"{name}'", Client())] if self.left.sessions else []
        clients = (*(entry for entry in self.clients if entry[0] != name), *successors)
        mail = tuple(letter for letter in self.mail if letter[0] != name)
        world = self._replace(clients=clients, dead=self.dead | {name}, mail=mail)
        return world.spending(faults=1, sessions=len(successors))

    def deliver(self, letter: Letter) -> World:
        return self.double(letter).lose(letter)._replace(left=self.left)

    def lose(self, letter: Letter) -> World:
        mail = [*self.mail]
        mail.remove(letter)
        return self._replace(mail=tuple(mail)).spending(faults=1)

    def double(self, letter: Letter) -> World:
        """It arrives, and will again."""
        name, *granted = letter
        client = self._get(dict(self.clients)[name], [Grants(*granted)])
        return self.with_client(name, client).spending(faults=1)._checked()

    # How a batch is applied

    def _put_on_the_way(self, name: str) -> World:
        client = dict(self.clients)[name]
        if client.sent is None:
            number = client.batches + bool(client.pending)
            sent = Batch(name, number if client.pending else 0, client.pending)
            client = client._replace(batches=number, pending=(), sent=sent)
        return self.with_client(name, client)

    def _rows(self) -> list[str]:
        """What is stored behind the record."""
        return [row for row in (self.text or "").split("\n") if ADDED.match(row)]

    def _unknown(self, name: str) -> int:
        """How many of them the session need not know of: those after its own last word."""
        rows = self._rows()
        own = [number for number, row in enumerate(rows, start=1) if row.partition(" ")[2].partition("\t")[0] == name]
        return len(rows) - max(own, default=0)

    def _split(self, unknown: int) -> tuple[str | None, str]:
        """The text as it was before so many have joined, and the rest."""
        if self.text is None or not unknown:
            return self.text, ""
        lines = self.text.split("\n")
        return "\n".join(lines[:-unknown]), "".join(f"\n{line}" for line in lines[-unknown:])

    def _sent(self, name: str) -> Batch:
        batch = dict(self.clients)[name].sent
        assert batch is not None
        return batch

    def step(self, name: str, dead: frozenset[str] = frozenset(), unknown: int = 0) -> Step:
        """What the session makes of the record as it knows it."""
        return step(decode(self._split(unknown)[0], "x", self.kind.initial), self._sent(name), dead)

    def added(self, name: str) -> str:
        """What the session may have stored behind the record, or nothing."""
        if self.text is None or not takes_additions(self.record):
            return ""
        row = added(self.kind.initial, self._sent(name))
        return f"\n0 {name}{row}" if row is not None else ""

    def _apply(self, name: str, dead: frozenset[str], unknown: int = 0) -> World:
        world, woken = self._told_to_model(name, dead, unknown)
        done = self.step(name, dead, unknown)
        assert done.outcomes == dict(world.clients)[name].applied.outcomes, (
            "another outcome than the model's, or than at the first time"
        )
        text = encode(done.record)
        assert decode(text, "x", self.kind.initial) == done.record, "it is not stored as it is"
        mail = self._mail(done, woken)
        world = world._replace(text=text + self._split(unknown)[1], dead=self.dead - dead, mail=mail)
        if unknown:
            before, after = self.record.watches(), world.record.watches()
            for session, others in after.items():
                is_told = any(wake.session == session for wake in done.wakes) or session == name
                assert is_told or others <= before[session], f"{session} does not know which sessions to watch"
        return world._checked()

    def _mail(self, done: Step, woken: Woken) -> tuple[Letter, ...]:
        """What is under way once those are told that a step has woken."""
        in_turn = self.kind.initial.IN_TURN
        told = [
            (wake.session, wake.ticket + number, wake.value + number * in_turn)
            for wake in done.wakes
            for number in range(wake.tickets)
        ]
        assert sorted(told) == sorted(woken), "it wakes others than it should"
        letters = [(*wake,) for wake in done.wakes if wake.tickets] if in_turn else [(*each, 1) for each in told]
        living = dict(self.clients)
        return tuple(sorted([*self.mail, *(letter for letter in letters if letter[0] in living)]))

    def _add(self, name: str, is_answered: bool) -> World:
        world, woken = self._told_to_model(name, frozenset())
        done = self.step(name)
        assert done.outcomes == dict(world.clients)[name].applied.outcomes, "another outcome than the model's"
        mail = self._mail(done, woken)
        world = world._replace(text=f"{self.text}{self.added(name)}", mail=mail if is_answered else self.mail)
        assert world.record == done.record, "it is not as if it had been applied"
        return world._checked()

    def _told_to_model(self, name: str, dead: frozenset[str], unknown: int = 0) -> tuple[World, Woken]:
        """The world in which the model knows of the batch, which it sees once; and the sessions that this wakes."""
        client = dict(self.clients)[name]
        batch = client.sent
        assert batch is not None
        model = self.model
        if self.kind.initial.IN_TURN:  # a run ends with the last ticket that the session knows of
            known = decode(self._split(unknown)[0], "x", self.kind.initial)
            model = model._replace(unknown=size(self.record.line) - size(known.line))
        model, woken = model.bury(dead)
        if batch.number != client.applied.batch or not batch.operations:
            outcomes: dict[int, int] = {}
            for kind, operations in groupby(enumerate(batch.operations), lambda entry: type(entry[1])):
                for index, operation in self._in_order(name, model, [*operations]):
                    model, outcomes[index], others = model.apply(name, operation)
                    woken += others
                if kind in WITHDRAWALS:  # what has left from the head may have been what the others waited for
                    model, others = model.serve()
                    woken += others
            applied = Answer.of(batch.number, [outcome for _, outcome in sorted(outcomes.items())])
            client = client._replace(applied=applied)
        if self.kind.initial.IN_TURN:
            model = model._replace(unknown=0)
        return self._replace(model=model).with_client(name, client), woken

    @staticmethod
    def _in_order(name: str, model: Any, operations: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Operations with their indices. Of withdrawals in succession, those of waiting tickets come first."""
        if not isinstance(operations[0][1], WITHDRAWALS):
            return operations
        waiting = {ticket for other, ticket in model.waiting() if other == name}
        return sorted(operations, key=lambda entry: (entry[1].ticket not in waiting, entry[1].ticket))

    def _get(self, client: Client, granted: Iterable[Grants]) -> Client:
        """The session learns what its tickets were granted."""
        for each in granted:
            if self.kind.initial.IN_TURN:
                client, rest = client.begin(each)
                client = client.add(self.kind.initial.ending(rest)) if rest else client
            else:
                for ticket in range(each.ticket, each.ticket + each.tickets):
                    client = self._get_one(client, ticket, each.value)
        return client

    def _get_one(self, client: Client, ticket: int, value: int) -> Client:
        """A ticket does not wait any more; nothing if it has been withdrawn, or has got it before."""
        asked = dict(client.asked)
        if ticket in asked:
            client = client.forget(ticket)
            if isinstance(asked[ticket], AcquireMany) and value <= refusal(0):  # the session takes the refusal
                client = client.add(WithdrawMany(*asked[ticket]))
            value = self.kind.worth(asked[ticket], value)
            if value > 0 and self.kind.keeps:
                client = client._replace(got=tuple(sorted([*client.got, (ticket, value)])))
        return client

    def _checked(self, answered: str = "") -> World:
        """The world, in which record and model agree, and nobody has or waits for what he does not."""
        record = self.record
        self.kind.agree(record, self.model)
        assert record.sessions() <= {name for name, _ in self.clients} | self.dead, "a buried session is named"
        for name, client in self.clients:
            self.kind.believe(name, client, self.model)
            if name == answered:
                gathered = {operation.ticket for operation in client.pending if hasattr(operation, "ticket")}
                asked = {ticket for ticket, _ in client.asked}
                waiting = {ticket for other, ticket in self.model.waiting() if other == name}
                asked = {ticket for ticket in asked if not client.has_in_turn(ticket)}
                assert asked - gathered <= waiting, "it sleeps although it was granted"
                assert waiting - gathered <= asked, "it has left something behind"
        return self

    # The end

    def drain(self) -> World:
        """All goes well from here on: everybody leaves. The record must be as in the beginning."""
        world = self
        for name, _ in [*world.clients] * 3:
            world = world.send(name, True)
        assert world.record.due() is None, "all have come, and they wait"
        for _ in range(50):
            for name, _ in world.clients:
                world = world.send(name, True)
            busy = False
            for name, client in world.clients:
                for ticket, value in client.got:
                    world, busy = world.end(name, ticket, value), True
                for ticket, asked in client.asked:
                    if leaving := [*self.kind.leaving(ticket, asked)]:
                        world, busy = world.leave(name, ticket, leaving[-1]), True
                busy = busy or bool(client.pending)
            if not busy and world.clients:
                for operation in self.kind.tidy(world.model):
                    world, busy = world.tell(world.clients[0][0], operation, 0), True
            if not busy:
                break
        for name, _ in world.clients:
            assert world.model.bury(frozenset({name})) == (world.model, []), "it is still in"
            done = step(world.record, Batch(name, 0, ()), {name})
            if world.text is not None and (row := left(self.kind.initial)) is not None:
                world = world._replace(text=f"{world.text}\n0 {name}{row}")
                assert world.record == done.record, "it has left otherwise than by its end"
            world = world._replace(text=encode(done.record))
        record = step(world.record, Batch("last", 0, ()), world.dead).record
        assert self.kind.is_drained(record), f"left behind: {record}"
        assert not record.sessions(), f"left behind: {record}"
        return world

    def perish(self) -> None:
        """All sessions die. Buried, they leave the record as in the beginning, but for what outlives a session."""
        record = step(self.record, Batch("last", 0, ()), self.dead | {name for name, _ in self.clients}).record
        assert not record.sessions(), f"left behind: {record}"
        assert not record.line, f"left behind: {record}"
        assert not record.holding(), f"left behind: {record}"


def search(world: World, most: int) -> tuple[int, bool]:
    """Visit every world that can be reached, the nearest first; return how many, and whether these are all.

    most: stop after so many.
    """
    seen = {world}
    queue = deque([(world, ())])
    while queue:
        world, path = queue.popleft()
        story = (*path,)
        try:
            world.drain()
            world.perish()
            for label, move in world.moves():
                story = (*path, label)
                following = move()
                if following not in seen:
                    seen.add(following)
                    queue.append((following, story))
        except AssertionError as error:
            error.add_note("\n".join(("after:", *story)))
            raise
        if len(seen) > most:
            return len(seen), False
    return len(seen), True
