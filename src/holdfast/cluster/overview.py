"""Names at one moment, in few requests, and again and again for little.

A name whose text has not changed since the last look is not decoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice

from .engines.contract import Engine
from .engines.session_info import SessionInfo
from .errors import FormatError
from .inspection import Inspection, report, with_processes
from .records.any_kind import decode_any
from .records.record import Record

AT_ONCE = 200
"""How many names are asked for in one request, at most."""


OnError = Callable[[FormatError], object]
_Read = dict[str, tuple[str, Record]]
"""Texts and their records by name."""


class Overview:
    """What one session has seen of some names, or of all."""

    def __init__(self) -> None:
        self._known: _Read = {}

    async def look(self, engine: Engine, names: Iterable[str], on_error: OnError | None = None) -> list[Inspection]:
        """Report on those of the names that have a record, sorted; see `Session.inspect_all()`."""
        records, found = await self.read(engine, names, on_error)
        evictions = await engine.evictions()
        sessions = with_processes(found)
        return [report(records[name], name, sessions, evictions) for name in sorted(records)]

    async def read(
        self, engine: Engine, names: Iterable[str], on_error: OnError | None = None
    ) -> tuple[dict[str, Record], dict[str, SessionInfo]]:
        """The records of those of the names that have one, and what is known of the sessions in them."""
        seen = await self._read(engine, names, on_error)
        asked: set[str] = set()
        found: dict[str, SessionInfo] = {}
        while new := {id for _, record in seen.values() for id in record.sessions()} - asked:
            asked |= new
            found |= await engine.describe(new)
            # A session that was closed meanwhile has left the names that it used, and is not dead.
            missing = {id for id in new if id not in found or not found[id].alive}
            again = [name for name, (_, record) in seen.items() if missing & {*record.sessions()}]
            for name in again:
                del seen[name]
            seen |= await self._read(engine, again, on_error)
        self._known = seen
        return {name: record for name, (_, record) in seen.items()}, found

    async def _read(self, engine: Engine, names: Iterable[str], on_error: OnError | None) -> _Read:
        read: _Read = {}
        rest = iter(names)
        while some := [*islice(rest, AT_ONCE)]:
            texts = (await engine.look(some, ())).texts
            for name in some:
                text = texts[name]
                record = None if text is None else self._decoded(name, text, on_error)
                if text is not None and record is not None:
                    read[name] = text, record
        return read

    def _decoded(self, name: str, text: str, on_error: OnError | None) -> Record | None:
        """The record; None if another version wrote it, and `on_error` has been told."""
        known = self._known.get(name)
        if known is not None and known[0] == text:
            return known[1]
        try:
            return decode_any(text, name)
        except FormatError as exc:
            if on_error is None:
                raise
            on_error(exc)
            return None
