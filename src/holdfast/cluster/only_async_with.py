"""What is entered with `async with` only: `with` raises an error that says so."""

from __future__ import annotations

from typing import TYPE_CHECKING


class OnlyAsyncWith:
    """The base of classes that are entered with `async with`."""

    def _how_to_enter(self) -> str:
        """What `with` says."""
        return f"a {type(self).__name__} is held with 'async with', not with 'with'"

    if not TYPE_CHECKING:  # type checkers say it by themselves

        def __enter__(self):
            """Refuse `with`: raise a TypeError that says what to write."""
            raise TypeError(self._how_to_enter())

        def __exit__(self, *exc):
            """Do nothing: `with` looks it up before it calls `__enter__`, which raises."""
