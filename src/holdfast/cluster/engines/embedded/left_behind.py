"""Ends the sessions that have other files open than those that are under the database's paths now.

Nobody else sees what such a session does. So nothing is granted to anybody else before they are gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from holdfast.cluster.engines.clock import monotonic

from . import doorbell
from .session_files import LockedFile, SessionFiles

_PATIENCE = 2.0
"""Seconds for which they are waited for, at most. They look at their files once a second."""
_PAUSE = 0.005
"""Seconds between two looks whether they are gone."""


class LeftBehind:
    """The sessions that were ended. Use it with `with`, for as long as they are to be waited for."""

    def __init__(self, files: SessionFiles, end_if_useless: Callable[[str], None]) -> None:
        """end_if_useless: ends a session of this process if nobody else can end it."""
        self._files = files
        self._end_if_useless = end_if_useless
        self._evicted: list[LockedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._evicted:
            file.close()

    async def make_way(self, state: str) -> bool:
        """End the sessions that use other files; return whether some are still there. See `Database.open()`.

        state: the beginning of the lock files of the sessions that use the same files.
        """
        for session in self._files.others():
            file = self._files.evict(session, state)
            if file is not None:
                self._evicted.append(file)
                self._end_if_useless(session)
                doorbell.have_it_look(self._files, session)
        until = monotonic() + _PATIENCE
        while self._look_again() and monotonic() < until:  # noqa: ASYNC110  # flock() wakes nobody
            await asyncio.sleep(_PAUSE)
        return bool(self._evicted)

    def _look_again(self) -> bool:
        """Whether some are still there."""
        for file in [*self._evicted]:
            if not file.is_locked():
                file.close()
                self._evicted.remove(file)
        return bool(self._evicted)
