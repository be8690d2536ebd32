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
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast._refusals import shown

from .background import begin
from .engines.contract import Addition, Change, Notice, Opening, Stored
from .errors import EngineError, FormatError, NameConflict, SessionLost
from .record import Batch, Record, Step, Withdraw, additions_to, decode, encode, joining, step

if TYPE_CHECKING:
    from .life import Life

RETRY = 0.01, 1.0
"""Seconds, the first and the longest, until what the engine has failed to do is tried again."""


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
        self._outdated = False  # it may wait for others than it did, or hold what it waits for
        self._doubted = False  # the record may have gone back to what it was
        self._leaving = False  # what this session has in the record is to be taken out
        self._known = 0  # the batch whose answer the record has, as far as is known here
        self._watched: dict[str, Callable[[], None]] = {}  # what stops it, by session
        self._made: tuple[str | None, Record] = None, initial  # what the last change came to: a text, and its record

    # What the primitives do

    def begin(
        self, make: Callable[[int], Any], *, patient: bool = False, wary: bool = False
    ) -> tuple[int, asyncio.Future[int]]:
        """Ask for something with a new ticket; return that, and a future of what it is granted (never 0).

        patient: wait on while the engine fails, instead of raising EngineError. For who cannot simply withdraw.
        wary: bury the dead first. For where it matters that they are not counted.
        """
        self._check_replaced()
        self._suspicious |= wary
        self._tickets += 1
        ticket = self._tickets
        future: asyncio.Future[int] = self._session.loop.create_future()
        self._asked[ticket] = future
        self._submit(_Entry(make(ticket), ticket=ticket, patient=patient))
        return ticket, future

    async def ask(self, make: Callable[[int], Any], *, wary: bool = False) -> tuple[int, int]:
        """Ask for something and wait for it; return the ticket and what it is granted. wary: see begin().

        Cancellation: raises at once, the withdrawal follows by itself.
        """
        ticket, future = self.begin(make, wary=wary)
        try:
            return ticket, await future
        except BaseException as exc:
            if not isinstance(exc, (SessionLost, FormatError, NameConflict)):  # of those, nothing is in the record
                self.withdraw(ticket)
            raise

    async def ask_at_once(self, make: Callable[[int], Any]) -> tuple[int, int]:
        """Ask for something that does not wait for others; return the ticket and the outcome.

        Waits while the engine fails: a request that is not known to have been refused may be granted yet.

        Cancellation: raises at once; what was granted all the same is withdrawn as soon as that is known.
        """
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
        return decode(await self._session.engine.read(self._name), self._name, self.initial)

    def idle_for(self, seconds: float) -> bool:
        """Whether nothing has been asked for here for so long."""
        return self._pump is None and not self._asked and self._session.loop.time() >= self._used + seconds

    @property
    def is_forgotten(self) -> bool:
        """Whether the record knows nothing of the session, and nothing is asked for here."""
        at_work = self._pump is not None and not self._pump.done()
        return not (at_work or self._answered or self._asked or self._has_work())

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
        """Another session says what it has granted to some of the tickets; if to none, there is something to see."""
        ticket, value, count = map(int, message.split())
        if not count:
            self._outdated = True
            self._start()
        for each in range(ticket, ticket + count):
            self._grant(each, value)

    def doubt(self) -> None:
        """The record may have gone back to what it was: look before anything else is done."""
        self._doubted = True
        self._start()

    @property
    def is_waiting(self) -> bool:
        """Whether anybody waits here."""
        return bool(self._asked)

    @property
    def waits_for(self) -> tuple[int, frozenset[str]] | None:
        """If somebody waits here and nothing is under way: the last batch, and the sessions that are watched."""
        if not self._asked or self._pump is not None:
            return None
        return self._batches, frozenset(self._watched)

    def see(self, batch: int, text: str | None, dead: frozenset[str]) -> None:
        """What the record was, and who of the watched was dead, at some moment since `waits_for` has told the batch."""
        if self._pump is not None or self._batches != batch:
            return  # it may be older than what is known by now
        if dead & self._watched.keys():
            self._suspect()
            return
        try:
            record = decode(text, self._name, self.initial)
        except (FormatError, NameConflict) as exc:
            self._give_up_waiting(exc)
            return
        self._grant_what_was_missed(record)
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
            await self._session.engine.apply(self._name, change, notices=self._notices, opens=self._opens)

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
        while True:
            batch, entries = self._sent or self._next_batch()
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
            except (FormatError, NameConflict) as exc:  # for good: nothing of it will ever be done
                self._sent = None
                self._suspicious = self._answered = False  # there is nothing here to look after
                self._refuse(entries, exc, for_good=True)
                for entry in entries:
                    if entry.done is not None and not entry.done.done():
                        entry.done.set_exception(exc)
                return
            except EngineError as exc:
                if self._session.over is not None:
                    raise SessionLost(str(self._session.over)) from exc
                if not self._doubted:
                    self._refuse(entries, exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        self._sent = None
        self._leaving = False
        self._take_grants(entries, done)
        self._answered = self._session.id in done.record.answers
        self._known = batch.number if self._answered else 0
        self._watch_over(done.record)

    def _next_batch(self) -> tuple[Batch, list[_Entry]]:
        entries, self._pending = self._pending, []
        self._batches += 1
        self._sent = Batch(self._session.id, self._batches, tuple(entry.operation for entry in entries)), entries
        return self._sent

    async def _look_back(self) -> None:
        """Give up what this session has here, unless the record knows all of it that this session knows."""
        self._doubted = False  # before, as it may be so again while the answer is on its way
        try:
            record = await self.read()
        except (FormatError, NameConflict):
            record = self.initial  # the name has become somebody else's
        except BaseException:
            self._doubted = True
            raise
        if not self._is_known_to(record):
            self._session.forgo(self._name)
            self.lose(SessionLost(f"what {self._session} had in {shown(self._name)} is gone: the engine has lost data"))
            self._leaving = True  # something of it may still be there
            self._suspicious = True

    def _is_known_to(self, record: Record) -> bool:
        tokens = self._session.tokens(self._name)
        answer = record.answers.get(self._session.id)
        number = 0 if answer is None else answer.batch
        known = {self._known} | ({self._sent[0].number} if self._sent is not None else set())
        has_nothing = not (self._asked or tokens or self._sent)
        return has_nothing or (number in known and record.keeps(self._session.id, tokens))

    async def _find_dead(self) -> frozenset[str]:
        """The dead that the record names, if there may be any."""
        if not self._suspicious:
            return frozenset()
        self._suspicious = False  # before, as it may be so again while the answer is on its way
        try:
            return await self._session.engine.dead((await self.read()).sessions() - {self._session.id})
        except BaseException:
            self._suspicious = True
            raise

    async def _look(self) -> None:
        """Another session has said that there is something to see: what has been granted here, and whom to watch."""
        self._outdated = False
        try:
            record = await self.read()
        except (FormatError, NameConflict) as exc:
            self._give_up_waiting(exc)
            return
        except EngineError:
            return  # the clock will have it looked at again
        self._session.check_deadline()
        if not self._doubted:
            self._grant_what_was_missed(record)
            self._watch_over(record)

    def _grant_what_was_missed(self, record: Record) -> None:
        for ticket, value in sorted(self._granted_in(record).items()):
            self._grant(ticket, value)

    def _granted_in(self, record: Record) -> dict[int, int]:
        """What the record has granted to those who ask here, except to those whose request is yet to be sent."""
        asked = self._asked_so_far()
        return record.granted(self._session.id, asked) if asked else {}

    def _asked_so_far(self) -> list[int]:
        later = {entry.ticket for entry in self._pending}
        return [ticket for ticket in self._asked if ticket not in later]

    def _give_up_waiting(self, exc: Exception) -> None:
        """Something else is in the place of the record: nobody who waits here will be granted anything."""
        for ticket in self._asked_so_far():
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
                record = decode(stored.text, self._name, self.initial)
            if stored.text is None:
                record = replace(record, made_by=self._session.label)
            if record.last_token() < stored.floor:
                record = record.starting_at(stored.floor)
            done = step(record, batch._replace(at=stored.now), dead)
            text = encode(done.record)
            self._made = text, done.record
            return text, done

        return change

    def _addition(self, batch: Batch) -> Addition | None:
        """What does as well as the batch while somebody else holds it, and does not change the record."""
        text = joining(self.initial, batch)
        return Addition(additions_to(self.initial), text) if text else None

    def _opens(self, done: Step) -> Opening | None:
        """Whether others may join without a change, and who has to know of that before it makes its next one."""
        record = done.record
        return Opening(additions_to(record), record.told(), done.is_alike_at_end) if record.ahead() else None

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
        for session, ticket, value, count in done.wakes:
            if session != self._session.id:
                told.add(session)
                yield session, f"{ticket} {value} {count}"
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
