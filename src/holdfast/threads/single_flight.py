"""SingleFlight and Once for tasks and threads: one of them does the work, in whatever loop or thread.

What must hold, besides what the task tier's says:

 1. A body of a task runs in a task of its own, in the loop of the caller that began it. A body of a thread runs in that
    thread. Callers of both kinds, with the same key, wait for the same body.
 2. A body may end without a result or an error: its loop ends, its thread is interrupted, somebody cancels it. Its
    other callers have nothing to do with that, so one of them begins it anew.
"""

from __future__ import annotations

import asyncio
from _thread import get_ident
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar
from weakref import ref

from holdfast.blocking.would_block import check_no_loop
from holdfast.tasks import single_flight
from holdfast.tasks.other_loop import send
from holdfast.tasks.single_flight import THE_VALUE, checked_coroutine, own_key_error

from .critical_section import Section
from .event import Event

T = TypeVar("T")
P = ParamSpec("P")


class _Outcome(NamedTuple):
    """What came of a body."""

    result: Any = None
    error: BaseException | None = None

    def taken(self) -> Any:
        """Return the result, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.result


class _Flight:
    """One run of a body, and the callers that wait for it. It changes in the section of its SingleFlight."""

    def __init__(self) -> None:
        self.callers: set[_Caller] = set()
        self.landed = Event()
        self.outcome: _Outcome | None = None
        """Of a flight that has landed; None if its callers have to begin anew."""
        self.is_given_up = False
        """Whether the last caller has left, and the body is being cancelled."""
        self.task: ref[asyncio.Task[Any]] | None = None
        """The task of the body, once it runs. A reference that keeps it would keep it also when its loop was closed:
        then the collector closes the body, which says that it has ended."""
        self.thread: int | None = None
        """The thread of the body, if it is no task."""

    def body(self) -> asyncio.Task[Any] | None:
        """The task of the body, if it runs as one and is still there."""
        return None if self.task is None else self.task()

    def runs_here(self) -> bool:
        """Whether the caller is the body itself."""
        if self.thread is not None:
            return self.thread == get_ident()
        task = self.body()
        return task is not None and asyncio._get_running_loop() is task.get_loop() and asyncio.current_task() is task

    def is_lost(self) -> bool:
        """Whether its event loop was closed with the body in it."""
        task = self.body()
        return task is not None and task.get_loop().is_closed()

    def cancel(self) -> None:
        """Cancel the task of the body, from any thread."""
        task = self.body()
        if task is None or task.done():
            return
        loop = task.get_loop()
        if asyncio._get_running_loop() is loop:
            task.cancel()
        else:
            send(loop, task.cancel)


def _plain(result: T) -> T:
    """Return what a function has returned. Raises TypeError if that is a coroutine, which nobody would await."""
    if asyncio.iscoroutine(result):
        result.close()
        raise TypeError(f"function must be a plain function for a thread: it returned {result!r}; await run() or get()")
    return result


class _Caller:
    """One call of run(). It is made before it boards, so that it can leave, whatever comes between."""

    def __init__(self) -> None:
        self.flight: _Flight | None = None
        self.begins = False
        """Whether the body is its to begin."""


class SingleFlight:
    """Calls with the same key at the same time are one call, among threads and the tasks of any event loops.

    The methods here are for tasks; `sync` is the same object for threads.

    Example::

        flights = holdfast.threads.SingleFlight()

        async def fetch(url):
            ...

        async def page(url):
            return await flights.run(url, fetch, url)  # however many ask at the same time, in any loop, one fetches

    Source: Go's golang.org/x/sync/singleflight, with the cancellation that asyncio has.
    """

    def __init__(self) -> None:
        self._section = Section()
        self._flights: dict[Hashable, _Flight] = {}

    def __repr__(self) -> str:
        cls = type(self)
        return f"<{cls.__module__}.{cls.__qualname__} object at {id(self):#x} [keys:{len(self)}]>"

    def __len__(self) -> int:
        """The number of keys for which a body runs."""
        return len(self._flights)

    def __contains__(self, key: object) -> bool:
        """Whether a body runs for this key."""
        return key in self._flights

    @property
    def sync(self) -> SyncSingleFlight:
        """The same object for threads."""
        return SyncSingleFlight(self)

    async def run(
        self, key: Hashable, function: Callable[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Return what `await function(*args, **kwargs)` returns; if a call with this key is under way, what that does.

        key: what makes calls the same; any value that can be a key of a dictionary.
        function: a coroutine function. Its body runs in a task of its own, in the event loop and a copy of the context
            of the caller that begins it.
        args: what it is called with, besides the arguments by keyword.

        Raises what the body raises, in each of its callers. TypeError if `function` is no coroutine function;
        RuntimeError if the body itself asks for its key, which would wait for ever.

        Cancellation: raises at once. The body goes on as long as another caller waits for it; else it is cancelled, and
        whoever comes then starts anew when it has ended. If somebody cancels the body itself, or its loop ends, another
        caller starts it anew.
        """
        while True:
            caller = _Caller()
            try:
                flight = self._section.run(self._board, key, caller)
                if caller.begins:
                    task = asyncio.create_task(self._fly(key, flight, function, *args, **kwargs))
                    self._watch(key, flight, task)
                    task.add_done_callback(partial(self._land_empty, key, flight))
                    del task
                await flight.landed.wait()
            finally:
                self._section.run_or_defer(self._leave, key, caller)
            if flight.outcome is not None:
                result: T = flight.outcome.taken()
                return result

    async def _fly(
        self,
        key: Hashable,
        flight: _Flight,
        function: Callable[P, Coroutine[Any, Any, Any]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> None:
        """The body, in its task. Its outcome is for the callers, so nothing comes out."""
        task = asyncio.current_task()
        assert task is not None
        self._watch(key, flight, task)  # create_task() has not returned yet if tasks are eager
        outcome = None
        try:
            outcome = _Outcome(await checked_coroutine(function(*args, **kwargs)))
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            outcome = _Outcome(error=error)  # nobody has cancelled the body: what it waited for was cancelled
        except Exception as error:
            outcome = _Outcome(error=error)
        finally:
            self._section.run_or_defer(self._land, key, flight, outcome)

    def _watch(self, key: Hashable, flight: _Flight, task: asyncio.Task[Any]) -> None:
        """Note the task of the body. If it is collected before it has begun, that is its end: its loop was closed."""
        flight.task = ref(task, partial(self._land_empty, key, flight))

    def _run_in_thread(self, key: Hashable, function: Callable[[], T], instead: str) -> T:
        """Run as a thread. instead: what to write in a coroutine."""
        check_no_loop(instead)
        while True:
            caller = _Caller()
            try:
                flight = self._section.run(self._board, key, caller)
                if caller.begins:
                    self._fly_in_thread(key, flight, function)
                else:
                    flight.landed.sync.wait()
            finally:
                self._section.run_or_defer(self._leave, key, caller)
            if flight.outcome is not None:
                result: T = flight.outcome.taken()
                return result

    def _land_empty(self, key: Hashable, flight: _Flight, _: object) -> None:
        """The task of the body has ended. If it was cancelled or collected before it began, nothing else says so."""
        self._section.run_or_defer(self._land, key, flight, None)

    def _fly_in_thread(self, key: Hashable, flight: _Flight, function: Callable[[], Any]) -> None:
        outcome = None
        try:
            flight.thread = get_ident()
            outcome = _Outcome(_plain(function()))
        except Exception as error:
            outcome = _Outcome(error=error)
        finally:
            self._section.run_or_defer(self._land, key, flight, outcome)

    # In the critical section

    def _board(self, key: Hashable, caller: _Caller) -> _Flight:
        """Become a caller of the flight of this key, and return it. A caller of a new one has to begin the body.

        Of a flight that is given up, only its end is waited for: its outcome is none.
        """
        flight = self._flights.get(key)
        if flight is not None and flight.is_lost():
            self._land(key, flight, None)
            flight = None
        if flight is not None and flight.runs_here():
            raise own_key_error(key)
        boarded = _Flight() if flight is None else flight
        boarded.callers.add(caller)
        caller.flight, caller.begins = boarded, flight is None
        self._flights[key] = boarded  # last: from here on, others find it
        return boarded

    def _leave(self, key: Hashable, caller: _Caller) -> None:
        flight = caller.flight
        if flight is None:
            return
        flight.callers.discard(caller)
        if flight.landed.is_set():
            return
        if caller.begins and flight.task is None:  # it was interrupted before the body began, or in its own thread
            self._land(key, flight, None)
        elif not (flight.callers or flight.is_given_up):
            flight.is_given_up = True
            flight.cancel()

    def _land(self, key: Hashable, flight: _Flight, outcome: _Outcome | None) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if not flight.landed.is_set():
            flight.outcome = None if flight.is_given_up else outcome
            flight.task = None  # its callback refers to the flight
            flight.landed.set()


class SyncSingleFlight:
    """A SingleFlight as threads see it."""

    def __init__(self, flights: SingleFlight) -> None:
        """Called by `sync`."""
        self._shared = flights

    def __repr__(self) -> str:
        return f"<sync of {self._shared!r}>"

    def run(self, key: Hashable, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function(*args, **kwargs)` returns; if a call with this key is under way, what that does.

        key: what makes calls the same; any value that can be a key of a dictionary.
        function: a plain function. Its body runs in the thread that begins it.
        args: what it is called with, besides the arguments by keyword.

        Raises what the body raises, in each of its callers; RuntimeError if the call would block a running event loop,
        or if the body itself asks for its key, which would wait for ever.

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out; if that was in the body, another caller begins it anew.
        """
        return self._shared._run_in_thread(key, lambda: function(*args, **kwargs), "await flights.run(key, function)")


class Once(single_flight.Once[T], Generic[T]):
    """A value that is made once, by the first who needs it, among threads and the tasks of any event loops.

    The methods here are for tasks; `sync` is the same value for threads.

    Example::

        settings = holdfast.threads.Once()

        async def handler():
            return await settings.get(load)  # made by the first; the others wait for it

        def work():
            return settings.sync.get(read)  # in a thread: a plain function, which makes the same value

    Source: Go's sync.Once and Rust's OnceCell, with the cancellation that asyncio has.
    """

    _flights: SingleFlight  # type: ignore[assignment]  # it has the part of the task tier's that is used

    def _new_flights(self) -> Any:
        return SingleFlight()

    @property
    def sync(self) -> SyncOnce[T]:
        """The same value for threads."""
        return SyncOnce(self)

    def _get_in_thread(self, function: Callable[[], T]) -> T:
        def make() -> None:
            if not self._is_made:  # as in _make()
                self._keep(_plain(function()))

        if not self._is_made:
            self._flights._run_in_thread(THE_VALUE, make, "await once.get(function)")
        return self._value


class SyncOnce(Generic[T]):
    """A Once as threads see it."""

    def __init__(self, once: Once[T]) -> None:
        """Called by `sync`."""
        self._shared = once

    def __repr__(self) -> str:
        return f"<sync of {self._shared!r}>"

    def is_made(self) -> bool:
        """Whether there is a value."""
        return self._shared.is_made()

    def get(self, function: Callable[[], T]) -> T:
        """Return the value; the first call makes it, by `function()`, and calls meanwhile wait for that.

        function: a plain function without arguments. It runs in the thread that begins it.

        Raises what the body raises, in each caller that waits for it. It is not kept: the next call tries again.
        RuntimeError if the call would block a running event loop, or if the body itself calls get().

        Cancellation: a thread cannot be cancelled. If a signal handler raises meanwhile, as at Ctrl-C, its exception
        comes out; if that was in the body, another caller begins it anew.
        """
        return self._shared._get_in_thread(function)
