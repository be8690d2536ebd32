"""`Run`: how a scenario starts its tasks, and says what must hold."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from types import CoroutineType, FunctionType, MethodType
from typing import Any, TypeVar

from .loop import Loop, running
from .task import Task

T = TypeVar("T")
Check = Callable[[], object]


class Run:
    """One run of a scenario, under one schedule. A scenario that takes an argument is given it.

    `invariant()`, `at_rest()` and `at_end()` take a check: a plain function that changes nothing. It fails if it raises
    or returns False.
    """

    def __init__(self, loop: Loop) -> None:
        self._loops = [loop]
        self._agenda = loop.agenda
        self._late: list[tuple[str, bool, Callable[[], Coroutine[Any, Any, Any]], Loop]] = []
        self._expected: list[int] = []  # the numbers of the late tasks that have not come
        self._invariants: list[Check] = []
        self._at_rest: list[Check] = []
        self._at_end: list[Check] = []
        self._afterwards: Callable[[], Coroutine[Any, Any, Any]] | None = None
        self._names: dict[str, int] = {}
        self._log: list[object] = []

    def spawn(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        *args: object,
        name: str | None = None,
        must_finish: bool = True,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> asyncio.Task[T]:
        """Start `function(*args)` as a task, and return the task. If it raises an exception, the run has failed.

        function: a coroutine function.
        name: what the story calls the task. The default is the name of the function, with a number if there are more.
        must_finish: False for a task that may wait for ever. When nothing is ready and every task that must finish has
            finished, the others are cancelled, as asyncio.run() does. So are the tasks that tasks have created.
        loop: the event loop in which it runs, if not in the first one; from `another_loop()`.

        Raises TypeError if the function is no coroutine function; ValueError if the loop is not one of this run;
        RuntimeError if it has ended.
        """
        where = self._loops[0] if loop is None else self._known(loop)
        return self._start(self._name(function, name), must_finish, function(*args), where)

    def late(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        *args: object,
        name: str | None = None,
        must_finish: bool = True,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Start a task like `spawn()`, but at any moment: at the latest when nothing else can run.

        The arguments are those of spawn().

        Raises ValueError if the loop is not one of this run.
        """
        where = self._known(loop)
        self._expected.append(len(self._late))
        self._agenda.version += 1
        self._late.append((self._name(function, name), must_finish, partial(function, *args), where))

    def another_loop(self) -> asyncio.AbstractEventLoop:
        """Make one more event loop, which runs as if in a thread of its own, and return it: see `spawn(loop=)`.

        The loops take turns, step by step, and never interrupt a step of one another. `explore(switches=)` lets another
        loop go first. With `deliveries=`, what is sent with call_soon_threadsafe() arrives at any moment. With `ends=`,
        the loop may end while the others go on. To call another loop in any other way than with call_soon_threadsafe()
        raises RuntimeError, as in the debug mode of asyncio.
        """
        first = self._loops[0]
        loop = Loop(self._agenda, len(self._loops))  # type: ignore[abstract]  # the rest raises
        loop.complain = first.complain
        self._agenda.several = True
        self._agenda.version += 1
        self._loops.append(loop)
        return loop

    def invariant(self, check: Check) -> None:
        """Make `check` after each step, when no task is running."""
        self._invariants.append(check)
        self._agenda.version += 1

    def at_rest(self, check: Check) -> None:
        """Make `check` whenever nothing will happen unless time passes or a late task comes.

        This is the place to say that no task sleeps that could run.
        """
        self._at_rest.append(check)

    def at_end(self, check: Check) -> None:
        """Make `check` when all is over. This is the place to say that nothing leaked."""
        self._at_end.append(check)

    def afterwards(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Run `function()` to its end in a new event loop when the loop was ended: see `explore(ends=)`.

        This is the place to say that a primitive is free when the tasks that used it are gone. The other checks are not
        made any more, as those tasks may have been collected within a block.
        """
        self._afterwards = function

    def log(self, event: object) -> None:
        """Note that something happened. The story shows it. Equal schedules must give equal logs.

        event: any object. Its repr is shown and compared, without addresses.
        """
        self._log.append(event)

    def _forget(self) -> None:
        """Drop the functions of the scenario, which mostly refer to this run."""
        self._late.clear()
        self._invariants.clear()
        self._at_rest.clear()
        self._at_end.clear()
        self._afterwards = None

    def _known(self, loop: asyncio.AbstractEventLoop | None) -> Loop:
        if loop is None:
            return self._loops[0]
        if not (isinstance(loop, Loop) and loop in self._loops):
            raise ValueError(f"loop must be one that another_loop() made in this run, not {loop!r}")
        return loop

    def _is_plain(self, number: int) -> bool:
        """Whether starting this late task runs none of the scenario's code: its first step is taken later."""
        _, _, function, loop = self._late[number]
        function = function.func if isinstance(function, partial) else function
        return loop.get_task_factory() is None and is_coroutine_function(function)

    def _start(self, name: str, must_finish: bool, coroutine: Coroutine[Any, Any, T], loop: Loop) -> Task[T]:
        if type(coroutine) is not CoroutineType and not isinstance(coroutine, Coroutine):
            raise TypeError(f"{name!r} is no coroutine function: it returned {coroutine!r}")
        try:
            if loop is asyncio._get_running_loop():
                task = loop.create_task(coroutine, name=name)
            else:
                with running(loop):
                    task = loop.create_task(coroutine, name=name)
        except BaseException:  # the loop is closed
            coroutine.close()
            raise
        task.spawned = True
        task.must_finish = must_finish
        return task

    def _name(self, function: Callable[..., object], wanted: str | None) -> str:
        name = str(wanted or getattr(function, "__name__", type(function).__name__))
        number = self._names[name] = self._names.get(name, 0) + 1
        return name if number == 1 else f"{name}-{number}"


def is_coroutine_function(function: object) -> bool:
    """Whether a call of this only makes a coroutine, and runs nothing of it."""
    if isinstance(function, MethodType):
        function = function.__func__
    return isinstance(function, FunctionType) and bool(function.__code__.co_flags & inspect.CO_COROUTINE)
