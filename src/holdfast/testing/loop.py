"""The event loops of one run: asyncio's, without I/O, with virtual time, and driven from outside, step by step."""

from __future__ import annotations

import asyncio
import heapq
from asyncio import format_helpers
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context, copy_context
from typing import Any, NoReturn, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
Handler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class Task(asyncio.Task[T]):
    """The interpreter's Task. Its hash is its number, so that sets of tasks have the same order in every run.

    It tells the agenda when somebody looks whether it is to be cancelled, or changes that: see reduction.py. Who drives
    the run does so by asyncio.Task.cancel(task), which tells nobody.
    """

    index: int
    agenda: Agenda
    spawned = False
    """Whether the scenario started it, and no other task; its exception fails the run."""
    must_finish = False
    """Whether it is a fault if it waits for ever."""
    hit = False
    """Whether it was cancelled by an intervention."""
    killed = False
    """Whether its coroutine was closed, and it will not run again."""
    _fut_waiter: asyncio.Future[Any] | None
    _log_destroy_pending: bool

    def __hash__(self) -> int:
        self.agenda.hashed = True
        return self.index

    def cancel(self, msg: Any = None) -> bool:
        self.agenda.touched.append(self.index)
        return super().cancel(msg)

    def uncancel(self) -> int:
        self.agenda.touched.append(self.index)
        return super().uncancel()

    def cancelling(self) -> int:
        self.agenda.touched.append(self.index)
        return super().cancelling()

    @property
    def _must_cancel(self) -> bool:
        self.agenda.touched.append(self.index)
        return bool(super()._must_cancel)  # type: ignore[misc]  # the interpreter's has it

    @property
    def _cancel_message(self) -> Any:
        self.agenda.touched.append(self.index)
        return super()._cancel_message  # type: ignore[misc]

    @_cancel_message.setter
    def _cancel_message(self, message: Any) -> None:
        self.agenda.touched.append(self.index)
        asyncio.Task._cancel_message.__set__(self, message)  # type: ignore[attr-defined]


class Handle(asyncio.Handle):
    """asyncio's, made with fewer calls: a run makes one for each step of a task."""

    __slots__ = ()
    _callback: Callable[..., object]
    _args: tuple[Any, ...]
    _context: Context
    _loop: Loop
    _cancelled: bool
    _repr: str | None
    _source_traceback: None


_new_handle = Handle.__new__
_new_task = Task.__new__
_init_task = asyncio.Task.__init__
_get_running_loop = asyncio._get_running_loop


def tell_raised(handle: asyncio.Handle, exc: BaseException) -> None:
    """Say what asyncio says when a callback has raised something."""
    handle = cast(Handle, handle)
    source = format_helpers._format_callback_source(handle._callback, handle._args)
    message = f"Exception in callback {source}"
    handle._loop.call_exception_handler({"message": message, "exception": exc, "handle": handle})


class Agenda:
    """What is ready, what is due later, and what was sent from elsewhere, in all event loops of a run.

    Who drives it decides which comes next. Each handle knows its loop.
    """

    def __init__(self) -> None:
        self.ready: deque[asyncio.Handle] = deque()
        self.inbox: deque[asyncio.Handle] = deque()
        """What call_soon_threadsafe() sent, and has not arrived yet."""
        self.timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self.timers_made = 0
        self.now = 0.0
        self.tasks: list[Task[Any]] = []
        """All tasks, by their numbers."""
        self.futures: list[asyncio.Future[Any]] = []
        self.several = False
        """Whether there is more than one loop, each as if in a thread of its own."""
        self.version = 0
        """Grows when more can happen, or has to be looked at: something was sent, a task was made, and so on."""
        self.dropped = 0
        """How many handles were ready, and cancelled."""
        self.touched: list[int] = []
        """The numbers of tasks of which somebody asked, or changed, whether they are to be cancelled."""
        self.hashed = False
        """Whether a task was made a member of a set, as asyncio.all_tasks() does with all."""
        self.timed = False
        """Whether somebody looked at the clock, or at a timer."""

    def is_idle(self) -> bool:
        """Whether nothing is ready. Handles that were cancelled are dropped, as asyncio does without running them."""
        ready = self.ready
        while ready and ready[0].cancelled():
            ready.popleft()
            self.dropped += 1
        return not ready

    def has_timer(self) -> bool:
        """Whether time can pass until something happens."""
        timers = self.timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        return bool(timers)

    def pass_time(self) -> None:
        """Let it be the time of the next timer, and make ready all that is due then."""
        self.now = self.timers[0][0]
        while self.timers and self.timers[0][0] <= self.now:
            self.ready.append(heapq.heappop(self.timers)[2])

    def drop(self, loop: Loop) -> None:
        """Forget whatever was to happen in a loop. What that destroys may send something to another one."""
        for queue in (self.ready, self.inbox):
            if queue:
                others = [handle for handle in queue if loop_of(handle) is not loop]
                queue.clear()
                queue.extendleft(reversed(others))
        if self.timers:
            self.timers = [timer for timer in self.timers if loop_of(timer[2]) is not loop]
            heapq.heapify(self.timers)


class Loop(asyncio.AbstractEventLoop):
    """An event loop whose handles run when they are told to."""

    def __init__(self, agenda: Agenda, number: int = 0) -> None:
        self.agenda = agenda
        self.number = number
        self.complain: Callable[[dict[str, Any]], object] = unheard
        """Called with what asyncio would log: errors in callbacks, exceptions never retrieved."""
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
        agenda.timed = True
        agenda.version += 1
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when <= agenda.now:
            agenda.ready.append(handle)
        else:
            agenda.timers_made += 1
            heapq.heappush(agenda.timers, (when, agenda.timers_made, handle))
        return handle

    def _check_thread(self) -> None:
        """Each of several loops has a thread of its own. Asleep, it would not notice a plain call from another."""
        running = _get_running_loop()
        if running is not self and running is not None:
            raise RuntimeError(
                "another event loop was called from this one's thread: write call_soon_threadsafe() instead"
            )

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Called by TimerHandle.cancel(); Agenda.has_timer() drops it."""
        self.agenda.timed = True

    def time(self) -> float:
        self.agenda.timed = True
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
        task.agenda = agenda
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
        """Call the function in one go, at the moment when its result arrives."""
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
    """Where a handle runs."""
    loop: Loop = handle._loop  # type: ignore[attr-defined]
    return loop


def task_of(handle: asyncio.Handle) -> object:
    """The task that a handle runs, if it does that."""
    return getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]


def loops_of(handles: Iterable[asyncio.Handle]) -> list[int]:
    """The numbers of the loops in which something would run, in the order of what is first in each."""
    return list(dict.fromkeys(loop_of(handle).number for handle in handles))


def first_of(handles: Iterable[asyncio.Handle], number: int) -> asyncio.Handle:
    """What is first in the loop of that number. Raises LookupError if there is nothing."""
    for handle in handles:
        if loop_of(handle).number == number:
            return handle
    raise LookupError(f"nothing in event loop {number}")


@contextmanager
def running(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Do something in that loop, as if its thread did it."""
    before = asyncio._get_running_loop()
    asyncio._set_running_loop(loop)
    try:
        yield
    finally:
        asyncio._set_running_loop(before)


def unheard(context: dict[str, Any]) -> None:
    """Nobody wants to know."""


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
