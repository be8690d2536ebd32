"""What every primitive of a session has: its name there, and the way to its record."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any

from .record import Record

if TYPE_CHECKING:
    from .session import Session


class Primitive(ABC):  # noqa: B024  # it is no primitive by itself
    """One name, as one object of the user's. Made by the methods of a Session."""

    def __init__(self, session: Session, name: str, initial: Record) -> None:
        self._session = session
        self._name = name
        self._register = session.register(name, initial)

    def __repr__(self) -> str:
        return f"<holdfast.cluster.{type(self).__name__} {self._name!r} of {self._session!r}>"

    async def _read(self) -> Any:
        self._session.check()
        return await self._register.read()

    async def _read_living(self) -> Any:
        """Without what the dead hold and wait for."""
        self._session.check()
        return await self._register.read_living()
