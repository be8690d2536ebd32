"""How a session begins anew under a name whose record does not know what the session has done there.

Somebody may have removed the record or put an older one in its place, or the engine may have lost its last writes. What
the session had in the record is lost then: the holders and the tasks that wait are told, and the next change takes out
of the record whatever of the session is left in it. `standing.py` says what the record has to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from holdfast.cluster.errors import FormatError, NameConflict, SessionLost
from holdfast.cluster.records.record import Record
from holdfast.cluster.values_in_messages import shown

from .dead_sessions import Deaths
from .identity import Identity
from .outbox import Outbox
from .standing import Standing
from .turns import Turns
from .waiters import Waiters

REPLACED = "its record was removed or replaced, be it by hand or as the engine has lost data"


class UnknownToRecordError(Exception):
    """The record does not know what it has to know of this session. Raised and caught within the exchange."""


class Recovery:
    """Whether one session has to begin anew under one name, and how it does."""

    def __init__(
        self,
        session: Identity,
        name: str,
        waiters: Waiters,
        turns: Turns,
        outbox: Outbox,
        standing: Standing,
        deaths: Deaths,
    ) -> None:
        self._session = session
        self._name = name
        self._waiters = waiters
        self._turns = turns
        self._outbox = outbox
        self._standing = standing
        self._deaths = deaths
        self.doubted = False
        """The record may have gone back to what it was. Look before anything else is done."""
        self.leaving = False
        """The next change takes out of the record what this session has in it."""

    async def look_back(self, initial: Record, read: Callable[[], Awaitable[Record]]) -> None:
        """Give up what this session has here, unless the record knows all of it.

        initial: the record before its first change. read: reads the record.
        """
        self.doubted = False  # reset first: it may become true again while the answer is on its way
        before = self._standing.tokens()  # the answer need not have what is granted while it is on its way
        try:
            record = await read()
        except (FormatError, NameConflict):
            record = initial  # another session uses the name for something else now
        except BaseException:
            self.doubted = True
            raise
        if not self._standing.is_known_to(record, before):
            self.give_up()

    def give_up(self) -> None:
        """What this session had here is gone. What it is about to ask for does not depend on that."""
        self.give_up_waiting(self.lose_what_is_held(), but=self._outbox.sent_tickets())
        self.leaving = True  # some of it may be there all the same
        self._deaths.suspicious = True

    def lose_what_is_held(self) -> SessionLost:
        """What tasks hold here is lost, also of those that have yet to learn that they were granted something.

        Return the error for tasks that wait.
        """
        lost = SessionLost(f"what {self._session} had in {shown(self._name)} is gone: {REPLACED}")
        self._turns.clear()
        self._waiters.lose_untaken(lost)
        self._session.leases.lose(self._name, REPLACED)
        return lost

    def give_up_waiting(self, exc: Exception, but: Collection[int] = ()) -> None:
        """No ticket that waits here will be granted anything: each task gets the error.

        but: tickets that are only about to wait.
        """
        for ticket in sorted({*self._standing.asked()}.difference(but)):
            self._waiters.refuse(ticket, exc)
        self._deaths.watched.stop()
