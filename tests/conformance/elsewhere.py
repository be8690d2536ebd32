"""A session in another process, for the suite. Each call made here is carried out there, in a task of its own."""

from __future__ import annotations

import asyncio
import functools
import itertools
from typing import Any, Self

from tests.cluster.worker import Worker, WorkerError

from holdfast import Closed
from holdfast.cluster import LeaseLost, SessionLost

from .adapter import RWLock

RAISED = {
    each.__name__: each
    for each in (
        asyncio.CancelledError,
        asyncio.BrokenBarrierError,
        Closed,
        LeaseLost,
        RuntimeError,
        SessionLost,
        ValueError,
    )
}
SET_UP = """
    import inspect
    from counting import Requests
    from holdfast.cluster.session_life.exchange import GATHERING

    objects, requests = {}, Requests()
    requests.count(session.engine)

    async def call(number, name, *args, **options):
        result = getattr(objects[number], name)
        result = result(*args, **options) if callable(result) else result
        result = await result if inspect.isawaitable(result) else result
        return result if isinstance(result, (bool, int, type(None))) else True  # a grant

    async def pass_by(iterations):
        for seconds in (0, 2 * GATHERING):  # as in `cluster_tier.settle()`
            await asyncio.sleep(seconds)
            for _ in range(iterations):
                await asyncio.sleep(0)
        return [requests.made, requests.under_way]

    globals().update(objects=objects, call=call, pass_by=pass_by)
"""


class SessionElsewhere:
    """A session in another process. Use it with `async with`."""

    def __init__(self, url: str, **options: Any) -> None:
        self.worker = Worker(url, **options)
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        await self.worker.__aenter__()
        await self.worker.do(SET_UP)
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert await self.worker.end() == 0
        await self.worker.__aexit__(*exc)

    async def pass_by(self, iterations: int) -> tuple[int, int]:
        """Let the loop there run so many iterations; return how many requests were made there, and are under way."""
        made, under_way = await self.worker.do(f"return await pass_by({iterations})")
        return made, under_way

    def lock(self, name: str) -> Elsewhere:
        return self._make(f"session.lock({name!r})")

    def event(self, name: str) -> Elsewhere:
        return self._make(f"session.event({name!r})")

    def condition(self, name: str, lock: Elsewhere) -> Elsewhere:
        return self._make(f"session.condition({name!r}, objects[{lock.number}])")

    def semaphore(self, name: str, value: int) -> Elsewhere:
        return self._make(f"session.semaphore({name!r}, {value})")

    def bounded_semaphore(self, name: str, value: int) -> Elsewhere:
        return self._make(f"session.bounded_semaphore({name!r}, {value})")

    def barrier(self, name: str, parties: int) -> Elsewhere:
        made = self._make(f"session.barrier({name!r}, {parties})")
        made.parties = parties
        return made

    def rw_lock(self, name: str) -> RWLock:
        made = self._make(f"session.rw_lock({name!r})")
        return RWLock(*(self._make(f"objects[{made.number}].{side}") for side in ("reader", "writer")))

    def rate_limiter(self, name: str, rate: float, per: float, *, burst: int) -> Elsewhere:
        return self._make(f"session.rate_limiter({name!r}, {rate!r}, {per!r}, burst={burst!r})")

    def _make(self, expression: str) -> Elsewhere:
        made = Elsewhere(self.worker, next(self._numbers))
        self.worker.begin(f"objects[{made.number}] = {expression}")  # carried out before the calls that follow
        return made


class Elsewhere:
    """A primitive of that session."""

    parties = 0

    def __init__(self, worker: Worker, number: int) -> None:
        self.number = number
        self._worker = worker

    def __getattr__(self, name: str) -> Any:
        return self._call(name) if name in ("n_waiting", "broken") else functools.partial(self._call, name)

    async def _call(self, name: str, *args: Any, **options: Any) -> Any:
        """Make the call there. If this is cancelled, cancel the task there, and return or raise what that does."""
        there = self._worker.begin(f"return await call({self.number}, {name!r}, *{args!r}, **{options!r})")
        while not there.done():
            try:
                await asyncio.wait([there])
            except asyncio.CancelledError as exc:
                self._worker.cancel(there, *exc.args)
        try:
            return there.result()
        except WorkerError as exc:
            raise RAISED[exc.kind](*[exc.text] * bool(exc.text)) from exc

    async def __aenter__(self) -> Any:
        return await self._call("wait" if self.parties else "acquire")

    async def __aexit__(self, *exc: object) -> None:
        if not self.parties:
            await self._call("release")
