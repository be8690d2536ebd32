"""What every primitive of a session has: its name there, and the way to its record."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any

from holdfast._refusals import shown

from .record import Record

if TYPE_CHECKING:
    from .register import Register
    from .session import Session


class Primitive(ABC):  # noqa: B024  # it is no primitive by itself
    """One name, as one object of the user's. Made by the methods of a Session."""

    def __init__(self, session: Session, name: str, initial: Record) -> None:
        self._session = session
        self._name = name
        self._initial = initial
        self._life = session._life
        self._life_register = self._life.register(name, initial)

    @property
    def _register(self) -> Register:
        """That of the session's present life."""
        if self._life is not self._session._life:
            self._life = self._session._life
            self._life_register = self._life.register(self._name, self._initial)
        return self._life_register

    def __repr__(self) -> str:
        return f"<holdfast.cluster.{type(self).__name__} {shown(self._name)} of {self._session!r}>"

    async def _read(self) -> Any:
        await self._session._ready()
        return await self._register.read()
