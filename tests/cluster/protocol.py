"""Sessions, an engine and the mail between them in miniature: the whole protocol of a record, without tasks and loops.

A World is a value, and each move gives a new one. So a hypothesis state machine can walk through worlds, and a search
can visit all of them. A session does what `register.py` does: operations gather while a batch is on its way, a batch
is sent until its outcome is known, and each answer is searched for grants whose wake-up may be lost. The moves:

    ask, tell, leave    a task asks for something, does something, or leaves before or after it has got it
    send                a batch is applied and answered; applied, and the answer lost; or lost; each may be a repetition
                        also: applied without knowing of the last that have joined, who stay behind the record
    add                 a batch is stored behind the record, and answered or not; or so again
    write anew          somebody writes the record anew with some of what is stored behind it
    deliver             a wake-up arrives, late or not; or is lost, or comes once more
    die                 a session ends without a word, whatever is on its way; somebody who sends buries it, or not yet

Beside the record goes a reference model (`reference.py`), which sees each batch once. Whatever a record does is
compared with that: its contents, its outcomes, and whom it wakes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from holdfast.cluster.barrier_record import Trip
from holdfast.cluster.record import (
    Answer,
    Batch,
    Record,
    Step,
    Withdraw,
    added,
    decode,
    encode,
    left,
    step,
    takes_additions,
)

Ticket = tuple[str, int]
Woken = list[tuple[str, int, int]]
"""Session, ticket, and what that has got."""


class Model(Protocol):
    """What a primitive is, as simply as it can be said. A value."""

    def apply(self, session: str, operation: Any) -> tuple[Model, int, Woken]:
        """The new model, the outcome, and who else does not wait any more."""

    def bury(self, dead: frozenset[str]) -> tuple[Model, Woken]: ...

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

    def leaving(self, ticket: int, asked: Any) -> Iterator[Any]:
        """What a task sends that leaves while it waits with this operation."""

    def agree(self, record: Any, model: Any) -> None:
        """Check that they say the same, and that nobody waits who could have what he waits for."""

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

    def give_up(self, ticket: int) -> Client:
        return self._replace(got=tuple(entry for entry in self.got if entry[0] != ticket))

    def forget(self, ticket: int) -> Client:
        return self._replace(asked=tuple(entry for entry in self.asked if entry[0] != ticket))

    def add(self, operation: Any) -> Client:
        return self._replace(pending=(*self.pending, operation))


class World(NamedTuple):
    kind: Kind
    text: str | None
    model: Any
    clients: tuple[tuple[str, Client], ...]
    left: Left
    dead: frozenset[str] = frozenset()
    """Those that nobody has buried."""
    mail: tuple[tuple[str, int, int], ...] = ()

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
                operation = self.kind.give_back(ticket, value)
                move(f"{name} gives back: {operation}", self.end, name, ticket, operation)
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
        return self.with_client(name, client).spending(asks=1)

    def tell(self, name: str, operation: Any, given_up: int) -> World:
        return self.with_client(name, dict(self.clients)[name].give_up(given_up).add(operation)).spending(tells=1)

    def end(self, name: str, ticket: int, operation: Any) -> World:
        return self.with_client(name, dict(self.clients)[name].give_up(ticket).add(operation))

    def leave(self, name: str, ticket: int, operation: Any) -> World:
        client = dict(self.clients)[name].add(operation)
        if isinstance(operation, Withdraw):
            return self.with_client(name, client.forget(ticket))
        asked = tuple((other, operation if other == ticket else old) for other, old in client.asked)
        return self.with_client(name, client._replace(asked=asked))

    def send(self, name: str, bury: bool, unknown: int = 0) -> World:
        """It is applied, and the answer arrives."""
        dead = self.dead if bury else frozenset[str]()
        return self._put_on_the_way(name)._apply(name, dead, unknown)._answered(name)

    def add(self, name: str) -> World:
        """It is stored behind the record, and the answer arrives, and whom it has woken is told."""
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
        for operation, outcome in zip(client.sent.operations, client.applied.outcomes, strict=True):
            if isinstance(operation, self.kind.asking) and outcome:
                client = self._get(client, operation.ticket, outcome)
        client = client._replace(sent=None)
        gathered = {operation.ticket for operation in client.pending if isinstance(operation, self.kind.asking)}
        asked = [ticket for ticket, _ in client.asked if ticket not in gathered]
        for ticket, value in self.record.granted(name, asked).items():
            client = self._get(client, ticket, value)
        due = self.record.due()
        if due is not None and due[0] == name and not any(isinstance(each, Trip) for each in client.pending):
            client = client.add(due[1])
        return self.with_client(name, client)._checked(name)

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

    def deliver(self, letter: tuple[str, int, int]) -> World:
        return self.double(letter).lose(letter)._replace(left=self.left)

    def lose(self, letter: tuple[str, int, int]) -> World:
        mail = [*self.mail]
        mail.remove(letter)
        return self._replace(mail=tuple(mail)).spending(faults=1)

    def double(self, letter: tuple[str, int, int]) -> World:
        """It arrives, and will again."""
        name, ticket, value = letter
        return self.with_client(name, self._get(dict(self.clients)[name], ticket, value)).spending(faults=1)._checked()

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
        _, *rows = (self.text or "").split("\n")
        return [row for row in rows if not row.startswith("{")]

    def _unknown(self, name: str) -> int:
        """How many of them the session need not know of: those after its own last word."""
        rows = self._rows()
        own = [number for number, row in enumerate(rows, start=1) if json.loads(row.partition(" ")[2])[0] == name]
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
        return f"\n0 {row}" if row else ""

    def _apply(self, name: str, dead: frozenset[str], unknown: int = 0) -> World:
        world, woken = self._told_to_model(name, dead)
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
                assert is_told or others <= before[session], f"{session} does not know whom to watch"
        return world._checked()

    def _mail(self, done: Step, woken: Woken) -> tuple[tuple[str, int, int], ...]:
        """What is under way once those are told that a step has woken."""
        told = [
            (wake.session, ticket, wake.value)
            for wake in done.wakes
            for ticket in range(wake.ticket, wake.ticket + wake.tickets)
        ]
        assert sorted(told) == sorted(woken), "it wakes others than it should"
        living = dict(self.clients)
        return tuple(sorted([*self.mail, *(letter for letter in told if letter[0] in living)]))

    def _add(self, name: str, is_answered: bool) -> World:
        world, woken = self._told_to_model(name, frozenset())
        done = self.step(name)
        assert done.outcomes == dict(world.clients)[name].applied.outcomes, "another outcome than the model's"
        mail = self._mail(done, woken)
        world = world._replace(text=f"{self.text}{self.added(name)}", mail=mail if is_answered else self.mail)
        assert world.record == done.record, "it is not as if it had been applied"
        return world._checked()

    def _told_to_model(self, name: str, dead: frozenset[str]) -> tuple[World, Woken]:
        """The world in which the model knows of the batch, which it sees once; and whom that wakes."""
        client = dict(self.clients)[name]
        batch = client.sent
        assert batch is not None
        model, woken = self.model.bury(dead)
        if batch.number != client.applied.batch or not batch.operations:
            outcomes: dict[int, int] = {}
            for _, operations in groupby(enumerate(batch.operations), lambda entry: isinstance(entry[1], Withdraw)):
                for index, operation in self._in_order(name, model, [*operations]):
                    model, outcomes[index], others = model.apply(name, operation)
                    woken += others
            applied = Answer.of(batch.number, [outcome for _, outcome in sorted(outcomes.items())])
            client = client._replace(applied=applied)
        return self._replace(model=model).with_client(name, client), woken

    @staticmethod
    def _in_order(name: str, model: Any, operations: list[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Operations with their indices. Of withdrawals in succession, those of who waits come first."""
        if not isinstance(operations[0][1], Withdraw):
            return operations
        waiting = {ticket for other, ticket in model.waiting() if other == name}
        return sorted(operations, key=lambda entry: (entry[1].ticket not in waiting, entry[1].ticket))

    def _get(self, client: Client, ticket: int, value: int) -> Client:
        """A ticket does not wait any more; nothing if it has been withdrawn, or has got it before."""
        if ticket in dict(client.asked):
            client = client.forget(ticket)
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
                    world, busy = world.end(name, ticket, self.kind.give_back(ticket, value)), True
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
            if world.text is not None and (row := left(self.kind.initial, name)):
                world = world._replace(text=f"{world.text}\n0 {row}")
                assert world.record == done.record, "it has left otherwise than by its end"
            world = world._replace(text=encode(done.record))
        record = step(world.record, Batch("last", 0, ()), world.dead).record
        assert self.kind.is_drained(record), f"left behind: {record}"
        assert not record.sessions(), f"left behind: {record}"
        return world

    def perish(self) -> None:
        """Everybody dies. Who buries them must find the record as in the beginning, but for what outlives a session."""
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
