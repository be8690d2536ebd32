"""One name, as one session sees it: the operations of all its tasks, folded into one change at a time.

While a change is on its way to the engine, further operations gather, and the next change carries them all. So the
record sees sessions, not tasks, and the more tasks contend here, the fewer changes each of them costs.

A ticket is in exactly one of three states here: asked (its future waits for a token), granted (the future has it), gone
(withdrawn, or the session is over). A task that leaves before it has taken its token withdraws the ticket, and the
record passes on what that may have been granted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast._refusals import shown

from .background import begin
from .engines.contract import NO_DESCRIPTOR, Addition, Change, Notice, Opening, Stored
from .errors import EngineError, FormatError, NameConflict, SessionLost
from .living import in_the_way, look_for_dead, read_living
from .record import (
    Batch,
    Record,
    Step,
    Withdraw,
    added,
    additions_to,
    agreed,
    decode,
    encode,
    left,
    step,
    takes_additions,
)

if TYPE_CHECKING:
    from .life import Life

RETRY = 0.01, 1.0
"""Seconds, the first and the longest, until what the engine has failed to do is tried again."""


REPLACED = "its record was removed or replaced, be it by hand or as the engine has lost data"


class _Replaced(Exception):  # noqa: N818  # it never gets out of here
    """The record does not know of this session what it has to know."""


class _Entry(NamedTuple):
    operation: Any
    done: asyncio.Future[int] | None = None
    """Gets the outcome, if somebody waits for it."""
    ticket: int = 0
    """If it asks: granted what the outcome says, unless that is 0."""
    patient: bool = False
    """Whether who asks is not told that the engine fails, as only the outcome says what became of it."""


class Register:
    """The operations of one session on one name."""

    def __init__(self, session: Life, name: str, initial: Record, numbers: int) -> None:
        """numbers: the highest that any register before, of the same name, has given to a ticket or a batch."""
        self._session = session
        self._name = name
        self.initial = initial
        """What the record is before its first change: this has the kind and the value."""
        self.is_replaced = False
        """Whether the session uses the name for another kind or value by now."""
        self._pending: list[_Entry] = []
        self._asked: dict[int, asyncio.Future[int]] = {}  # by ticket
        self._tickets = numbers
        self._batches = numbers
        self._sent: tuple[Batch, list[_Entry]] | None = None  # whose outcome is not known
        self._answered = False  # whether the record has an answer for this session
        self._used = 0.0  # the loop's time of the last request
        self._pump: asyncio.Task[None] | None = None
        self._suspicious = False  # somebody may have died, or a wake-up may be lost
        self._doomed: frozenset[str] = frozenset()  # who is known to be dead, to be buried with the next change
        self._outdated = False  # it may wait for others than it did, or hold what it waits for
        self._doubted = False  # the record may have gone back to what it was
        self._leaving = False  # what this session has in the record is to be taken out
        self._last_token = 0  # the highest that was given out, as far as is known here
        self._known = 0  # the batch whose answer the record has, as far as is known here
        self._watched: dict[str, Callable[[], None]] = {}  # what stops it, by session
        self._seen: tuple[str | None, Record] = None, initial  # the last text that came from the engine, and its record
        self._made: tuple[str | None, Record] = None, initial  # what the last change came to: a text, and its record

    # What the primitives do

    def begin(self, make: Callable[[int], Any], *, patient: bool = False) -> tuple[int, asyncio.Future[int]]:
        """Ask for something with a new ticket; return that, and a future of what it is granted (never 0).

        patient: wait on while the engine fails, instead of raising EngineError. For who cannot simply withdraw.
        """
        self._check_replaced()
        self._tickets += 1
        ticket = self._tickets
        future: asyncio.Future[int] = self._session.loop.create_future()
        self._asked[ticket] = future
        self._submit(_Entry(make(ticket), ticket=ticket, patient=patient))
        return ticket, future

    async def ask(self, make: Callable[[int], Any]) -> tuple[int, int]:
        """Ask for something and wait for it; return the ticket and what it is granted.

        Cancellation: raises at once, the withdrawal follows by itself.
        """
        ticket, future = self.begin(make)
        try:
            return ticket, await future
        except BaseException as exc:
            if not isinstance(exc, (SessionLost, FormatError, NameConflict)):  # of those, nothing is in the record
                self.withdraw(ticket)
            raise

    async def ask_at_once(self, make: Callable[[int], Any]) -> tuple[int, int]:
        """Ask for something that does not wait for others; return the ticket and the outcome.

        Waits while the engine fails: a request that is not known to have been refused may be granted yet. One that is
        refused buries those who have died since, and is made again if there are any.

        Cancellation: raises at once; what was granted all the same is withdrawn as soon as that is known.
        """
        while True:
            ticket, outcome = await self._ask_once(make)
            others = in_the_way(self._made[1]) - {self._session.id}
            if outcome > 0 or not others or not (dead := await self._session.engine.dead(others)):
                return ticket, outcome
            self._session.check()
            self._doomed |= dead

    async def _ask_once(self, make: Callable[[int], Any]) -> tuple[int, int]:
        ticket, future = self.begin(make, patient=True)
        try:
            await asyncio.wait([future])
        except BaseException:
            future.add_done_callback(lambda done: self._withdraw_granted(ticket, done))
            raise
        return ticket, future.result()

    def _withdraw_granted(self, ticket: int, done: asyncio.Future[int]) -> None:
        if done.exception() is None and done.result() > 0:
            self.withdraw(ticket)

    def withdraw(self, ticket: int) -> None:
        """Give the ticket up, soon, whatever it was granted."""
        self._asked.pop(ticket, None)
        self._submit(_Entry(Withdraw(ticket)))

    def send(self, operation: Any) -> asyncio.Future[int]:
        """Have an operation done; return a future of its outcome. It is done also if nobody awaits that."""
        self._check_replaced()
        future: asyncio.Future[int] = self._session.loop.create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # perhaps nobody else looks
        if self._session.over is not None:
            future.set_exception(SessionLost(str(self._session.over)))
        self._submit(_Entry(operation, future))
        return future

    async def tell(self, operation: Any) -> int:
        """Have an operation done; return its outcome.

        Cancellation: it is done all the same.
        """
        return await self.send(operation)

    async def read(self) -> Any:
        """The record as it is, of the type of `initial`."""
        self._check_replaced()
        record = self._decoded(await self._session.engine.read(self._name))
        try:
            return agreed(record, self.initial, self._name, self._session.label)
        except NameConflict:  # perhaps only the dead have any use for the other value
            dead = await self._session.engine.dead(record.sessions() - {self._session.id})
            return agreed(record, self.initial, self._name, self._session.label, dead)

    async def read_living(self) -> Any:
        """The same, without what the dead hold and wait for."""
        self._check_replaced()
        me = self._session.id
        record = await read_living(self._session.engine, self._name, self._decoded, me, self._named(in_the_way))
        return agreed(record, self.initial, self._name, self._session.label)

    def _decoded(self, text: str | None) -> Record:
        """The record of a text, though it may have another value than `initial`."""
        record = decode(text, self._name, self.initial, self._made[1], self._seen)
        self._seen = text, record
        return record

    def _named(self, which: Callable[[Record], Iterable[str]]) -> frozenset[str]:
        """The other sessions in the record, as far as is known here."""
        return frozenset(which(self._made[1])) - {self._session.id}

    def idle_for(self, seconds: float) -> bool:
        """Whether nothing has been asked for here for so long."""
        return self._pump is None and not self._asked and self._session.loop.time() >= self._used + seconds

    def serves(self, wanted: Record) -> bool:
        """Whether who uses the name as `wanted` may do so here: the record is known to accept both values."""
        if type(wanted) is not type(self.initial):
            return False
        found = (self._made, self._seen)  # the first may be from before another session's resize(), the second older
        both = wanted, self.initial
        return any(text is not None and all(map(record.accepts, both)) for text, record in found)

    @property
    def is_unused(self) -> bool:
        """Whether nothing is asked for here, and nothing held."""
        return not (self._is_busy() or self._session.tokens(self._name))

    def follow(self, other: Register) -> None:
        """Take the place of a register that is at rest, and was for another value."""
        self._answered, self._known = other._answered, other._known

    @property
    def is_forgotten(self) -> bool:
        """Whether the record knows nothing of the session, and nothing is asked for here."""
        return not (self._is_busy() or self._answered)

    def _is_busy(self) -> bool:
        """Whether something is asked for here."""
        at_work = self._pump is not None and not self._pump.done()
        return at_work or bool(self._asked) or self._has_work()

    @property
    def numbers(self) -> int:
        """The highest that a ticket or a batch has got."""
        return max(self._tickets, self._batches)

    async def forget(self) -> None:
        """Have the record forget the answer to the last batch, so that it can be removed."""
        if self._answered:
            self._suspicious = True
            self._start()
            await self._finish()

    def on_wake(self, message: str) -> None:
        """Another session says what it has granted to some of the tickets; if to none, there is something to see.

        Where anybody may have said so, the record is asked.
        """
        vouches = getattr(self._session.engine, "vouches", False)  # engines of users may be older than it
        grants = _read_grants(message) if vouches else None
        if grants is None:
            self._outdated = True
            self._start()
            return
        first, value, count = grants
        end = first + count
        for ticket in range(first, end) if count <= len(self._asked) else [t for t in self._asked if first <= t < end]:
            self._grant(ticket, value)

    def doubt(self) -> None:
        """The record may have gone back to what it was: look before anything else is done."""
        self._doubted = True
        self._start()

    @property
    def is_waiting(self) -> bool:
        """Whether anybody waits here."""
        return bool(self._asked)

    @property
    def at_rest(self) -> tuple[int, frozenset[str]] | None:
        """If nothing is under way: the last batch, and the sessions that are watched."""
        return None if self._pump is not None else (self._batches, frozenset(self._watched))

    def see(self, batch: int, text: str | None, dead: frozenset[str]) -> None:
        """What the record was, and who of the watched was dead, at some moment since `at_rest` has told the batch."""
        if self._pump is not None or self._batches != batch:
            return  # it may be older than what is known by now
        if dead & self._watched.keys():
            self._suspect()
            return
        if text == self._made[0] and not self._asked:
            return  # it is as this session has left it
        try:
            record = agreed(self._decoded(text), self.initial, self._name, self._session.label)
        except (FormatError, NameConflict) as exc:
            self._give_up_waiting(exc)
            self._session.forgo(self._name, REPLACED)
            return
        if not self._is_known_to(record):
            self.doubt()
            return
        self._grant_what_was_missed(record)
        self._do_what_is_due(record)
        if self._wanted(record) != self._watched.keys():
            self._outdated = True
            self._start()

    def lose(self, exc: SessionLost) -> None:
        """The session is over, or has lost what it had here: nobody waits here any more."""
        entries = [*(self._sent[1] if self._sent else ()), *self._pending]
        futures = [*self._asked.values(), *(entry.done for entry in entries if entry.done is not None)]
        self._asked.clear()
        self._pending.clear()
        self._sent = None
        self._watch(frozenset())
        for future in futures:
            if not future.done():
                future.set_exception(exc)

    def has_company(self, text: str | None) -> bool:
        """Whether others may be waiting, by what is in the engine now."""
        made, record = self._made
        return text != made or bool(record.sessions() - {self._session.id})

    async def leave(self) -> None:
        """Take everything of this session out of the record, after what is under way; the session ends."""
        await self._finish()
        change = self._change(Batch(self._session.id, 0, ()), frozenset({self._session.id}))
        with contextlib.suppress(FormatError, NameConflict):  # so nothing of this session is in it
            text = left(self._made[1], self._session.id)
            addition = self._added(text) if text else None
            await self._session.engine.apply(
                self._name, change, notices=self._notices, addition=addition, opens=self._opens
            )

    def _check_replaced(self) -> None:
        if self.is_replaced:
            raise NameConflict(
                f"{shown(self._name)} has been used as something else in {self._session!r} since this "
                f"{self.initial.kind} was made; make it anew"
            )

    # The pump

    def _submit(self, entry: _Entry) -> None:
        """Have it done soon. Where the loop or the session has ended, there is nothing left to do it to."""
        if not (self._session.over or self._session.loop.is_closed()):
            self._pending.append(entry)
            self._used = self._session.loop.time()
            self._session.use(self._name, self)
            self._start()

    def _suspect(self) -> None:
        self._watch(frozenset())
        self._suspicious = True
        self._start()

    def _start(self) -> None:
        if self._session.over is None and (self._pump is None or self._pump.done()):
            self._pump = begin(self._session.loop, self._run, f"holdfast register {self._name!r}")
            self._pump.add_done_callback(self._ended)

    async def _finish(self) -> None:
        """Wait until nothing is under way."""
        while self._pump is not None:
            await asyncio.wait([self._pump])

    async def _run(self) -> None:
        try:
            while self._has_work():
                if self._sent or self._pending or self._suspicious or self._doubted:
                    await self._apply_next()
                else:
                    await self._look()
        except asyncio.CancelledError:
            self._outdated = True  # whatever it was in the middle of
            raise
        except SessionLost as exc:
            self._session.lose(exc)
            self.lose(exc)  # what was on its way when the session ended
        except Exception as exc:  # not foreseen; at least nobody waits for ever
            if self._session.loop.is_closed():
                return  # it was in the middle of this, and nobody is there who waits
            lost = SessionLost(f"{self._session} failed: {exc!r}")
            self._session.lose(lost)
            self.lose(lost)
            raise

    def _ended(self, pump: asyncio.Task[None]) -> None:
        """Go on if there is more to do: a program that cancels all tasks there are has cancelled the pump as well."""
        if pump is self._pump:
            self._pump = None
            if self._has_work() and self._session.over is None:
                self._start()

    def _has_work(self) -> bool:
        return bool(self._sent or self._pending or self._suspicious or self._outdated or self._doubted)

    async def _apply_next(self) -> None:
        """Apply what is pending as one batch, as often as it takes: its number sees to it that it counts once."""
        engine = self._session.engine
        pause, longest = RETRY
        has_looked = False  # whether only the dead have any use for another value
        while True:
            batch, entries = self._sent or self._next_batch()
            dead = frozenset[str]()
            try:
                dead = await self._find_dead()
                while self._doubted:
                    await self._look_back()
                if self._sent is None:
                    continue  # it has been given up, with all else that was here
                self._outdated = False  # before, as it may be so again while the answer is on its way
                leaving = {self._session.id} if self._leaving else frozenset[str]()
                change = self._change(batch, dead | leaving)
                done = await engine.apply(
                    self._name,
                    change,
                    evicted=dead,
                    notices=self._notices,
                    addition=None if dead or leaving else self._addition(batch),
                    opens=self._opens,
                )
                self._session.check_deadline()  # an answer that comes too late is not believed
                break
            except _Replaced:
                self._give_up()
            except (FormatError, NameConflict) as exc:  # for good: nothing of it will ever be done
                if isinstance(exc, NameConflict) and not has_looked and self._sent is not None:
                    has_looked = self._suspicious = True
                    continue
                self._sent = None
                self._suspicious = self._answered = self._leaving = False  # there is nothing here to look after
                self._refuse(entries, exc, for_good=True)
                for entry in entries:
                    if entry.done is not None and not entry.done.done():
                        entry.done.set_exception(exc)
                return
            except EngineError as exc:
                if self._session.over is not None:
                    raise SessionLost(str(self._session.over)) from exc
                self._doomed |= dead  # they are to be buried all the same, the next time
                if not self._doubted:
                    self._refuse(entries, exc)
                if exc.errno in NO_DESCRIPTOR and pause >= longest:  # who waits here would never know of a death
                    self._give_up_waiting(exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        self._sent = None
        self._leaving = False
        self._take_grants(entries, done)
        self._answered = self._session.id in done.record.answers
        self._known = batch.number if self._answered else 0
        self._last_token = max(self._last_token, done.record.last_token())
        self._watch_over(done.record)
        self._do_what_is_due(done.record)

    def _do_what_is_due(self, record: Record) -> None:
        due = record.due()
        if due is not None and due[0] == self._session.id:
            self._suspicious = True  # who is dead is to be known before
            self._submit(_Entry(due[1]))

    def _next_batch(self) -> tuple[Batch, list[_Entry]]:
        entries, self._pending = self._pending, []
        self._batches += 1
        self._sent = Batch(self._session.id, self._batches, tuple(entry.operation for entry in entries)), entries
        return self._sent

    async def _look_back(self) -> None:
        """Give up what this session has here, unless the record knows all of it that this session knows."""
        self._doubted = False  # before, as it may be so again while the answer is on its way
        before = self._tokens()  # what is granted while the answer is on its way need not be in it
        try:
            record = await self.read()
        except (FormatError, NameConflict):
            record = self.initial  # the name has become somebody else's
        except BaseException:
            self._doubted = True
            raise
        if not self._is_known_to(record, before):
            self._give_up()

    def _give_up(self) -> None:
        """What this session had here is gone. What it is about to ask for does not depend on that."""
        self._session.forgo(self._name, REPLACED)
        lost = SessionLost(f"what {self._session} had in {shown(self._name)} is gone: {REPLACED}")
        self._give_up_waiting(lost, but=self._sent_tickets())
        self._leaving = True  # something of it may be there all the same
        self._suspicious = True

    def _is_known_to(self, record: Record, before: Collection[int] | None = None) -> bool:
        """Whether the record has what it must have of this session; before: as far as that had these tokens before."""
        if not self._is_at_stake():
            return True
        tokens = [token for token in self._tokens() if before is None or token in before]
        return self._has_answered(record) and record.keeps(self._session.id, tokens)

    def _is_at_stake(self) -> bool:
        """Whether this session has something here, or waits."""
        return bool(self._tokens()) or not {*self._asked_so_far()} <= self._sent_tickets()

    def _sent_tickets(self) -> set[int]:
        """Those of the batch of which the outcome is not known yet."""
        return {entry.ticket for entry in self._sent[1]} if self._sent is not None else set()

    def _has_answered(self, record: Record) -> bool:
        """Whether the last batch that it knows of this session is that of which the outcome is known, or is not yet."""
        answer = record.answers.get(self._session.id)
        return (0 if answer is None else answer.batch) in self._may_be_known()

    def _may_be_known(self) -> set[int]:
        return {self._known} | ({self._sent[0].number} if self._sent is not None else set())

    def _tokens(self) -> list[int]:
        return self._session.tokens(self._name)

    async def _find_dead(self) -> frozenset[str]:
        """The dead that the record names, if there may be any."""
        doomed, self._doomed = self._doomed, frozenset()
        if not self._suspicious:
            return doomed
        self._suspicious = False  # before, as it may be so again while the answer is on its way
        try:
            self._check_replaced()
            engine, me = self._session.engine, {self._session.id}
            named = self._named(lambda record: record.sessions())
            _, dead = await look_for_dead(
                engine, self._name, self._decoded, lambda record: frozenset(record.sessions()) - me, named
            )
        except BaseException:
            self._suspicious = True
            raise
        return dead | doomed

    async def _look(self) -> None:
        """Another session has said that there is something to see: what has been granted here, and whom to watch."""
        self._outdated = False
        if not self._asked:
            return  # nobody waits any more
        try:
            text = await self._session.engine.read(self._name)
            made, record = self._made
            if text != made:
                record = self._decoded(text)
                self._made = text, record
            record = agreed(record, self.initial, self._name, self._session.label)
        except (FormatError, NameConflict) as exc:
            self._give_up_waiting(exc)
            return
        except EngineError:
            return  # the clock will have it looked at again
        self._session.check_deadline()
        if not self._is_known_to(record):
            self._doubted = True
        if not self._doubted:
            self._grant_what_was_missed(record)
            self._watch_over(record)
            self._do_what_is_due(record)

    def _grant_what_was_missed(self, record: Record) -> None:
        for ticket, value in sorted(self._granted_in(record).items()):
            self._grant(ticket, value)

    def _granted_in(self, record: Record) -> dict[int, int]:
        """What the record has granted to those who ask here, except to those whose request is yet to be sent."""
        asked = self._asked_so_far()
        return record.granted(self._session.id, asked) if asked else {}

    def _asked_so_far(self) -> Collection[int]:
        later = {entry.ticket for entry in self._pending if entry.ticket}
        return self._asked.keys() - later if later else self._asked.keys()

    def _give_up_waiting(self, exc: Exception, but: Collection[int] = ()) -> None:
        """Something else is in the place of the record: nobody who waits here will be granted anything.

        but: tickets that are only about to wait.
        """
        for ticket in sorted({*self._asked_so_far()}.difference(but)):
            future = self._asked.pop(ticket)
            if not future.done():
                future.set_exception(exc)
        self._watch(frozenset())

    def _take_grants(self, entries: list[_Entry], done: Step) -> None:
        """Tell those here what they got, in the order of asking; so also if the wake-up for it was lost."""
        grants = self._granted_in(done.record)
        for session, ticket, value, count in done.wakes:
            if session == self._session.id:
                grants |= dict.fromkeys(range(ticket, ticket + count), value)
        for entry, outcome in zip(entries, done.outcomes, strict=True):
            if entry.ticket and outcome:
                grants[entry.ticket] = outcome
            elif entry.done is not None and not entry.done.done():
                entry.done.set_result(outcome)
        for ticket in sorted(grants):
            self._grant(ticket, grants[ticket])

    def _change(self, batch: Batch, dead: frozenset[str]) -> Change[Step]:
        def change(stored: Stored) -> tuple[str, Step]:
            made, record = self._made
            if stored.text != made:
                record = self._decoded(stored.text)
                if not self._is_continued(record, batch, dead):
                    raise _Replaced
            if batch.operations:
                record = agreed(record, self.initial, self._name, self._session.label, dead)
            floor = max(stored.floor, self._last_token)  # somebody may have put an older record in its place
            if stored.text is None:
                record = replace(record, made_by=self._session.label)
                floor = max(floor, int(stored.now * 1_000_000))  # it may have been there before, with lower tokens
            if record.last_token() < floor:
                record = record.starting_at(floor)
            done = step(record, batch._replace(at=stored.now), dead)
            text = encode(done.record)
            self._made = text, done.record
            return text, done

        return change

    def _is_continued(self, record: Record, batch: Batch, dead: Collection[str]) -> bool:
        """Whether the record, which another session has changed last, goes on from what it was for this one."""
        if not batch.number or self._session.id in dead:
            return True  # it is to forget this session anyway
        return self._has_answered(record)

    def _addition(self, batch: Batch) -> Addition | None:
        """What may be stored behind the record in place of the change."""
        text = added(self._made[1], batch)
        return self._added(text) if text else None

    def _added(self, text: str) -> Addition:
        _, record = self._made
        return Addition(additions_to(record), text, is_better=record.ONLY_JOINS)

    def _opens(self, done: Step) -> Opening | None:
        """Whether others may add to the record, and who has to know of that before it makes its next change."""
        record = done.record
        if not takes_additions(record):
            return None
        return Opening(additions_to(record), record.told(), done.is_alike_at_end)

    def _refuse(self, entries: list[_Entry], exc: Exception, *, for_good: bool = False) -> None:
        """Tell those who ask. Their tickets, if they got into the record, are withdrawn as each leaves."""
        for entry in entries:
            if entry.patient and not for_good:
                continue
            future = self._asked.pop(entry.ticket, None)
            if future is not None and not future.done():
                future.set_exception(exc)

    def _grant(self, ticket: int, value: int) -> None:
        future = self._asked.pop(ticket, None)
        if future is not None and not future.done():
            future.set_result(value)

    def _notices(self, done: Step) -> Iterator[Notice]:
        """To the other sessions: what they were granted; and to the one that holds it, as it will release it."""
        told = {self._session.id}
        for wake in done.wakes:
            if wake.session != self._session.id:
                told.add(wake.session)
                yield wake.session, wake.message()
        holding = done.record.holding()
        if len(holding) == 1 and not holding & told:
            yield next(iter(holding)), None

    # Who buries the dead

    def _wanted(self, record: Record) -> frozenset[str]:
        """Whom to watch, while somebody waits here."""
        return record.watches().get(self._session.id, frozenset()) if self._asked else frozenset()

    def _watch_over(self, record: Record) -> None:
        """While somebody waits here, watch the sessions that this one waits for, and the clock."""
        self._watch(self._wanted(record))
        if self._asked:
            self._session.keep_looking()

    def _watch(self, sessions: frozenset[str]) -> None:
        for session in [*self._watched]:
            if session not in sessions:
                self._watched.pop(session)()
        for session in sessions - self._watched.keys():
            self._watched[session] = self._session.engine.watch(session, self._suspect)


def _read_grants(message: str) -> tuple[int, int, int] | None:
    """What a wake-up says was granted: the first ticket, what it is granted, and how many in succession are."""
    try:
        ticket, value, count = map(int, message.split())
    except ValueError:  # not ours
        return None
    return (ticket, value, count) if count > 0 else None
