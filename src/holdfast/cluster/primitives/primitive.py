"""What every primitive of a session has: its name there, and the way to its record."""

from __future__ import annotations

from typing import Any

from holdfast.cluster.records.record import Record
from holdfast.cluster.session_life.membership import Membership
from holdfast.cluster.session_life.register import Register
from holdfast.cluster.values_in_messages import shown


class Primitive:
    """One name, as one object of the user's. Made by the methods of a Session."""

    def __init__(self, session: Membership, name: str, initial: Record) -> None:
        """Called by a method of Session.

        initial: the record before its first change, which has the kind and the value.
        """
        self._session = session
        self._name = name
        self._initial = initial
        self._life = session._life
        self._life_register = self._life.register(name, initial)

    @property
    def _register(self) -> Register:
        """The register of the session's present life."""
        if self._life is not self._session._life:
            self._life = self._session._life
            self._life_register = self._life.register(self._name, self._initial)
        return self._life_register

    def __repr__(self) -> str:
        return f"<holdfast.cluster.{type(self).__name__} {shown(self._name)} of {self._session!r}>"

    async def _tell(self, operation: Any) -> int:
        """Have something done that waits for no other task; return its outcome."""
        await self._session._ready()
        return await self._register.tell(operation)

    async def _read(self) -> Any:
        await self._session._ready()
        with self._session._telling_why():
            return await self._register.read()

    async def _read_living(self) -> Any:
        """The record without what the dead hold and wait for."""
        await self._session._ready()
        with self._session._telling_why():
            return await self._register.read_living()
