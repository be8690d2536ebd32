"""The search for deadlocks among all sessions of a namespace, and why what it finds is certain.

What is known comes from several places at several moments. So there are two looks, and the records are read between:

 1. The records tell which names may be in a deadlock (`suspects.py`). If there is none, that is all.
 2. First look: the sessions that hold those names are asked which of their tasks and threads hold them, and what those
    wait for. Each says how it is at one moment.
 3. The records of those names are read again. A name counts only if those who have said that they hold it have all
    permits that its record gives to anybody. Who is stuck now (`stuck.py`) is suspected.
 4. Second look: the same sessions are asked once more. Who does not wait with the same ticket as before, or does not
    hold the same grant, does not count. Who is stuck still is in a deadlock.

No ticket and no grant ever comes again, so what both looks show was so all the time between. So at the moment of 3 all
permits of such a name were held by grants that were held still in the second look, and none can have gone to anybody
else before one of these was given back.

Could one of the stuck go on by itself after it was seen in the second look? Take the one that goes on first. It has no
timeout, so it was granted what it waits for, or a task has ended whose end it awaits. That task is stuck as well, and
would have gone on before. A grant takes a permit that was held, and whoever held it is stuck, and gives it back only
when it goes on, which it would have done before. So there is none. Only somebody outside can help: one that cancels a
task, releases what another one holds, adds permits to a semaphore, or ends a session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from holdfast.cluster.deadlock import Deadlock
from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.overview import OnError, Overview
from holdfast.cluster.session_life.life import Life

from .correspondence import ask
from .stuck import Graph, merged, unchanged
from .suspects import questions, suspects
from .testimony import Question, Statement

OnSilent = Callable[[SessionInfo], object]


async def find_deadlocks(
    life: Life,
    overview: Overview,
    names: Iterable[str] | None,
    seconds: float,
    on_error: OnError | None,
    on_silent: OnSilent | None,
) -> list[Deadlock]:
    """See `Session.find_deadlocks()`. overview: what the session knows of the records."""
    engine = life.engine
    records, sessions = await overview.read(engine, await engine.names() if names is None else names, on_error)
    asked = questions(suspects(records, sessions), sessions)
    if not asked:
        return []
    search = _Search(life, sessions, seconds, on_silent)
    first = merged(await search.look(asked))
    records, sessions = await Overview().read(engine, suspects(records, sessions), on_error)
    if not Graph(records, sessions, first).stuck:
        return []
    second = merged(await search.look(asked))
    return Graph(records, sessions, unchanged(first, second)).deadlocks()


class _Search:
    """The looks of one search."""

    def __init__(
        self, life: Life, sessions: Mapping[str, SessionInfo], seconds: float, on_silent: OnSilent | None
    ) -> None:
        self._life = life
        self._sessions = sessions
        self._seconds = seconds
        self._on_silent = on_silent
        self._silent: set[str] = set()

    async def look(self, asked: Mapping[str, list[Question]]) -> list[Statement]:
        """Ask those who have answered so far.

        Raises RuntimeError if the session that asks polls, so that no answer reaches it, and nobody would be told.
        """
        asked = {session: some for session, some in asked.items() if session not in self._silent}
        heard = {session: some for session, some in asked.items() if self._can_answer(session)}
        if len(heard) < len(asked) and self._life.polls is not None and self._on_silent is None:
            raise RuntimeError(
                f"{self._life} polls, so answers of other sessions do not reach it; "
                "call find_deadlocks() in a session without poll=, or with on_silent= to look at this session alone"
            )
        said = await ask(self._life, heard, self._seconds)
        for session in sorted(asked.keys() - said.keys()):
            self._silent.add(session)
            if self._on_silent is not None:
                self._on_silent(self._sessions[session])
        return [each for some in said.values() for each in some]

    def _can_answer(self, session: str) -> bool:
        """Whether a question and its answer arrive: who polls is told of nothing."""
        return session == self._life.id or not (self._life.polls is not None or self._sessions[session].polls)
