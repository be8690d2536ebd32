"""One name, as one session sees it: the operations of all its tasks, folded into one change at a time.

While a change is on its way to the engine, further operations gather, and the next change carries them all. So the
record sees sessions, not tasks, and the more tasks contend here, the fewer changes each of them costs.

A ticket is in exactly one of three states here: asked (its future waits for a token), granted (the future has it), gone
(withdrawn, or the session is over). A task that leaves before it has taken its token withdraws the ticket, and the
record passes on what that may have been granted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from .errors import EngineError, SessionLost
from .lock_record import Acquire, Batch, LockRecord, Operation, Release, Step, Withdraw, decode, encode, step

if TYPE_CHECKING:
    from .session import Session

LOOK_AGAIN = 3.0
"""Seconds, more or less, after which a session that waits looks whether it has missed a wake-up or a death."""
RETRY = 0.01, 1.0
"""Seconds, the first and the longest, until what the engine has failed to do is tried again."""


class _Entry(NamedTuple):
    operation: Operation
    done: asyncio.Future[int] | None
    """Gets the outcome, if somebody waits for it."""


class Register:
    """The operations of one session on one name."""

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._name = name
        self._pending: list[_Entry] = []
        self._asked: dict[int, asyncio.Future[int]] = {}  # by ticket
        self._tickets = 0
        self._batches = 0
        self._pump: asyncio.Task[None] | None = None
        self._suspicious = False  # somebody may have died, or a wake-up may be lost
        self._watched: str | None = None
        self._stop_watching: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # What the primitives do

    async def acquire(self) -> int:
        """Wait for the lock; return the token of the grant.

        Cancellation: raises at once, the withdrawal follows by itself.
        """
        self._tickets += 1
        ticket = self._tickets
        future: asyncio.Future[int] = self._session.loop.create_future()
        self._asked[ticket] = future
        self._submit(_Entry(Acquire(ticket), None))
        try:
            return await future
        except SessionLost:
            raise
        except BaseException:
            self._asked.pop(ticket, None)
            self._submit(_Entry(Withdraw(ticket), None))
            raise

    async def release(self, token: int) -> int:
        """End a grant; return 1, or 0 if it had ended before.

        Cancellation: the grant ends all the same.
        """
        future: asyncio.Future[int] = self._session.loop.create_future()
        self._submit(_Entry(Release(token), future))
        return await future

    async def read(self) -> LockRecord:
        """The record as it is."""
        return decode(await self._session.engine.read(self._name), self._name)

    def on_wake(self, message: str) -> None:
        """Another session says that it has granted one of the tickets."""
        ticket, token = map(int, message.split())
        self._grant(ticket, token)

    def lose(self, exc: SessionLost) -> None:
        """The session is over: nobody waits here any more."""
        self._watch(None)
        futures = [*self._asked.values(), *(entry.done for entry in self._pending if entry.done is not None)]
        self._asked.clear()
        self._pending.clear()
        for future in futures:
            if not future.done():
                future.set_exception(exc)

    async def leave(self) -> None:
        """Take everything of this session out of the record, after what is under way; the session ends."""
        if self._pump is not None:
            await asyncio.wait([self._pump])
        if self._batches:
            done = await self._session.engine.apply(
                self._name, self._change(Batch(self._session.id, 0, ()), frozenset({self._session.id}))
            )
            self._send_wakes(done)

    # The pump

    def _submit(self, entry: _Entry) -> None:
        """Have it done soon. Where the loop or the session has ended, there is nothing left to do it to."""
        if not (self._session.over or self._session.loop.is_closed()):
            self._pending.append(entry)
            self._start()

    def _suspect(self) -> None:
        self._watch(None)
        self._suspicious = True
        self._start()

    def _start(self) -> None:
        if self._pump is None:
            self._pump = self._session.loop.create_task(self._run(), name=f"holdfast register {self._name!r}")

    async def _run(self) -> None:
        try:
            while self._pending or self._suspicious:
                self._batches += 1
                await self._apply_next()
        except SessionLost as exc:
            self._session.lose(exc)
        finally:
            self._pump = None

    async def _apply_next(self) -> None:
        """Apply what is pending as one batch, as often as it takes: its number sees to it that it counts once."""
        engine = self._session.engine
        entries, self._pending = self._pending, []
        batch = Batch(self._session.id, self._batches, tuple(entry.operation for entry in entries))
        pause, longest = RETRY
        while True:
            try:
                dead: frozenset[str] = frozenset()
                if self._suspicious:
                    dead = await engine.dead((await self.read()).sessions() - {self._session.id})
                    self._suspicious = False
                done = await engine.apply(self._name, self._change(batch, dead), evicted=dead)
                break
            except SessionLost:
                self._pending[:0] = entries  # to be told
                raise
            except EngineError as exc:
                if self._session.over is not None:
                    raise SessionLost(str(self._session.over)) from exc
                self._refuse(batch, exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)
        for entry, outcome in zip(entries, done.outcomes, strict=True):
            if isinstance(entry.operation, Acquire):
                if outcome:
                    self._grant(entry.operation.ticket, outcome)
            elif entry.done is not None and not entry.done.done():
                entry.done.set_result(outcome)
        self._send_wakes(done)
        holder = done.record.holder
        if holder is not None and holder.session == self._session.id:
            self._grant(holder.ticket, holder.token)  # also if the wake-up was lost
        await self._watch_over(done.record)

    def _change(self, batch: Batch, dead: frozenset[str]) -> Callable[[str | None], tuple[str, Step]]:
        def change(text: str | None) -> tuple[str, Step]:
            done = step(decode(text, self._name), batch, dead)
            return encode(done.record), done

        return change

    def _refuse(self, batch: Batch, exc: EngineError) -> None:
        """Tell those who ask. Their tickets, if they got into the record, are withdrawn as each leaves."""
        for operation in batch.operations:
            if isinstance(operation, Acquire):
                future = self._asked.pop(operation.ticket, None)
                if future is not None and not future.done():
                    future.set_exception(exc)

    def _grant(self, ticket: int, token: int) -> None:
        future = self._asked.pop(ticket, None)
        if future is not None and not future.done():
            future.set_result(token)

    def _send_wakes(self, done: Step) -> None:
        for session, ticket, token in done.wakes:
            if session == self._session.id:
                self._grant(ticket, token)
            else:
                self._session.engine.wake(session, self._name, f"{ticket} {token}")

    # Who buries the dead

    async def _watch_over(self, record: LockRecord) -> None:
        """While somebody waits here, watch the session that is next before this one in the line."""
        before = record.predecessor(self._session.id) if self._asked else None
        if before == self._session.id:
            before = None
        if before != self._watched:
            self._watch(before)
            if before is not None and await self._session.engine.dead([before]):
                self._suspicious = True

    def _watch(self, session: str | None) -> None:
        if self._stop_watching is not None:
            self._stop_watching()
        if self._timer is not None:
            self._timer.cancel()
        self._watched, self._stop_watching, self._timer = session, None, None
        if session is not None:
            self._stop_watching = self._session.engine.watch(session, self._suspect)
            self._timer = self._session.loop.call_later(LOOK_AGAIN * random.uniform(0.8, 1.2), self._suspect)
