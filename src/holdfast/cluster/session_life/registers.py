"""The registers of one session: one for each name that it uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from weakref import WeakValueDictionary

from holdfast.cluster.errors import NameConflict, SessionLost
from holdfast.cluster.records.record import Record, with_article
from holdfast.cluster.values_in_messages import shown

from .exchange import Exchange, Home
from .register import Register


class Registers:
    """One register for each name, which lasts while the user has an object of it, or the record knows the session."""

    def __init__(self, session: Home, numbers: int) -> None:
        """numbers: no ticket or batch of a life before had a higher one."""
        self._session = session
        self.by_name: WeakValueDictionary[str, Register] = WeakValueDictionary()
        self.in_use: dict[str, Exchange] = {}
        """Those whose records may know the session."""
        self._numbers = numbers  # no ticket or batch of a register that was let go had a higher one

    def get(self, name: str, initial: Record) -> Register:
        """The one register of a name. Raises NameConflict if it is used as another kind, or with another value."""
        register = self.by_name.get(name)
        if register is None:
            register = self.by_name[name] = Register(self._session, name, initial, self._numbers)
        elif register.initial.kind != initial.kind and not register.serves(initial):
            register = self._replaced(name, register, initial)
        return register

    def _replaced(self, name: str, before: Register, initial: Record) -> Register:
        """A register for another kind or value, in place of one that nobody uses."""
        is_same_kind = type(before.initial) is type(initial)
        if not (before.is_forgotten or (is_same_kind and before.is_unused)):
            raise NameConflict(
                f"{shown(name)} is used as {with_article(before.initial.kind)} in {self._session!r} already, and here "
                f"as {with_article(initial.kind)}"
            )
        before.is_replaced = True
        self._numbers = max(self._numbers, before.numbers)
        register = Register(self._session, name, initial, self._numbers)
        if is_same_kind:
            register.follow(before)
        self._put_in_place(name, register)
        return register

    def _put_in_place(self, name: str, register: Register) -> None:
        """From now on it is the one of the name."""
        self.by_name[name] = register
        if name in self.in_use:
            self.in_use[name] = register

    def bring_back(self, name: str, register: Exchange) -> bool:
        """Use one again that was replaced, if nothing has come of the one in its place. Return whether it is used.

        So a kind or value that the record has refused leaves the object that was there before as it was.
        """
        other = self.by_name.get(name)
        if not isinstance(register, Register) or (other is not None and not other.has_come_to_nothing):
            return False
        if other is not None:
            other.is_replaced = True
            self._numbers = max(self._numbers, other.numbers)
        register.is_replaced = False
        register.go_on_from(self._numbers)
        self._put_in_place(name, register)
        return True

    def let_go(self, some: Iterable[tuple[str, Exchange]]) -> None:
        """Let go those whose records know nothing of the session. From then on only the user's objects keep them."""
        for name, register in some:
            if register.is_forgotten:
                self._numbers = max(self._numbers, register.numbers)
                self.in_use.pop(name, None)

    def numbers(self) -> int:
        """The highest number that any ticket or batch has had."""
        return max([self._numbers, *(register.numbers for register in self.by_name.values())])

    def waiting(self) -> list[str]:
        """The names under which a task waits."""
        return [name for name, register in self.in_use.items() if register.is_waiting]

    def doubt(self) -> None:
        """The records may have gone back to what they were."""
        for register in self.in_use.values():
            register.doubt()

    def lose_all(self, exc: SessionLost) -> Iterator[None]:
        """The session is over. Each step tells the tasks that wait under one name."""
        for register in [*self.in_use.values()]:
            register.lose(exc)
            yield
