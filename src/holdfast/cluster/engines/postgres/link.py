"""A session's link to its server: its connections, and its tasks.

One connection is enough for requests and wake-ups, as the server sends a notification between two answers. On a
connection, statements run one after another, so one that waits for its turn behind other sessions holds up those behind
it. Where requests have to wait for that, the link takes some connections more, until they are not needed.

Statements run in tasks of the link's. So the cancellation of a task that waits for an answer never reaches asyncpg. It
would raise before the server has cancelled the statement: that may be done all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.cluster.background import begin, begin_at_once
from holdfast.cluster.engines.far_link import FarLink, Unreachable
from holdfast.cluster.engines.inherited import blank
from holdfast.cluster.errors import EngineError, SessionLost

from .failures import Missing
from .lane import Lane, Script, Statement
from .server import Server, setting_up

if TYPE_CHECKING:
    from asyncpg import Record

_CROWDED = 0.02
"""Seconds for which a request may wait for those before it, until another connection is made."""
_IDLE = 10.0
"""Seconds after which a connection that is not needed is closed."""


class _Request(NamedTuple):
    make: Callable[[], Statement]
    answer: asyncio.Future[list[Record]]


class Link(FarLink):
    """The link of one session. Its methods are called in the session's event loop."""

    def __init__(self, server: Server, patience: float) -> None:
        """patience: seconds until an answer is given up."""
        super().__init__(patience)
        self.server = server
        self.name = server.name
        """What messages call the server."""
        self.number = 1
        """How many times a connection may have been lost, and one: see `tables`."""
        self.has_begun = False
        """Whether the server knows of the session."""
        self.on_reconnect: Callable[[], None] = lambda: None
        """Called when the connection for wake-ups has been made again."""
        self.main = self._new_lane(self._main_lost)
        """The lane with the wake-ups."""
        self._lanes = [self.main]
        self._asked: deque[_Request] = deque()
        self._widening: asyncio.Handle | None = None
        self._is_doubted = False  # whether a request may be under way on a connection that was lost
        self._renumbering = asyncio.Lock()
        self._is_reconnecting = False

    def _new_lane(self, on_break: Callable[[], None]) -> Lane:
        return Lane(self.server, self.patience, self.begin, on_break)

    def open(self, session: str, reach_until: float) -> None:
        """Let a session use the link; the first request connects."""
        self.begin_session(session, reach_until)
        self._loop = asyncio.get_running_loop()
        self.has_begun = False

    # Requests

    def put(self, make: Callable[[], Statement], is_first: bool = False) -> asyncio.Future[list[Record]]:
        """Let a statement be done after those before it; return a future of the rows, which need not be awaited.

        make: is called when its turn has come, so that it knows what the answers to the others have told. If the future
        has been cancelled by then, nothing is asked for. What it raises is raised to who awaits the future; else that
        raises EngineError.
        is_first: whether the others can wait. It gets a connection more than others may take.
        """
        request = _Request(make, self._loop.create_future())
        (self._asked.appendleft if is_first else self._asked.append)(request)
        if is_first and self.has_begun and all(lane.is_busy for lane in self._lanes):
            self._widen(beyond=1)
        else:
            self._go_on()
        return request.answer

    async def ask(self, *statement: Any) -> list[Record]:
        """The rows of one statement, which is tried once. Raises EngineError."""
        return await self.put(lambda: statement)

    def _go_on(self) -> None:
        """Begin with what is asked for, in this step of the loop where a connection is free."""
        if not self._asked:
            return
        lane = next((lane for lane in self._lanes if not lane.is_busy), None)
        if lane is not None:
            self._work(lane)
        elif self._widening is None and len(self._lanes) < self.server.most_connections:
            self._widening = self._loop.call_later(_CROWDED, self._widen)

    def _widen(self, beyond: int = 0) -> None:
        """Take another connection, if somebody still waits for one. beyond: how many more than there may be."""
        if self._widening is not None:
            self._widening.cancel()
            self._widening = None
        if self._asked and not self.is_closed and self.has_begun:
            most = self.server.most_connections
            is_full = most == 1 or len(self._lanes) >= most + beyond
            if all(lane.is_busy for lane in self._lanes) and not is_full:
                lane = self._new_lane(lambda: None)
                lane.is_settled = self.main.is_settled
                self._lanes.append(lane)
            self._go_on()

    def _work(self, lane: Lane) -> None:
        lane.is_busy = True
        work = partial(self._work_off, lane)
        if lane.is_connected:
            task = begin_at_once(self._loop, work, self.task_name)
        else:  # connecting takes a timeout, which belongs to a task
            task = begin(self._loop, work, self.task_name)
        if task is not None:
            self.keep(task)
            task.add_done_callback(partial(self._work_ended, lane))

    def _work_ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        """It goes on where a program has cancelled all tasks there are, this one included."""
        if task.cancelled() and not (self.is_closed or self._loop.is_closed()):
            lane.is_busy = False
            self._loop.call_soon(self._go_on)

    async def _work_off(self, lane: Lane) -> None:
        try:
            while self._asked:
                request = self._asked.popleft()
                if not request.answer.done():
                    await self._answer(lane, request)
        finally:
            lane.is_busy = False
        if lane is not self.main:
            self._loop.call_later(_IDLE, self._narrow, lane)

    def _narrow(self, lane: Lane) -> None:
        """Close a connection that is not needed any more."""
        if lane in self._lanes and not (lane.is_busy or self.is_closed):
            self._lanes.remove(lane)
            self.begin(lane.close)

    async def _answer(self, lane: Lane, request: _Request) -> None:
        answer = request.answer
        try:
            await lane.connected(self.limit())
            if self._is_doubted:
                await self._renumber(lane)
            rows = await lane.run(*request.make())
        except asyncio.CancelledError:
            self._doubt(lane)  # what the server does now is not known
            lane.hang_up()
            _fail(answer, Unreachable("the connection was lost"))
            raise
        except Missing as exc:
            _fail(answer, self._emptied(exc) if self.has_begun else exc)
        except Exception as exc:
            self._doubt(lane)
            _fail(answer, exc)
        else:
            if not answer.done():
                answer.set_result(rows)

    def doubt(self) -> None:
        """A request may be under way on a connection that was lost. It is not to be done any more."""
        self._is_doubted = self.has_begun

    def _doubt(self, lane: Lane) -> None:
        if not lane.is_connected:
            self.doubt()

    async def _renumber(self, lane: Lane) -> None:
        """Tell the server, before anything else is asked for; see `tables`. Raises EngineError."""
        async with self._renumbering:
            if self._is_doubted:
                await lane.run("SELECT SCHEMA.reconnected($1, $2)", self.session, self.number + 1)
                self.number += 1
                self._is_doubted = False

    def _emptied(self, exc: Missing) -> SessionLost:
        """The error to raise where the tables have gone, and the session's row with them."""
        return SessionLost(f"session {self.session} is over: {self.name} has lost it. {exc}")

    # The connections

    @property
    def is_connected(self) -> bool:
        """Whether the connection for wake-ups is not known to be broken."""
        return self.main.is_connected

    async def from_another_connection(self, *statement: Any) -> None:
        """Run a statement on a connection that is made for it. Raises EngineError."""
        lane = self._new_lane(lambda: None)

        async def run() -> None:
            await lane.connected(self.limit())
            try:
                await lane.run(*statement)
            finally:
                await lane.close()

        await self.begin(run)

    async def settle(self) -> None:
        """A pooler is in between, and can be relied on. Raises EngineError."""
        self.main.is_settled = True
        await self.put(lambda: (Script(setting_up(self.server, self.patience)),))

    def _main_lost(self) -> None:
        """Connect at once, not with the next request: it takes several round trips, and what was missed is read."""

        async def reconnect() -> None:
            try:
                with contextlib.suppress(EngineError, SessionLost):  # the next request tells
                    await self.insist(self._reconnected)
            finally:
                self._is_reconnecting = False
            if not self.is_closed:
                self.on_reconnect()

        if self.has_begun and not (self.is_closed or self._loop.is_closed() or self._is_reconnecting):
            self._is_reconnecting = True
            self.begin(reconnect)

    async def _reconnected(self) -> None:
        if not self.main.is_connected and not self.main.is_busy:
            self._asked.appendleft(_Request(lambda: ("SELECT",), self._loop.create_future()))
            answer = self._asked[0].answer
            self._work(self.main)
            await answer
        if not self.main.is_connected:
            raise Unreachable("the connection was lost")

    # Its end

    async def close(self) -> None:
        """Cancel the link's tasks, and close its connections."""
        self.is_closed = True
        if self._widening is not None:
            self._widening.cancel()
        try:
            await self.end_tasks()
        finally:
            for request in self._asked:
                _fail(request.answer, SessionLost(f"session {self.session} was closed"))
            self._asked.clear()
            await asyncio.gather(*[lane.close() for lane in self._lanes])

    def close_in_child(self) -> None:
        """After a fork: whatever the child does with the link, it reaches neither the server nor the parent."""
        self.is_closed = True
        for lane in self._lanes:
            transport = getattr(lane.connection, "_transport", None)  # there is no public way to it
            socket = None if transport is None else transport.get_extra_info("socket")
            if socket is not None and socket.fileno() >= 0:
                blank(socket.fileno())


def _fail(answer: asyncio.Future[Any], exc: Exception) -> None:
    if not answer.done():
        answer.set_exception(exc)
        answer.exception()  # so that the loop does not complain if nobody looks at it
