"""SeveralLocks: the Locks of several names, taken in one order, so that nobody waits in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType

from holdfast.cluster.only_async_with import OnlyAsyncWith

from .grant import Grant
from .lock import Lock


class SeveralLocks(OnlyAsyncWith):
    """Locks that are held together. Made by `Session.locks()`."""

    def __init__(self, locks: Sequence[Lock]) -> None:
        """Called by `Session.locks()`. locks: in the order in which they are taken."""
        self._locks = locks
        self._entered: list[tuple[asyncio.Task[object] | None, AsyncExitStack]] = []

    def __repr__(self) -> str:
        return f"<holdfast.cluster.SeveralLocks: {', '.join(map(repr, self._locks))}>"

    async def __aenter__(self) -> dict[str, Grant]:
        """Take the locks, one after the other; the `as` value is the grant of each, by name.

        If one of them is lost, the body is cancelled, and LeaseLost comes out of it.
        """
        grants: dict[str, Grant] = {}
        async with AsyncExitStack() as stack:
            for lock in self._locks:
                grants[lock._name] = await stack.enter_async_context(lock)
            self._entered.append((asyncio.current_task(), stack.pop_all()))
        return grants

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        """Release the locks, the last one first."""
        if not self._entered:
            raise RuntimeError(f"{self!r} are not held; write 'async with'")
        me = asyncio.current_task()
        mine = next((each for each in reversed(self._entered) if each[0] is me), self._entered[0])
        self._entered.remove(mine)
        return bool(await mine[1].__aexit__(exc_type, exc, tb))
