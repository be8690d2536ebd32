"""How one session ends another. What that session held goes to the next waiters at once."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .engines.contract import Engine, Notice, Stored
from .errors import FormatError
from .many_at_once import AT_ONCE, slices
from .records.any_kind import decode_any
from .records.record import Record
from .records.step import Step, burial
from .records.stored import encode


async def evict(engine: Engine, id: str, by: str, reason: str) -> bool:
    """End a session and bury it; return whether it was alive. See `Session.evict()`."""
    held = [name for name, record in await _naming(engine, id) if id in record.holding()]
    if not await engine.evict(id, by, reason, held):
        return False
    for name, _ in await _naming(engine, id):
        await _bury(engine, name, id)
    return True


async def _naming(engine: Engine, id: str) -> list[tuple[str, Record]]:
    """All records that name the session."""
    found = []
    names = await engine.names()
    for some in slices(names, AT_ONCE):
        texts, _ = await engine.look(some, ())
        for name, text in texts.items():
            if text is not None and id in text:
                with contextlib.suppress(FormatError):  # a newer version has to decide
                    found.append((name, decode_any(text, name)))
    return found


async def _bury(engine: Engine, name: str, id: str) -> None:
    """Take a dead session out of a record, and wake the waiters that are granted something by that."""

    def change(stored: Stored) -> tuple[str, Step]:
        if stored.text is None:
            raise KeyError(name)
        record = decode_any(stored.text, name)
        done = burial(record.starting_at(max(stored.floor, record.last_token())), {id}, stored.now)
        return encode(done.record), done

    def notices(done: Step) -> Iterator[Notice]:
        return ((wake.session, wake.message()) for wake in done.wakes)

    with contextlib.suppress(KeyError, FormatError):  # another session was faster
        await engine.apply(name, change, notices=notices)
