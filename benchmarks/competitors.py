"""The libraries, each with its primitives in the same shape and the loop that it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import aiologic
import anyio
import trio
from tests.pure_twin import import_pure

import holdfast

from . import floors
from .compiled_floor import compile_no_op
from .loops import AsyncioLoop, Loop, TrioLoop

# The shape. Workloads take the functions out of it before they start the clock, so it costs nothing there.


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock or a semaphore. `raw` is the library's object: what goes into `async with`."""

    raw: Any
    acquire: Callable[[], Awaitable[object]]
    release: Callable[[], object]

    @classmethod
    def of(cls, raw: Any) -> Self:
        return cls(raw, raw.acquire, raw.release)


@dataclass(frozen=True, slots=True)
class Condition:
    raw: Any
    acquire: Callable[[], Awaitable[object]]
    release: Callable[[], object]
    wait: Callable[[], Awaitable[object]]
    notify: Callable[[], object]
    notify_all: Callable[[], object]

    @classmethod
    def of(cls, raw: Any) -> Self:
        return cls(raw, raw.acquire, raw.release, raw.wait, raw.notify, raw.notify_all)


@dataclass(frozen=True, slots=True)
class Event:
    raw: Any
    wait: Callable[[], Awaitable[object]]
    set: Callable[[], object]

    @classmethod
    def of(cls, raw: Any) -> Self:
        return cls(raw, raw.wait, raw.set)


@dataclass(frozen=True, slots=True)
class Barrier:
    raw: Any
    wait: Callable[[], Awaitable[object]]

    @classmethod
    def of(cls, raw: Any) -> Self:
        return cls(raw, raw.wait)


class MissingError(Exception):
    """The library has no such primitive."""


class Library:
    """Those with asyncio's names: asyncio, holdfast, trio."""

    def __init__(self, name: str, loop: Loop, module: Any) -> None:
        self.name = name
        self.loop = loop
        self._module = module

    def lock(self) -> Lock:
        return Lock.of(self._module.Lock())

    def semaphore(self, value: int = 1) -> Lock:
        return Lock.of(self._module.Semaphore(value))

    def condition(self, lock: Lock | None = None) -> Condition:
        return Condition.of(self._module.Condition(lock and lock.raw))

    def event(self) -> Event:
        return Event.of(self._module.Event())

    def barrier(self, parties: int) -> Barrier:
        if not hasattr(self._module, "Barrier"):
            raise MissingError
        return Barrier.of(self._module.Barrier(parties))


class Anyio(Library):
    """In tasks of asyncio, cancelled as asyncio does it. `fast`: acquiring what is free does not yield to the loop."""

    def __init__(self, loop: Loop, *, fast: bool) -> None:
        super().__init__("anyio, fast_acquire" if fast else "anyio", loop, anyio)
        self._fast = fast

    def lock(self) -> Lock:
        return Lock.of(anyio.Lock(fast_acquire=self._fast))

    def semaphore(self, value: int = 1) -> Lock:
        return Lock.of(anyio.Semaphore(value, fast_acquire=self._fast))

    def condition(self, lock: Lock | None = None) -> Condition:
        return super().condition(lock or self.lock())


class Aiologic(Library):
    """Its objects are awaited themselves; what has asyncio's names blocks the thread."""

    def __init__(self, loop: Loop) -> None:
        super().__init__("aiologic", loop, aiologic)

    def lock(self) -> Lock:
        raw = aiologic.Lock()
        return Lock(raw, raw.async_acquire, raw.async_release)

    def semaphore(self, value: int = 1) -> Lock:
        raw = aiologic.Semaphore(value)
        return Lock(raw, raw.async_acquire, raw.async_release)

    def condition(self, lock: Lock | None = None) -> Condition:
        lock = lock or self.lock()
        raw = aiologic.Condition(lock.raw)
        return Condition(raw, lock.acquire, lock.release, lambda: raw, raw.notify, raw.notify_all)

    def event(self) -> Event:
        raw = aiologic.Event()
        return Event(raw, lambda: raw, raw.set)

    def barrier(self, parties: int) -> Barrier:
        raw = aiologic.Barrier(parties)
        return Barrier(raw, lambda: raw)


class _NoOps:
    Lock = Semaphore = Condition = Event = floors.NoOp


class _BareFutures:
    Lock = Semaphore = floors.BareSemaphore
    Condition = floors.BareCondition
    Event = floors.BareEvent
    Barrier = floors.BareBarrier


FLOOR, FLOOR_IN_C, ASYNCIO, HOLDFAST, PURE = "floor", "floor in C", "asyncio", "holdfast", "holdfast, pure"

_no_op_in_c = compile_no_op()
_pure = import_pure() if holdfast.accelerated else None


class _NoOpsInC:
    Lock = Semaphore = Condition = Event = _no_op_in_c


class Field:
    """Who takes part on one loop: the floors, asyncio, holdfast in both twins, and the others."""

    def __init__(self, loop: Loop, *guests: Library) -> None:
        self.loop = loop
        self._floors = {module: Library(FLOOR, loop, module) for module in (_NoOps, _BareFutures)}
        self._floor_in_c = [] if _no_op_in_c is None else [Library(FLOOR_IN_C, loop, _NoOpsInC)]
        self._libraries = [
            Library(ASYNCIO, loop, asyncio),
            Library(HOLDFAST, loop, holdfast),
            *([] if _pure is None else [Library(PURE, loop, _pure)]),
            Anyio(loop, fast=False),
            Anyio(loop, fast=True),
            Aiologic(loop),
            *guests,
        ]

    def libraries(self, *, contended: bool) -> list[Library]:
        if contended:
            return [self._floors[_BareFutures], *self._libraries]
        return [self._floors[_NoOps], *self._floor_in_c, *self._libraries]


def fields() -> list[Field]:
    """asyncio's loop, with trio on its own as a guest, and uvloop's where there is one."""
    found = [Field(AsyncioLoop("asyncio"), Library("trio", TrioLoop(), trio))]
    try:
        import uvloop
    except ImportError:
        return found
    return [*found, Field(AsyncioLoop("uvloop", uvloop.new_event_loop))]
