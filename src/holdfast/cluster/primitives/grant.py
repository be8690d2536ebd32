"""A grant: one holding, from the moment it was granted until it is released or lost.

When its session loses it, the task in its `async with` body is cancelled, and LeaseLost comes out of the body.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable

from holdfast.cluster.errors import LeaseLost
from holdfast.cluster.session_life import told
from holdfast.cluster.session_life.life import Life
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.values_in_messages import shown


class Grant:
    """One holding of a Lock or of a permit, from the moment it was granted until it is released or lost."""

    _with_in = 0
    """The thread that is in a `with` body with it."""
    _ends_by_itself = False
    """Whether it ends after some time, as a thread has asked for with `hold_at_most`."""
    released = False
    """Whether its release has begun."""
    _is_waiting = False  # in Condition.wait(), which has released the lock and takes it again
    _lost: asyncio.Event | None = None  # made when somebody asks for it
    _why: LeaseLost | None = None
    _on_loss: Callable[[], None] | None = None  # tells a thread
    _body: asyncio.Task[object] | None = None
    _cancelling = 0
    _cancelled = False

    def __init__(
        self,
        session: Membership,
        life: Life,
        kind: str,
        name: str,
        token: int,
        permits: int,
        acquirer: asyncio.Task[object] | None,
    ) -> None:
        """Called by what acquires.

        life: that of the session in which it was granted.
        kind: what is held, as hooks are told: "lock", "semaphore".
        acquirer: the task that has acquired it.
        """
        self._session = session  # which lasts as long as the user has a grant of it
        self._life = life
        self._kind = kind
        self.name = name
        self.token = token
        """Of a Lock, and of the writer of an RWLock: the fencing token, higher than that of every grant before. Of a
        reader: not below that of the last writer, and below that of the next one. Of a permit: only its number here."""
        self.permits = permits
        """How many permits it has; 1 of a Lock. A release of some of them makes it fewer."""
        self._acquirer = None if acquirer is None else weakref.ref(acquirer)

    def __repr__(self) -> str:
        if self._why is not None:
            state = "lost"
        elif self.released:
            state = "released"
        else:
            state = "in Condition.wait()" if self._is_waiting else "held"
        return f"<holdfast.cluster.Grant of {shown(self.name)}, token {self.token} [{state}]>"

    def __str__(self) -> str:
        """For messages about its end."""
        return f"the grant of {shown(self.name)} with token {self.token}"

    @property
    def lost(self) -> asyncio.Event:
        """Set when the grant must not be relied on any more, because the session is over."""
        if self._lost is None:
            self._lost = asyncio.Event()
            if self._why is not None:
                self._lost.set()
        return self._lost

    def check(self) -> None:
        """Do nothing if the grant is held. For code between two awaits, in the event loop of the session.

        It looks at the clock, so it sees a ttl that has passed while the loop was blocked. It does not ask the engine.

        Call it in no other thread: once the ttl has passed, it ends the session then and there, and that touches what
        belongs to the event loop. A thread may read `grant.lost.is_set()`, which is true only when the loop has run.
        Its writes need a fence.

        Raises LeaseLost if the grant was lost or released, and while its task is in Condition.wait(); SessionLost in a
        forked child.
        """
        self._life.check_process()
        self._check_not_lost()
        self._check_held()

    def _check_held(self) -> None:
        if self.released:
            raise LeaseLost(f"{self} was released; another grant may protect it by now")
        if self._is_waiting:
            raise LeaseLost(f"{self} is not held while its task is in Condition.wait(), which has released it")

    def _check_not_lost(self) -> None:
        if self._is_lost():
            raise LeaseLost(str(self._why))

    def _is_lost(self) -> bool:
        """Whether it is lost now, by the clock."""
        life = self._life
        if not life.is_alive():
            if life.over is None:
                life.expiry.look()
            if self._why is None and life.over is not None and not self.released:
                self._lose(LeaseLost(f"{self} was lost: {life.over}"))  # it was not told yet
        return self._why is not None

    def _is_mine(self) -> bool:
        """Whether the running task has acquired it."""
        return self._acquirer is not None and self._acquirer() is asyncio.current_task()

    def _enter(self, task: asyncio.Task[object] | None) -> None:
        """The running task enters an `async with` body. It is to be cancelled if the grant is lost."""
        self._body = task
        self._cancelling = task.cancelling() if task is not None else 0

    def _lose(self, why: LeaseLost, *, cancel: bool = True) -> None:
        if self._why is not None:
            return
        self._why = why
        told.lease_lost(self._life, self._kind, self.name, why)
        if self._lost is not None:
            self._lost.set()
        if self._on_loss is not None:
            self._on_loss()
        loop = self._life.loop
        if not cancel or self._body is None or loop.is_closed():
            return
        if asyncio.current_task(loop) is None:
            self._cancel_body()
        else:
            # A task that runs (this one, or one that has started this one eagerly) would get the cancellation at its
            # next await, wherever that is by then: before Python 3.13 uncancel() does not take it back.
            loop.call_soon(self._cancel_body)

    def _cancel_body(self) -> None:
        """Outside of all tasks: cancel the body, if it has not been left meanwhile."""
        if self._body is not None and not self._body.done():
            self._body.cancel()
            self._cancelled = True

    def _exit(self, exc: BaseException | None) -> None:
        """Leave the body after a loss. Raises LeaseLost, unless something else is to be raised.

        This works as asyncio.timeout() does: the cancellation that was meant for this body becomes LeaseLost, and one
        that came from elsewhere goes on. Of nested bodies the outermost converts. If another task exits than the one
        that entered, as at the end of a fixture, no cancellation was meant for this exit.
        """
        task, body = asyncio.current_task(), self._body
        self._body = None
        if task is not None and task is body:
            left = task.uncancel() if self._cancelled else task.cancelling()
            is_meant = isinstance(exc, asyncio.CancelledError) and self._cancelled and left <= self._cancelling
        else:
            is_meant = False
        if exc is None or is_meant:
            raise LeaseLost(str(self._why)) from exc
