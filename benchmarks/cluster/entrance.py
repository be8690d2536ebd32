"""What a worker process is given, and the shape in which each lock is given to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


class Lock(Protocol):
    """One task's way to the lock that all share."""

    def acquire(self) -> Awaitable[object]: ...
    def release(self) -> Awaitable[object]: ...


@dataclass
class Entrance:
    """One process's way to the lock."""

    lock: Callable[[], Lock]
    """Makes one for each task."""
    swaps: list[float] = field(default_factory=list)
    """When the engine was asked for a change, in seconds of CLOCK_MONOTONIC; where there is an engine."""


@dataclass(frozen=True)
class Seat:
    """One process of those that contend."""

    directory: Path
    """All share it. The lock is there, or files that say where things are."""
    index: int = 0
    """Which of the processes this is."""
    processes: int = 1
    """How many there are."""

    def place(self, thing: str) -> str:
        """Where something is: the port of a server, or the folder of the earlier build."""
        return place(self.directory, thing).read_text(encoding="utf-8")


def place(directory: Path, thing: str) -> Path:
    """The file that says where something is."""
    return directory / f"{thing}.place"


Open = Callable[[Seat], AbstractAsyncContextManager[Entrance]]
