"""One session's exchange with one record: what its tasks ask for becomes changes of the record, one at a time.

While a change is on its way to the engine, further operations gather, and the next change carries them all. So the
record sees sessions and not tasks, and the more tasks of a session contend, the fewer changes each of them costs.

What must hold:

 1. A ticket is in exactly one of three states here: asked (its future waits), granted (the future has the grant), or
    gone (it was withdrawn, or the session is over). A task that leaves before it has taken its grant withdraws the
    ticket, and the record passes on what that may have been granted.
 2. A batch is sent until its outcome is known. Its number sees to it that it counts once.
 3. What is granted to several tickets in turn (`turns.py`) is given back once, after the last of them.
 4. Nothing is concluded from a record that does not know what this session has done. What the session had there is
    lost then, and it begins anew; see `recovery.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from holdfast.cluster.background import begin, begin_at_once
from holdfast.cluster.engines.contract import NO_DESCRIPTOR, Change, Notice, Stored
from holdfast.cluster.errors import EngineError, FormatError, NameConflict, SessionLost
from holdfast.cluster.records.closing import ITSELF
from holdfast.cluster.records.record import Grants, Record, Wake
from holdfast.cluster.records.step import Batch, Step
from holdfast.cluster.values_in_messages import shown
from holdfast.instrumentation import installed
from holdfast.tasks.closed import Closed

from . import told
from .dead_sessions import Deaths
from .identity import Identity
from .known_record import KnownRecord, opening
from .outbox import Entry, Outbox, fail
from .recovery import Recovery, UnknownToRecordError
from .standing import Standing
from .turns import Turns
from .waiters import Waiters

CONFIRMED = 0.01
"""Seconds for which a session takes it for true that it has what the engine has said it has. After that, the engine is
asked before another task is let in. If the session was ended by another one, no task gets in later than this."""
GATHERING = 0.001
"""Seconds for which requests that only join the line may gather, while a task of this session is in and others of this
session would stand in front of them anyway. Most often the run is over before, and they go with its end."""
_NOBODY: frozenset[str] = frozenset()
UNSEEN = 1.0
"""Seconds, or a tenth of the ttl if that is less, after which who has joined a line without seeing it looks whom to
watch."""
RETRY = 0.01, 1.0
"""Seconds, the first and the longest, until a change that the engine has failed to make is tried again."""


class Home(Identity):
    """A session, as its exchanges speak to it."""

    @abstractmethod
    def use(self, name: str, exchange: Exchange) -> None:
        """Something is asked for there: keep the exchange until the record has forgotten the session."""

    @abstractmethod
    def bring_back(self, name: str, exchange: Exchange) -> bool:
        """Use an exchange again that was replaced, if nothing came of the one in its place. Return whether it is."""

    @abstractmethod
    def may_go_on(self) -> bool:
        """Whether something may be done at once, or the event loop should have its turn first."""

    @abstractmethod
    def let_others_go_on(self) -> None:
        """Tasks were woken: nothing is done at once before they have had their turn."""

    @abstractmethod
    def keep_looking(self) -> None:
        """A task waits: see to it that the session looks now and then for what it may have missed."""


class Exchange:
    """The exchange of one session with the record of one name."""

    def __init__(self, session: Home, name: str, initial: Record, numbers: int) -> None:
        """numbers: no ticket or batch of an exchange before, under the same name, had a higher one."""
        self._session = session
        self._name = name
        self.initial = initial
        """The record before its first change: it has the kind and the value that this session wants."""
        self.is_replaced = False
        """Whether the session uses the name for another kind or value by now."""
        self.was_agreed = False
        """Whether the record has agreed to this kind and value, in a change that was made."""
        self._waiters = Waiters(numbers)
        self._turns = Turns(self._waiters)
        self._outbox = Outbox(numbers)
        self._known = KnownRecord(name, initial)
        self._standing = Standing(session, name, self._waiters, self._outbox)
        self._deaths = Deaths(session, name, self._known, self._waiters)
        self._recovery = Recovery(session, name, self._waiters, self._turns, self._outbox, self._standing, self._deaths)
        self._used = 0.0  # the loop's time at which the last request was sent
        self._pump: asyncio.Task[None] | None = None
        self._title = f"holdfast requests for {name!r}"
        self._is_at_work = False  # in the step of whoever has asked
        self._confirmed = -CONFIRMED  # the loop's time at which the last change that was made had been sent
        self._gathering: asyncio.Handle | None = None  # what starts the pump for requests that gather
        self._unseen: asyncio.Handle | None = None  # what looks at the record that the tasks here have joined
        self._outdated = False  # this session may wait for others than before, or hold what it waits for

    # What the session tells it

    def on_wake(self, message: str, text: str | None = None) -> None:
        """Another session says what it has granted to some of the tickets, or that there is something to see.

        text: the record that it has made, if that has come along. The record is read if anybody could have sent this.
        """
        vouches = getattr(self._session.bare_engine, "vouches", False)  # an engine of the user's may not have it
        granted = Wake.read(message) if vouches else None
        if granted is not None:
            self._take([granted])
        elif not (vouches and text is not None and self._take_from(text)):
            self._outdated = True
            self._start()

    def _take_from(self, text: str) -> bool:
        """Take what was granted by the change that has made this record; return whether anything was."""
        if not self.initial.IN_TURN:
            return False  # what was asked for since would seem to be granted
        try:
            record = self._known.decoded(text)
        except (FormatError, NameConflict):
            return False
        if record.closings or record.turned_away:
            return False  # who was turned away is for a look to see
        granted = record.granted(self._session.id, ())
        self._take(granted)
        return bool(granted)

    def doubt(self) -> None:
        """The record may have gone back to what it was: look before anything else is done."""
        self._recovery.doubted = True
        self._start()

    def see(self, batch: int, text: str | None, dead: frozenset[str]) -> None:
        """Take note of what a renewal has seen.

        batch: as `at_rest` was before. text: the record at some moment since. dead: those of the watched that were
        dead then.
        """
        if self._pump is not None or self._outbox.last_batch != batch:
            return  # it may be older than what is known by now
        if dead & self._deaths.watched.sessions():
            self._suspect()
            return
        if text == self._known.made[0] and not self.is_waiting:
            return  # the record is as this session has left it
        try:
            record = self._known.agreed(self._known.decoded(text), self._session.label)
        except (FormatError, NameConflict) as exc:
            self._recovery.give_up_waiting(exc)
            self._recovery.lose_what_is_held()
            return
        if not self._standing.is_known_to(record):
            self.doubt()
            return
        self._take(self._granted_in(record))
        self._end_turns_if_closed(record)
        self._do_what_is_due(record)
        if self._deaths.to_watch(record) != self._deaths.watched.sessions():
            self._outdated = True
            self._start()

    def lose(self, exc: SessionLost) -> None:
        """The session is over, or has lost what it had here: no task waits here any more."""
        self._turns.clear()
        futures, entries = self._waiters.take_all(), self._outbox.take_all()
        self._deaths.watched.stop()
        for future in futures:
            if not future.done():
                future.set_exception(exc)
        for entry in entries:
            if entry.done is not None:
                fail(entry.done, exc)

    async def forget(self) -> None:
        """Have the record forget the answer to the last batch, so that it can be removed."""
        if self._standing.is_answered:
            self._deaths.suspicious = True
            self._start()
            await self._finish()

    def has_company(self, text: str | None) -> bool:
        """Whether other sessions may wait, if `text` is what the engine has now."""
        made, record = self._known.made
        return text != made or bool(record.sessions() - {self._session.id})

    async def leave(self) -> None:
        """Take everything of this session out of the record, after what is under way; the session ends."""
        await self._finish()
        change = self._change(Batch(self._session.id, 0, ()), frozenset({self._session.id}))
        with contextlib.suppress(FormatError, NameConflict):  # then nothing of this session is in it
            await self._session.engine.apply(
                self._name,
                change,
                notices=self._notices,
                addition=self._known.farewell(),
                opens=opening,
            )

    # What it tells

    @property
    def is_waiting(self) -> bool:
        """Whether any task waits here."""
        return bool(self._waiters.futures)

    def waiting(self) -> list[tuple[int, asyncio.Future[int]]]:
        """The tickets that wait here, each with the future that its task awaits. May be called in another thread."""
        return [each for each in self._waiters.futures.copy().items() if not each[1].done()]

    @property
    def at_rest(self) -> tuple[int, frozenset[str]] | None:
        """If nothing is under way: the last batch, and the sessions that are watched."""
        return None if self._pump is not None else (self._outbox.last_batch, self._deaths.watched.sessions())

    @property
    def is_unused(self) -> bool:
        """Whether nothing is asked for here, and nothing held."""
        return not (self._is_busy() or self._turns.is_under_way or self._standing.tokens())

    @property
    def is_forgotten(self) -> bool:
        """Whether the record knows nothing of the session, and nothing is asked for here."""
        return not (self._is_busy() or self._standing.is_answered)

    def is_idle_for(self, seconds: float) -> bool:
        """Whether nothing has been asked for here for this time."""
        return self._pump is None and not self.is_waiting and self._session.loop.time() >= self._used + seconds

    def follow(self, other: Exchange) -> None:
        """Take the place of an exchange that is at rest, and was for another value."""
        self._standing.follow(other._standing)

    @property
    def has_come_to_nothing(self) -> bool:
        """Whether nothing is asked for here, and nothing that was asked for has been done."""
        return not (self.was_agreed or self._is_busy())

    def go_on_from(self, numbers: int) -> None:
        """No ticket and no batch has this number, or a lower one."""
        self._waiters.last_ticket = max(self._waiters.last_ticket, numbers)
        self._outbox.last_batch = max(self._outbox.last_batch, numbers)

    @property
    def numbers(self) -> int:
        """The highest number that a ticket or a batch has had."""
        return max(self._waiters.last_ticket, self._outbox.last_batch)

    def _is_busy(self) -> bool:
        at_work = self._pump is not None and not self._pump.done()
        return at_work or self.is_waiting or self._has_work()

    # The pump: one change at a time

    def _submit(self, entry: Entry) -> None:
        """Have an operation done soon. If the loop or the session has ended, there is nobody left to do it for."""
        session = self._session
        gathers = self._turns.is_under_way and entry.ticket and not entry.patient
        if gathers and self._gathering is not None and session.over is None:
            self._outbox.pending.append(entry)  # the first that gathers has done the rest
        elif not (session.over or session.loop.is_closed()):
            self._outbox.pending.append(entry)
            session.use(self._name, self)
            if gathers:
                self._gathering = session.loop.call_later(GATHERING, self._start)
            else:
                self._start()

    def _start(self) -> None:
        """Do what there is to do: in this step if that is possible, else in the pump."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        session = self._session
        if session.over is not None or self._is_at_work or not (self._pump is None or self._pump.done()):
            return
        loop, self._is_at_work = session.loop, True  # an eager task begins at once as well
        try:
            if not session.begins_at_once:
                self._pump = begin(loop, self._run, self._title)
            elif session.may_go_on():
                self._pump = begin_at_once(loop, self._run, self._title)
            else:
                self._pump = begin(loop, self._run_later, self._title)
        except BaseException:  # a signal handler has raised it in the middle; what was under way is done all the same
            self._outdated = True
            loop.call_soon(self._start)
            raise
        finally:
            self._is_at_work = False
        if self._pump is not None:
            self._pump.add_done_callback(self._ended)

    async def _run_later(self) -> None:
        """Let the loop have its turn first, also if tasks are eager."""
        await asyncio.sleep(0)
        await self._run()

    def is_confirmed(self) -> bool:
        """Whether the engine has said lately that this session lives, and has what it has here."""
        return self._session.loop.time() - self._confirmed < CONFIRMED

    async def _finish(self) -> None:
        """Wait until nothing is under way."""
        while self._pump is not None:
            await asyncio.wait([self._pump])

    async def _run(self) -> None:
        try:
            while (has_changes := self._has_changes()) or self._outdated:
                if has_changes:
                    await self._apply_next()
                else:
                    await self._look()
        except asyncio.CancelledError:
            self._outdated = True  # nothing is known of what was under way
            raise
        except SessionLost as exc:
            self._session.lose(exc)
            self.lose(exc)  # what was on its way when the session ended
        except Exception as exc:  # not foreseen; at least no task waits for ever
            if self._session.loop.is_closed():
                return  # the loop was closed in the middle of this, and no task is left that waits
            lost = SessionLost(f"{self._session} failed: {exc!r}")
            self._session.lose(lost)
            self.lose(lost)
            raise

    def _ended(self, pump: asyncio.Task[None]) -> None:
        """Go on if there is more to do: a program that cancels all its tasks has cancelled the pump as well."""
        if pump is self._pump:
            self._pump = None
            if self._has_work() and self._session.over is None:
                self._start()

    def _has_work(self) -> bool:
        """Whether anything is to be done in the record, or to be read there."""
        return self._has_changes() or self._outdated

    def _has_changes(self) -> bool:
        """Whether there is something to do that takes a change of the record."""
        outbox = self._outbox
        return bool(outbox.sent or outbox.pending or self._deaths.suspicious or self._recovery.doubted)

    async def _apply_next(self) -> None:
        """Apply all that is pending as one batch, as often as it takes."""
        session, deaths, recovery = self._session, self._deaths, self._recovery
        engine, loop = session.engine, session.loop
        pause, longest = RETRY
        has_looked = False  # whether it is known that only the dead have any use for another value
        while True:
            batch, entries = self._outbox.next_batch(session.id)
            dead = deaths.take_doomed() if deaths.doomed else _NOBODY
            try:
                if deaths.suspicious:
                    dead |= await deaths.find(self._check_replaced)
                while recovery.doubted:
                    await recovery.look_back(self.initial, self.read)
                if self._outbox.sent is None:
                    continue  # it has been given up, with everything else that was here
                self._outdated = False  # reset first: it may become true again while the answer is on its way
                leaving = frozenset({session.id}) if recovery.leaving else _NOBODY
                offers = session.offers_additions and not dead and not leaving
                asked = loop.time()
                if entries:
                    self._used = asked
                done = await engine.apply(
                    self._name,
                    self._change(batch, dead | leaving),
                    evicted=dead,
                    notices=self._notices,
                    addition=self._known.addition(batch, not self._is_at_stake()) if offers else None,
                    opens=opening,
                )
                if (seconds := loop.time() - asked) > told.SLOW:
                    told.slow(session, f"change what is stored under {shown(self._name)}", seconds)
                if not session.is_alive():  # an answer that comes too late is not believed
                    session.check_alive()
                break
            except UnknownToRecordError:
                recovery.give_up()
            except (FormatError, NameConflict) as exc:  # nothing of this batch will ever be done
                if isinstance(exc, NameConflict) and not has_looked and self._outbox.sent is not None:
                    has_looked = deaths.suspicious = True
                    continue
                self._refuse_for_good(entries, exc)
                return
            except EngineError as exc:
                if session.over is not None:
                    raise SessionLost(str(session.over)) from exc
                deaths.doomed |= dead  # they have to be buried the next time
                if not recovery.doubted:
                    self._refuse(entries, exc)
                if exc.errno in NO_DESCRIPTOR and pause >= longest:  # a waiter would never hear of a death
                    recovery.give_up_waiting(exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        self._outbox.sent = None
        recovery.leaving = False
        self.was_agreed = True
        self._confirmed = asked
        if done is None:
            self._joined_unseen(batch)
        else:
            self._answer(entries, done)
        if installed.hooks:
            self._waiters.begin_waits(entry.ticket for entry in entries)
        if done is None:
            return
        record = done.record
        self._standing.note(record, batch.number)
        self._known.note_token(record)
        self._watch_over(record)
        self._do_what_is_due(record)

    def _is_at_stake(self) -> bool:
        """Whether this session has something here, or is about to learn so."""
        return self._turns.is_under_way or self._standing.is_at_stake()

    def _joined_unseen(self, batch: Batch) -> None:
        """The tickets of a batch stand in line, and that is all that is known. Most are granted before it matters.

        Who waits longer reads the record, to know which sessions to watch.
        """
        session = self._session
        self._standing.note_unseen(batch.number)
        self._known.forget_made()
        session.keep_looking()
        if self._unseen is not None:
            self._unseen.cancel()
        pause = UNSEEN if session.engine.ttl is None else min(UNSEEN, session.engine.ttl / 10)
        self._unseen = session.loop.call_later(pause, self._see_whom_to_watch)

    def _see_whom_to_watch(self) -> None:
        self._unseen = None
        if self.is_waiting:
            self._outdated = True
            self._start()

    def _change(self, batch: Batch, dead: frozenset[str]) -> Change[Step]:
        known, label = self._known, self._session.label
        forgets_me = not batch.number or self._session.id in dead
        check = None if forgets_me else self._check_is_known

        def change(stored: Stored) -> tuple[str, Step]:
            return known.changed(stored, batch, dead, label, check)

        return change

    def _check_is_known(self, record: Record) -> None:
        if not self._standing.has_last_batch(record):
            raise UnknownToRecordError

    def _notices(self, done: Step) -> Iterable[Notice]:
        """What the other sessions were granted; and a note to the only holder, which will make the next change."""
        if not (done.wakes or self._session.offers_additions):
            return ()
        told, notices = {self._session.id}, list[Notice]()
        text, record = self._known.made
        goes_along = record is done.record and len(text or "") <= self._session.sends_texts
        is_in_text = goes_along and self.initial.IN_TURN
        for wake in done.wakes:
            if wake.session != self._session.id:
                told.add(wake.session)
                notices.append((wake.session, "" if wake.tickets and is_in_text else wake.message()))
        holding = done.record.holding()
        if len(holding) == 1 and not holding & told:
            notices.append((*holding, None))
        return notices

    def _answer(self, entries: list[Entry], done: Step) -> None:
        """Tell the tasks here what they got, in the order of asking, even if the wake-up for it was lost."""
        answered = [*zip(entries, done.outcomes, strict=True)]
        granted = self._granted_in(done.record)
        if self.initial.IN_TURN:
            if granted:
                self._take(granted)
            if waits := self._waiters.futures:  # most often, what was asked for has had its turn by now
                asked = [(entry.ticket, outcome) for entry, outcome in answered if outcome and entry.ticket in waits]
                self._waiters.grant_all([Grants(*each) for each in asked])
            if done.record.closings:
                self._end_turns_if_closed(done.record)
        else:
            outcomes = {entry.ticket: outcome for entry, outcome in answered if entry.ticket}
            granted = [each for each in granted if not outcomes.get(each.ticket)]
            granted += [Grants(*wake[1:]) for wake in done.wakes if wake.session == self._session.id]
            goes_on = self._is_at_work and bool(entries) and bool(outcomes.get(entries[-1].ticket))
            granted += [Grants(ticket, outcome) for ticket, outcome in outcomes.items() if outcome]
            self._take(granted, goes_on)
        for entry, outcome in answered:
            if entry.done is not None and not entry.done.done():
                entry.done.set_result(outcome)

    def _take(self, granted: list[Grants], goes_on: bool = False) -> None:
        """Tell the tasks here what the record has granted to them. goes_on: whether one of them is the running one."""
        if not self.initial.IN_TURN:
            if self._waiters.grant_all(granted) > goes_on:
                self._session.let_others_go_on()
            return
        for run in granted:
            if unwanted := self._turns.begin(run):
                self._submit(Entry(self.initial.ending(unwanted)))

    def _refuse(self, entries: list[Entry], exc: EngineError) -> None:
        """Tell the tasks that ask. Tickets that got into the record all the same are withdrawn as each task leaves."""
        for entry in entries:
            if not entry.patient:
                self._waiters.refuse(entry.ticket, exc)

    def _refuse_for_good(self, entries: list[Entry], exc: FormatError | NameConflict) -> None:
        """Nothing of a batch will ever be done."""
        self._outbox.sent = None
        # There is nothing here to look after:
        self._deaths.suspicious = self._standing.is_answered = self._recovery.leaving = False
        for entry in entries:
            self._waiters.refuse(entry.ticket, exc)
        for entry in entries:
            if entry.done is not None:
                fail(entry.done, exc)

    async def _look(self) -> None:
        """Read the record, because there is something to see: what was granted here, and which sessions to watch."""
        self._outdated = False
        if not self.is_waiting:
            return
        try:
            text = await self._session.engine.read(self._name)
            made, record = self._known.made
            if text != made:
                record = self._known.decoded(text)
                self._known.made = text, record
            record = self._known.agreed(record, self._session.label)
        except (FormatError, NameConflict) as exc:
            self._recovery.give_up_waiting(exc)
            return
        except EngineError:
            return  # the next renewal looks again
        self._session.check_alive()
        if not self._standing.is_known_to(record):
            self._recovery.doubted = True
        if not self._recovery.doubted:
            granted = self._granted_in(record)
            self._take(granted)
            self._end_turns_if_closed(record)
            self._give_back_what_has_ended(granted)
            self._watch_over(record)
            self._do_what_is_due(record)

    def _give_back_what_has_ended(self, granted: list[Grants]) -> None:
        """Nothing is held here, and the record says that something is: somebody has put an older one in its place.

        Who joins without seeing the record would wait behind itself.
        """
        if self.initial.IN_TURN and not (self._turns.is_under_way or self._standing.tokens() or self._outbox.pending):
            for run in granted:
                self._submit(Entry(self.initial.ending(run.value + run.tickets - 1)))

    def _suspect(self) -> None:
        """A session that is watched may have died."""
        self._deaths.suspect()
        self._start()

    def _watch_over(self, record: Record) -> None:
        """While a task waits here, watch the sessions that it waits for, and look now and then."""
        if self._waiters.futures:
            self._deaths.watch(record, self._suspect)
            self._session.keep_looking()
        elif self._deaths.watched.stops:
            self._deaths.watched.stop()

    def _do_what_is_due(self, record: Record) -> None:
        due = record.due()
        if due is not None and due[0] == self._session.id:
            self._deaths.suspicious = True  # that has to look first which sessions are dead
            self._submit(Entry(due[1]))

    def _granted_in(self, record: Record) -> list[Grants]:
        """What the record has granted to the tasks here whose requests were sent. Tells those that were turned away."""
        if record.turned_away:
            for ticket, away in [*record.turned_away_among(self._session.id, self._standing.asked())]:
                self._waiters.turn_away(ticket, away.what, self._closed(away.reason))
        if record.IN_TURN:
            return record.granted(self._session.id, ())
        asked = self._standing.asked()
        return record.granted(self._session.id, asked) if asked else []

    def _end_turns_if_closed(self, record: Record) -> None:
        """If the lock is closed, those are turned away that have yet to be let in, unless they take it back."""
        closing = record.closings.get(ITSELF)
        if closing is not None:
            for ticket in self._turns.still_waiting():
                self._waiters.refuse(ticket, self._closed(closing.reason))

    def _closed(self, reason: str | None) -> Closed:
        why = "" if reason is None else f": {reason}"
        return Closed(f"the {self.initial.KIND} {shown(self._name)} is closed{why}", reason)

    # Reading

    async def read(self) -> Any:
        """The record as it is, of the type of `initial`."""
        self._check_replaced()
        record = self._known.decoded(await self._session.engine.read(self._name))
        try:
            return self._known.agreed(record, self._session.label)
        except NameConflict:  # perhaps only the dead have any use for the other value
            dead = await self._session.engine.dead(record.sessions() - {self._session.id})
            return self._known.agreed(record, self._session.label, dead)

    def _check_replaced(self) -> None:
        if self.is_replaced and not self._session.bring_back(self._name, self):
            raise NameConflict(
                f"{shown(self._name)} has been used as something else in {self._session!r} since this "
                f"{self.initial.kind} was made; make it anew"
            )
