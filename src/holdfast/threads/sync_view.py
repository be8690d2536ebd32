"""A primitive as threads see it: the base of what `sync` returns."""

from __future__ import annotations

from holdfast.tasks.closed import Closable

from .primitive import Shared


class SyncView(Closable):
    """A primitive with threading's methods. Two views of the same primitive are equal."""

    __slots__ = ("__weakref__", "_shared")

    _shared: Shared

    def __init__(self, shared: Shared) -> None:
        """Called by the `sync` of a primitive."""
        self._shared = shared

    def _close(self, reason: object) -> None:
        self._shared._close(reason)

    def _is_closed(self) -> bool:
        return self._shared._is_closed()

    def __eq__(self, other: object) -> bool:
        """Whether it is the same primitive."""
        return type(other) is type(self) and other._shared is self._shared

    def __hash__(self) -> int:
        return hash((SyncView, id(self._shared)))
