"""Which of the other sessions that a record names are dead.

A session that waits watches the others, so that their deaths are noticed at once. A session that only looks, or only
tries, finds out when it does so: while nobody waits, nobody watches, and dead sessions may stand in a record unburied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.records.record import Record

from .identity import Identity
from .known_record import KnownRecord
from .waiters import Waiters

R = TypeVar("R", bound=Record)


class Watched:
    """The sessions that are watched under one name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.stops: dict[str, Callable[[], None]] = {}
        """What stops watching each of them."""

    def sessions(self) -> frozenset[str]:
        return frozenset(self.stops)

    def change_to(self, sessions: frozenset[str], on_death: Callable[[], None]) -> None:
        """Watch these sessions, and no others. on_death: is called when one of them may have died."""
        for session in [*self.stops]:
            if session not in sessions:
                self.stops.pop(session)()
        for session in sessions - self.stops.keys():
            self.stops[session] = self._engine.watch(session, on_death)

    def stop(self) -> None:
        """Watch nobody."""
        while self.stops:
            self.stops.popitem()[1]()


class Deaths:
    """The deaths of other sessions that matter to one session under one name: watched for, suspected, and known."""

    def __init__(self, session: Identity, name: str, known: KnownRecord, waiters: Waiters) -> None:
        self._session = session
        self._name = name
        self._known = known
        self._waiters = waiters
        self.watched = Watched(session.bare_engine)
        self.suspicious = False
        """A session may have died, or a wake-up may be lost: look before the next change which sessions are dead."""
        self.doomed: frozenset[str] = frozenset()
        """Sessions known to be dead, which the next change buries."""

    def suspect(self) -> None:
        """A session that is watched may have died."""
        self.watched.stop()
        self.suspicious = True

    def take_doomed(self) -> frozenset[str]:
        """The sessions known to be dead, for a change that buries them."""
        doomed, self.doomed = self.doomed, frozenset()
        return doomed

    async def find(self, check: Callable[[], None]) -> frozenset[str]:
        """The dead that the record names. Ends the suspicion.

        check: is called before the record is read, and may raise.
        """
        self.suspicious = False  # reset first: it may become true again while the answer is on its way
        try:
            check()
            me = self._session.id
            _, dead = await look_for_dead(
                self._session.engine,
                self._name,
                self._known.decoded,
                lambda record: frozenset(record.sessions()) - {me},
                self._known.others(me, lambda record: record.sessions()),
            )
        except BaseException:
            self.suspicious = True
            raise
        return dead

    def watch(self, record: Record, on_death: Callable[[], None]) -> None:
        """Watch the sessions that the tasks here wait for according to the record, and no others.

        on_death: is called when one of them may have died. Only the engine keeps it: kept here it would make a
        reference cycle, and a register that is dropped would wait for the garbage collector.
        """
        self.watched.change_to(self.to_watch(record), on_death)

    def to_watch(self, record: Record) -> frozenset[str]:
        """The sessions that the tasks here wait for."""
        if not self._waiters.futures:
            return frozenset()
        return record.watches({self._session.id}).get(self._session.id, frozenset())


async def look_for_dead(
    engine: Engine,
    name: str,
    decoded: Callable[[str | None], R],
    others: Callable[[R], frozenset[str]],
    named: frozenset[str],
) -> tuple[R, frozenset[str]]:
    """Read the record of a name; return it, and those of the `others` in it that were dead by then.

    decoded: makes a record of what is stored. named: sessions that are likely to be in it, which saves a request.
    """
    while True:
        seen = await engine.look([name], named)
        record = decoded(seen.texts[name])
        asked = others(record)
        if asked <= named:
            return record, seen.dead & asked
        named |= asked


async def read_living(
    engine: Engine,
    name: str,
    decoded: Callable[[str | None], R],
    me: str,
    named: frozenset[str],
) -> R:
    """Read the record of a name; return it without what the dead hold and wait for.

    me: the session that looks. The rest is as for look_for_dead().
    """
    record, dead = await look_for_dead(engine, name, decoded, lambda record: frozenset(record.users()) - {me}, named)
    return record.bury(dead, []) if dead else record
