"""What the page shows, as JSON. The engine is looked at when somebody asks, no more often than by `holdfast top`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from holdfast import Lock
from holdfast.cli.reports import as_json, closed
from holdfast.cli.sampling import Sample, Sampler
from holdfast.cluster import Deadlock, Inspection, Session

from .graph import graph
from .wait_times import WaitTimes

UNWATCHED = 60.0
"""Seconds. If a look comes so much later than it was due, nobody was there: what was counted before is forgotten."""
MOST = 200
"""How many holders, and how many waiters, of one name are told at most."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look, and what is told of it."""

    number: int
    sample: Sample
    overview: bytes


class Watched:
    """The names of one session's namespace, for any number of pages."""

    def __init__(self, session: Session, every: float, where: str) -> None:
        """every: the seconds between two looks, at least. where: what the page says of the engine."""
        self._session = session
        self._every = every
        self._where = where
        self._look: Look | None = None
        self._ended = 0.0
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._sampler = Sampler(self._session, self._every)
        self._wait_times = WaitTimes()
        self._since = time.time()

    async def overview(self, after: int) -> bytes:
        """All names, as JSON.

        after: the number of a look. A newer one is returned, as soon as the next one is due.

        Raises as `Sampler.look()`.
        """
        return (await self._newest(after)).overview

    async def detail(self, name: str) -> bytes:
        """One name, as JSON. Raises KeyError if it is not there, and as `Sampler.look()`."""
        look = await self._newest(0)
        one = next((one for one in look.sample.found if one.name == name), None)
        if one is None:
            raise KeyError(name)
        return as_json(self._detail(look, one), indent=None).encode()

    async def graph(self, around: str | None) -> bytes:
        """Who waits for whom, as JSON. around: only what can be reached from this name. Raises as `Sampler.look()`."""
        look = await self._newest(0)
        return as_json(graph(look.sample.found, look.sample.deadlocks, around), indent=None).encode()

    def _detail(self, look: Look, one: Inspection) -> dict[str, object]:
        return {
            "look": look.number,
            "at": look.sample.at,
            "name": one.name,
            "kind": one.kind,
            "made_by": one.made_by,
            "state": one.state,
            "closed": [closed(each) for each in one.closed],
            "holders": one.holders[:MOST],
            "holders_left_out": len(one.holders[MOST:]),
            "waiters": one.waiters[:MOST],
            "waiters_left_out": len(one.waiters[MOST:]),
            "dead": one.dead[:MOST],
            "evictions": one.evictions[:MOST],
            "wait_times": self._wait_times.histogram(one, look.sample.at),
            "watched_since": self._since,
        }

    async def _newest(self, after: int) -> Look:
        """The last look; a new one if that one is too old, or not newer than `after`. It is awaited until it is due."""
        while True:
            async with self._lock:
                due = self._ended + self._sampler.pause() - _now()
                if self._look is None or due <= 0:
                    return await self._next()
                if self._look.number != after:
                    return self._look
            await asyncio.sleep(due)

    async def _next(self) -> Look:
        if _now() - self._ended > UNWATCHED + self._sampler.pause():
            self._forget()
        sample = await self._sampler.look()
        self._wait_times.see(sample.found, sample.at)
        number = 1 if self._look is None else self._look.number + 1
        told = {
            "look": number,
            "at": sample.at,
            "where": self._where,
            "names": sample.rows,
            "deadlocks": [_told(each) for each in sample.deadlocks],
            "silent": [each.name for each in sample.silent],
            "unreadable": sample.unreadable,
        }
        self._look = Look(number, sample, as_json(told, indent=None).encode())
        self._ended = _now()
        return self._look


def _told(deadlock: Deadlock) -> dict[str, object]:
    return {"story": str(deadlock), "names": deadlock.names, "steps": deadlock.steps, "behind": deadlock.behind}


def _now() -> float:
    return asyncio.get_running_loop().time()
