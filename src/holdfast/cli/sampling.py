"""One look after another at all names, for those who watch them: `holdfast top` and `holdfast web`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from holdfast.cluster import Deadlock, DeadlockStep, Inspection, Session, SessionInfo
from holdfast.cluster.errors import FormatError

from . import exit_codes
from .failure import Failure
from .overview import Looks, Row

SHARE = 0.05
"""Of one core: so much CPU time the looks take at most. They come less often if that is not enough."""
ANSWER = 30.0
"""Seconds that the engine may take for one look."""
ANSWERED = 0.5
"""Seconds in which a session has to say what its tasks wait for, to be seen in a deadlock."""


@dataclass(frozen=True, slots=True)
class Sample:
    """All names at one moment."""

    at: float
    """Seconds since 1970."""
    found: list[Inspection]
    rows: list[Row]
    """In the order of `found`."""
    deadlocks: list[Deadlock]
    silent: list[SessionInfo]
    """The sessions that have not said in time what their tasks wait for. A deadlock with one of them is not found; one
    that was found before is still told while the records show the same waits and grants."""
    unreadable: list[str]
    """A message for each record that another version wrote. Its name is not in `found`."""


class Sampler:
    """Takes samples of the names of a session's namespace."""

    def __init__(self, session: Session, every: float) -> None:
        """every: the seconds between two looks, at least."""
        self._session = session
        self._every = every
        self._looks = Looks()
        self._deadlocks: list[Deadlock] = []
        self._began = time.process_time()

    async def look(self) -> Sample:
        """Take a sample.

        Raises Failure if the engine does not answer; EngineError and SessionLost as `Session.inspect_all()`.

        Cancellation: raises at once; nothing has been changed.
        """
        self._began = time.process_time()
        unreadable: list[FormatError] = []
        silent: list[SessionInfo] = []
        try:
            async with asyncio.timeout(ANSWER):
                found = await self._session.inspect_all(on_error=unreadable.append)
                deadlocks = await self._find_deadlocks(found, silent)
        except TimeoutError:
            raise Failure(f"the engine has not answered within {ANSWER:g} s", exit_codes.TIMED_OUT) from None
        now = time.time()
        rows = self._looks.rows(found, {name for each in deadlocks for name in each.names}, now)
        return Sample(now, found, rows, deadlocks, silent, [str(exc) for exc in unreadable])

    async def _find_deadlocks(self, found: list[Inspection], silent: list[SessionInfo]) -> list[Deadlock]:
        contended = [one.name for one in found if one.holders and one.waiters]
        deadlocks: list[Deadlock] = []
        if contended:
            # Names that another version wrote are left out here: `unreadable` has been told of them.
            deadlocks = await self._session.find_deadlocks(
                contended, within=ANSWERED, on_silent=silent.append, on_error=lambda _: None
            )
        told, unheard = {each.names for each in deadlocks}, {each.id for each in silent}
        for each in self._deadlocks:  # one does not end by itself, so it is still there if who was in it cannot tell
            if each.names not in told and not unheard.isdisjoint(_sessions(each)) and _is_there(each, found):
                deadlocks.append(each)
        self._deadlocks = deadlocks
        return deadlocks

    def pause(self) -> float:
        """The seconds to let pass before the next look, by the CPU time that this process has used since the last."""
        return max(self._every, (time.process_time() - self._began) / SHARE)


def _sessions(deadlock: Deadlock) -> set[str]:
    """Of those who wait in it."""
    return {step.session.id for step in deadlock.steps}


def _is_there(deadlock: Deadlock, found: list[Inspection]) -> bool:
    """Whether, by the records, the same waits for the same grants go on. A permit has no token to tell it by."""
    by_name = {one.name: one for one in found if one.name in deadlock.names}
    return all(_goes_on(step, by_name.get(step.waits_for)) for step in deadlock.steps if step.kind is not None)


def _goes_on(step: DeadlockStep, one: Inspection | None) -> bool:
    if one is None or step.holder is None:
        return False
    waits = any((each.session.id, each.since) == (step.session.id, step.since) for each in one.waiters)
    tokens = [each.token for each in one.holders if each.session.id == step.holder.id]
    return waits and step.token is not None and step.token in tokens
