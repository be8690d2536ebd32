"""An event loop whose handles run when the explorer says so. It has a clock of its own, and no I/O.

Several loops of a run share one agenda.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import format_helpers
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack, cast

from .agenda import Agenda, Handle
from .task import Task

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]

_new_handle = Handle.__new__
_new_task = Task.__new__
_init_task = asyncio.Task.__init__
_get_running_loop = asyncio._get_running_loop


class Loop(asyncio.AbstractEventLoop):
    """An event loop without a way to run: an execution takes its handles from the agenda, and runs them."""

    def __init__(self, agenda: Agenda, number: int = 0) -> None:
        self.agenda = agenda
        self.number = number
        self.complain: Callable[[dict[str, Any]], object] = unheard
        """Called with what asyncio would log, such as an exception in a callback."""
        self._closed = False
        self._handler: Handler | None = None
        self._factory: Any = None

    # What asyncio and the explored code call

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        agenda = self.agenda
        if agenda.several:
            self._check_thread()
        handle = _new_handle(Handle)
        handle._callback = callback
        handle._args = args
        handle._context = copy_context() if context is None else context
        handle._loop = self
        handle._cancelled = False
        handle._repr = handle._source_traceback = None
        agenda.ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        handle = asyncio.Handle(callback, args, self, context)
        self.agenda.inbox.append(handle)
        self.agenda.version += 1
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.agenda.now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        agenda = self.agenda
        if agenda.several:
            self._check_thread()
        agenda.looks.timed = True
        agenda.version += 1
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= agenda.now:
            agenda.ready.append(handle)
        else:
            agenda.timers_made += 1
            heapq.heappush(agenda.timers, (when, agenda.timers_made, handle))
        return handle

    def _check_thread(self) -> None:
        """Refuse a plain call from another loop. Each loop stands for one in a thread, which would not notice it."""
        running = _get_running_loop()
        if running is not self and running is not None:
            raise RuntimeError(
                "another event loop was called from this one's thread: write call_soon_threadsafe() instead"
            )

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """TimerHandle.cancel() calls this. Agenda.has_timer() drops the timer."""
        self.agenda.looks.timed = True

    def time(self) -> float:
        self.agenda.looks.timed = True
        return self.agenda.now

    def create_future(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.Future(loop=self)
        self.agenda.futures.append(future)
        return future

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> Task[T]:
        if self._closed:
            raise RuntimeError("Event loop is closed")
        if self._factory is not None:
            if self._factory is not getattr(asyncio, "eager_task_factory", None):
                raise NotImplementedError("of the task factories, only asyncio.eager_task_factory can be explored")
            options.setdefault("eager_start", True)
        agenda = self.agenda
        tasks = agenda.tasks
        task: Task[T] = _new_task(Task)
        task.index = len(tasks)
        task.looks = agenda.looks
        task.made_by_task = asyncio.current_task(self) is not None
        tasks.append(task)
        agenda.version += 1
        try:
            name = f"Task-{len(tasks)}" if name is None else str(name)
            if options or context is not None:
                _init_task(task, coro, loop=self, name=name, context=context, **options)
            else:
                _init_task(task, coro, loop=self, name=name)
        except BaseException:
            tasks.remove(task)
            raise
        return task

    def run_in_executor(self, executor: object, func: Callable[[Unpack[Ts]], T], *args: *Ts) -> asyncio.Future[T]:
        """Call the function in one step, at the moment when its result arrives."""
        future = self.create_future()
        self.call_soon_threadsafe(_call, future, cast(Callable[..., T], func), args)
        return future

    def set_task_factory(self, factory: Any) -> None:
        self._factory = factory

    def get_task_factory(self) -> Any:
        return self._factory

    def set_exception_handler(self, handler: Handler | None) -> None:
        self._handler = handler

    def get_exception_handler(self) -> Handler | None:
        return self._handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.complain(context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._handler is None:
            self.complain(context)
        else:
            self._handler(self, context)

    get_debug = staticmethod(bool)  # False: each task and each future asks

    def is_running(self) -> bool:
        return asyncio._get_running_loop() is self or (self.agenda.several and not self._closed)

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self.agenda.drop(self)


def loop_of(handle: asyncio.Handle) -> Loop:
    """Return the loop of a handle."""
    loop: Loop = handle._loop  # type: ignore[attr-defined]
    return loop


def loops_of(handles: Iterable[asyncio.Handle]) -> list[int]:
    """Return the numbers of the loops of these handles, in the order of the first handle of each."""
    return list(dict.fromkeys(loop_of(handle).number for handle in handles))


def first_of(handles: Iterable[asyncio.Handle], number: int) -> asyncio.Handle:
    """Return the first of these handles in the loop of that number. Raises LookupError if there is none."""
    for handle in handles:
        if loop_of(handle).number == number:
            return handle
    raise LookupError(f"nothing in event loop {number}")


def tell_raised(handle: asyncio.Handle, exc: BaseException) -> None:
    """Tell the loop, as asyncio does, that a callback has raised something."""
    handle = cast(Handle, handle)
    source = format_helpers._format_callback_source(handle._callback, handle._args)
    message = f"Exception in callback {source}"
    handle._loop.call_exception_handler({"message": message, "exception": exc, "handle": handle})


@contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let a loop be the running one."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


def cancel(task: Task[Any]) -> None:
    """Cancel a task, in its own loop. The task does not note it in `Looks`: see Task."""
    with running(task.get_loop()):
        asyncio.Task.cancel(task)


def unheard(context: dict[str, Any]) -> None:
    """Ignore a complaint."""


def _call(future: asyncio.Future[T], function: Callable[..., T], args: tuple[object, ...]) -> None:
    if not future.cancelled():
        try:
            future.set_result(function(*args))
        except Exception as exc:
            future.set_exception(exc)


def _no_io(self: Loop, *args: object, **kwargs: object) -> NoReturn:
    raise NotImplementedError("the explorer's event loop has no I/O, signals or processes: give the scenario a fake")


for _name in vars(asyncio.AbstractEventLoop).keys() - vars(Loop).keys():
    if not _name.startswith("_"):
        setattr(Loop, _name, _no_io)
