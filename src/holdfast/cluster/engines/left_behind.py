"""Ends the sessions that live on with other files than those that are under the database's paths now.

What they do, nobody else sees. So nothing is granted to anybody else before they have gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Self

from . import doorbell
from .clock import monotonic
from .session_files import LockedFile, SessionFiles

_PATIENCE = 2.0
"""Seconds that is waited for them: they look once a second."""
_PAUSE = 0.005
"""Seconds until it is looked again whether they have gone."""


class LeftBehind:
    """Use it with `with`, as long as who was evicted is to be waited for."""

    def __init__(self, files: SessionFiles, end_if_useless: Callable[[str], None]) -> None:
        """end_if_useless: ends a session of this process which nobody else can end."""
        self._files = files
        self._end_if_useless = end_if_useless
        self._evicted: list[LockedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for file in self._evicted:
            file.close()

    async def make_way(self, state: str) -> bool:
        """See `Database.open()`. state: what the lock file of who uses the same files begins with."""
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
        """Whether some have not gone."""
        for file in [*self._evicted]:
            if not file.is_locked():
                file.close()
                self._evicted.remove(file)
        return bool(self._evicted)
