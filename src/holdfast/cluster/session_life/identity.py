"""The identity of a session, and whether it can be used here and now: its id, process, event loop, and end."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from typing import cast
from weakref import WeakSet

from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import SessionLost
from holdfast.cluster.values_in_messages import shown
from holdfast.instrumentation import installed

from .expiry import Expiry
from .leases import Leases
from .measured_engine import MeasuredEngine

HOW_TO_OPEN = "write 'async with holdfast.connect() as session:'"
HOW_IN_THREADS = "write 'with holdfast.connect().sync as session:'"


def default_label(pid: int) -> str:
    """What a session of a process of this machine is called in reports, if its user does not say."""
    return f"{socket.gethostname()}:{pid}"


class Identity(ABC):
    """One session in one life, from its opening to its end, with what it holds."""

    def __init__(self, engine: Engine, label: str) -> None:
        self.bare_engine = engine
        self._measured = MeasuredEngine(engine)
        self.offers_additions = getattr(engine, "makes_additions", True)
        self.sends_texts: int = getattr(engine, "sends_texts", 0)
        self.polls: float | None = getattr(engine, "polls", None)
        self.label = label
        self.is_told_slow = False
        """Whether the log has been told that the engine is slow."""
        self.id = ""
        """No other session ever has the same; "" before it is open."""
        self.over: SessionLost | None = None
        """Why it has ended, if it has."""
        self.loop: asyncio.AbstractEventLoop
        self.expiry = Expiry(self.lose, self)
        self.leases = Leases()
        self.pid = 0
        """The process that has opened it."""

    @property
    def engine(self) -> Engine:
        """The engine, to call it: if the program has installed hooks, they are told of each call."""
        return cast(Engine, self._measured) if installed.hooks else self.bare_engine

    @property
    def begins_at_once(self) -> bool:
        """Whether the engine lets a request begin in the step of the task that needs it."""
        return getattr(self.bare_engine, "begins_at_once", False)  # an engine of the user's may not have it

    def __repr__(self) -> str:
        state = "not open yet" if not self.id else "over" if self.over else "open"
        return f"<holdfast.cluster.Session {shown(self.label)} {self.id} [{state}]>"

    def __str__(self) -> str:
        """For messages about its end, which are made while it is open."""
        return f"session {shown(self.label)} {self.id}"

    @abstractmethod
    def lose(self, exc: SessionLost) -> None:
        """The session is dead for the others: nothing that it held may be believed held any more."""

    def check(self) -> None:
        """Raise an error if the session cannot be used here and now."""
        if not self.id:
            raise RuntimeError(f"{self!r} is not open; {HOW_TO_OPEN}")
        self.check_alive()
        self.check_loop()

    def is_usable(self) -> bool:
        """Whether check() would raise nothing. What is asked at each acquire and release asks this first."""
        return (
            self.over is None
            and self.id != ""
            and os.getpid() == self.pid  # a fork that runs none of Python's hooks leaves `over` as it is
            and self.expiry.has_nothing_to_do()
            and asyncio.get_running_loop() is self.loop
        )

    def is_alive(self) -> bool:
        """Whether check_alive() would raise nothing."""
        return self.over is None and self.expiry.has_nothing_to_do()

    def check_alive(self) -> None:
        """Raise SessionLost if the session is over, or others may take it for dead already."""
        if self.over is None:
            self.expiry.look()
        if self.over is not None:
            raise SessionLost(str(self.over))

    def check_loop(self) -> None:
        """Raise RuntimeError in another event loop than the session's, before anything is touched that is not safe."""
        self.check_process()
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError(f"{self!r} belongs to the event loop {self.loop!r}; connect() in each loop")

    def check_process(self) -> None:
        """Raise SessionLost in a forked child: the session and its grants are the parent's."""
        if os.getpid() != self.pid:
            raise self._of_another_process()

    def is_inherited(self) -> bool:
        """Whether this process is a fork of the one that opened the session, which goes on there."""
        return os.getpid() != self.pid

    def end_in_child(self) -> None:
        """After a fork: the session goes on in the parent, and nothing that runs in the child may renew or end it."""
        self.over = self._of_another_process()

    def _of_another_process(self) -> SessionLost:
        return SessionLost(f"{self} belongs to process {self.pid}; after a fork the child must connect() itself")

    def _belongs_here(self) -> None:
        """The session is opened in this process and this event loop."""
        self.loop = asyncio.get_running_loop()
        self.pid = os.getpid()


open_here: WeakSet[Identity] = WeakSet()
"""The sessions that were opened in this process."""


def _end_in_child() -> None:
    for session in [*open_here]:
        session.end_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_end_in_child)
