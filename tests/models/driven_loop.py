"""An event loop that does nothing by itself: a test says which actor goes on, and when a timeout expires.

So an operation can fall between any two steps of the tasks, and every run can be repeated. Tasks, futures and timeouts
are asyncio's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from dataclasses import dataclass
from typing import Any

_actor: ContextVar[str | None] = ContextVar("actor", default=None)


def go_on_as(actor: str) -> None:
    """Make the running task that of another actor, from its next step on."""
    _actor.set(actor)


@dataclass(frozen=True, slots=True)
class Step:
    """Something that a loop has to run."""

    actor: str | None
    """The actor whose task goes on with it; None for what a primitive schedules for itself."""
    loop: DrivenLoop
    handle: asyncio.Handle

    def run(self) -> None:
        with self.loop.running():
            self.handle._run()

    def is_due_by(self, time: float) -> bool:
        """Whether it is a timer that the loop would call by then."""
        timer = self.handle
        assert isinstance(timer, asyncio.TimerHandle)
        return timer.when() <= time and not timer.cancelled() and not self.loop.is_closed()


class Stage:
    """What is ready to run in the loops of a test, in the order in which it became ready."""

    now = 0.0
    """The time of all loops, in seconds."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._timers: list[Step] = []
        self.errors: list[dict[str, Any]] = []

    def add(self, step: Step) -> None:
        self._steps.append(step)

    def add_timer(self, step: Step) -> None:
        self._timers.append(step)

    def _live(self) -> list[Step]:
        self._steps = [step for step in self._steps if not step.handle.cancelled()]
        return self._steps

    def ready(self) -> list[str]:
        """The actors that can go on, in the order in which they became ready."""
        return list(dict.fromkeys(step.actor for step in self._live() if step.actor is not None))

    def run(self, actor: str | None) -> None:
        """Let an actor go on until it waits. None: run what belongs to no actor."""
        while steps := [step for step in self._live() if step.actor == actor]:
            self._steps.remove(steps[0])
            steps[0].run()

    def settle(self) -> None:
        """Run everything, in order, until nothing moves."""
        while steps := self._live():
            self.run(steps[0].actor)

    def expire(self, actor: str) -> None:
        """Let the timeout of an actor expire, if one is running."""
        for step in self._timers:
            if step.actor == actor and not step.handle.cancelled():
                self._timers.remove(step)
                step.run()
                return

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and call what no actor has timed when it is due. Timeouts expire by `expire()` only."""
        until = self.now + seconds
        while due := [step for step in self._timers if step.actor is None and step.is_due_by(until)]:
            first = min(due, key=lambda step: step.handle.when())
            self._timers.remove(first)
            self.now = max(self.now, first.handle.when())
            first.run()
        self.now = until

    def forget(self, actor: str | None) -> None:
        """Drop what belongs to an actor, or for None, to no actor. It never runs."""
        self._steps = [step for step in self._steps if step.actor != actor]
        self._timers = [step for step in self._timers if step.actor != actor]


class DrivenLoop(asyncio.AbstractEventLoop):
    """A loop on a stage. A stage may have several."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._running = False
        self._closed = False

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the block as if this loop had called it."""
        before = asyncio._get_running_loop()
        asyncio._set_running_loop(self)
        self._running = True
        try:
            yield
        finally:
            self._running = before is self
            asyncio._set_running_loop(before)

    def start(self, actor: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Make a task, and run it until it waits, before all that is ready."""
        context = copy_context()
        context.run(_actor.set, actor)
        task = asyncio.Task(coroutine, loop=self, context=context)
        self._stage.run(actor)
        return task

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self._stage.add(Step(context.get(_actor) if context else None, self, handle))
        return handle

    call_soon_threadsafe = call_soon

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        is_timeout = isinstance(getattr(callback, "__self__", None), asyncio.Timeout)
        self._stage.add_timer(Step(_actor.get() if is_timeout else None, self, timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: cancelled timers are passed over."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
        return asyncio.Task(coro, loop=self, **kwargs)

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True

    def time(self) -> float:
        return self._stage.now

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._stage.errors.append(context)
