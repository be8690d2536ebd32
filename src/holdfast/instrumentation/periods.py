"""A wait and a holding, from the beginning to the end. The hooks that hear of the beginning also hear of the end."""

from __future__ import annotations

import time

from . import installed
from .hook import Outcome


class Wait:
    """Something was asked for, and may have to be waited for. Made only if there are hooks."""

    def __init__(self, kind: str, name: str) -> None:
        self._kind = kind
        self._name = name
        self._asked = time.perf_counter()
        self._told: tuple[installed.Installed, ...] | None = None
        self._forks = installed.forks

    def begin(self) -> None:
        """It is not free: somebody waits. A second call does nothing."""
        if self._told is None:
            self._told = installed.hooks
            installed.tell(self._told, lambda hook: hook.began_to_wait(self._kind, self._name))

    def end(self, outcome: Outcome) -> None:
        """It was granted, or nobody waits for it any more. Does nothing if nobody had to wait, or has ended it."""
        if self._told and self._forks == installed.forks:
            told, self._told = self._told, ()
            seconds = time.perf_counter() - self._asked
            installed.tell(told, lambda hook: hook.waited(self._kind, self._name, seconds, outcome))


class Holding:
    """Something is held from now on. Made only if there are hooks."""

    def __init__(self, kind: str, name: str) -> None:
        self._kind = kind
        self._name = name
        self._began = time.perf_counter()
        self._told = installed.hooks
        self._forks = installed.forks
        installed.tell(self._told, lambda hook: hook.acquired(kind, name))

    def end(self) -> None:
        """It was released or lost."""
        if self._forks != installed.forks:
            return
        seconds = time.perf_counter() - self._began
        installed.tell(self._told, lambda hook: hook.held(self._kind, self._name, seconds))
