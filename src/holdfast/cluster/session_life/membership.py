"""A session's present life, and the next one: how it is opened and closed, and opens again after it was lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import Callable, Iterator

from holdfast.cluster.background import begin
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import SessionLost
from holdfast.cluster.values_in_messages import shown

from . import told
from .identity import HOW_IN_THREADS, HOW_TO_OPEN, default_label
from .life import ENDING, Life, OnSaid


class Membership:
    """What a session is to its primitives. `Session` has what users call."""

    def __init__(
        self,
        engine: Engine,
        label: str,
        anew: Callable[[], Engine] | None = None,
        loop_may_block: float | None = None,
    ) -> None:
        """Called by `holdfast.connect()`.

        anew: makes another engine, if the session is to open again after it was lost.
        loop_may_block: see `holdfast.connect()`.
        """
        self.label = label
        """What it is called in reports."""
        self._loop_may_block = loop_may_block
        self._life = Life(engine, label, loop_may_block=loop_may_block, on_said=self._hears())
        self._anew = anew
        self._opening = False
        self._closed = False
        self._reopening: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return repr(self._life)

    async def _open(self) -> None:
        if self._life.id or self._opening:
            raise RuntimeError(f"{self!r} has been opened before; call holdfast.connect() for another one")
        self._opening = True
        try:
            await self._life.open()
            told.opened(self._life)
        finally:
            self._opening = False

    @property
    def _opens_by_itself(self) -> bool:
        """Whether it opens again after a loss, when it is next used."""
        return self._anew is not None and not self._closed

    def _begin_in_child(self) -> None:
        """In a forked child: begin anew, not open yet. Only if it opens by itself."""
        assert self._anew is not None
        if self.label == default_label(self._life.pid):
            self.label = default_label(os.getpid())
        self._life = self._next_life(self._anew())
        self._opening, self._reopening = False, None

    async def _close(self) -> None:
        if not self._life.id or self._life.is_inherited():
            return
        self._life.check_loop()
        self._closed = True
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening], timeout=ENDING)
        await self._life.close("was closed")

    def __del__(self) -> None:
        """End a session that the program has dropped without close(), with a ResourceWarning."""
        life = getattr(self, "_life", None)
        if life is not None and life.id and life.over is None and not life.is_inherited():
            try:
                what = f"{life!r} was dropped without close(); {HOW_TO_OPEN}, or {HOW_IN_THREADS}"
                warnings.warn(what, ResourceWarning, 2, source=self)
            finally:
                life.abandon()

    def _check(self) -> None:
        """Raise an error if the session cannot be used here and now."""
        try:
            self._life.check()
        except SessionLost as exc:
            if self._life.is_inherited():
                raise
            how = "for another one" if self._closed else "anew, or with reopen=True: then it opens again by itself"
            raise SessionLost(f"{exc}; connect() {how}") from None

    @contextlib.contextmanager
    def _telling_why(self) -> Iterator[None]:
        """Around what is asked of the engine. Where the session ends meanwhile, the engine knows only that it ended."""
        try:
            yield
        except SessionLost:
            self._check()
            raise

    def _is_ready(self) -> bool:
        """Whether _ready() would do nothing and raise nothing. Who is in a hurry asks this first."""
        life = self._life
        return life.is_usable() and (self._anew is None or life.bare_engine.ttl is not None)

    async def _ready(self) -> None:
        """As _check(), but a session that was lost and may open again does so first. Raises EngineError if it cannot.

        Cancellation: raises at once; the opening goes on.
        """
        if self._anew is not None and self._life.id and not self._closed:
            self._life.check_loop()
            if self._life.over is None:
                self._life.expiry.look()
            await self._life.renewal.look_if_idle()
            while self._life.over is not None and not self._closed:
                await self._reopen()
        self._check()

    async def _reopen(self) -> None:
        """Open it under another identity, or wait for that if it is under way."""
        if self._reopening is None:
            self._reopening = begin(self._life.loop, self._live_anew, f"opening of session {shown(self.label)}")
            self._reopening.add_done_callback(self._reopened)
        task = self._reopening
        await asyncio.wait([task])
        if not task.cancelled():  # as by a program that cancels all its tasks: then once more
            task.result()

    async def _live_anew(self) -> None:
        assert self._anew is not None
        life = self._next_life(self._anew())
        await life.open()
        self._life = life
        told.reopened(life)

    def _next_life(self, engine: Engine) -> Life:
        return Life(engine, self.label, self._life.registers.numbers(), self._loop_may_block, self._hears())

    def _hears(self) -> OnSaid | None:
        """What takes what other sessions say and ask; see `Life`."""
        return None

    def _reopened(self, task: asyncio.Task[None]) -> None:
        self._reopening = None
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more
