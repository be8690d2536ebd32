"""The task that the explorer runs, and the record of what a run has looked at."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

T = TypeVar("T")


class Looks:
    """What a run has read or changed since this was last cleared. reduction.py wakes interventions by it."""

    __slots__ = ("hashed", "timed", "touched")

    def __init__(self) -> None:
        self.touched: list[int] = []
        """The numbers of the tasks whose request to be cancelled was read or changed."""
        self.hashed = False
        """Whether a task was hashed, as to put it into a set does. asyncio.all_tasks() does so with all tasks."""
        self.timed = False
        """Whether the clock or a timer was read."""


class Task(asyncio.Task[T]):
    """The interpreter's Task. Its hash is its number, so that sets of tasks have the same order in every run.

    It takes a note when its request to be cancelled is read or changed. The explorer itself cancels by
    asyncio.Task.cancel(task), which takes no note.
    """

    index: int
    looks: Looks
    made_by_task = False
    """Whether it was made while another task was running."""
    spawned = False
    """Whether the scenario has started the task, not another task. Then its exception fails the run."""
    must_finish = False
    """Whether it is a failure if the task waits for ever."""
    hit = False
    """Whether an intervention has cancelled the task."""
    killed = False
    """Whether the coroutine of the task was closed by an intervention, so that it never runs again."""
    _fut_waiter: asyncio.Future[Any] | None
    _log_destroy_pending: bool

    def __hash__(self) -> int:
        self.looks.hashed = True
        return self.index

    def cancel(self, msg: Any = None) -> bool:
        self.looks.touched.append(self.index)
        return super().cancel(msg)

    def uncancel(self) -> int:
        self.looks.touched.append(self.index)
        return super().uncancel()

    def cancelling(self) -> int:
        self.looks.touched.append(self.index)
        return super().cancelling()

    @property
    def _must_cancel(self) -> bool:
        self.looks.touched.append(self.index)
        return bool(_read(self, "_must_cancel"))

    @_must_cancel.setter
    def _must_cancel(self, must_cancel: bool) -> None:
        """Only a Task written in Python calls this, for itself."""
        vars(self)["_must_cancel"] = must_cancel

    @property
    def _cancel_message(self) -> Any:
        self.looks.touched.append(self.index)
        return _read(self, "_cancel_message")

    @_cancel_message.setter
    def _cancel_message(self, message: Any) -> None:
        self.looks.touched.append(self.index)
        field = _FIELDS_IN_C.get("_cancel_message")
        if field is None:
            vars(self)["_cancel_message"] = message
        else:
            field.__set__(self, message)


_FIELDS_IN_C: dict[str, Any] = {
    name: field
    for name in ("_must_cancel", "_cancel_message")
    if hasattr(field := getattr(asyncio.Task, name, None), "__get__")
}
"""The fields of the interpreter's Task. A Task written in Python, as PyPy's is, has them in its dict."""


def _read(task: Task[Any], name: str) -> object:
    field = _FIELDS_IN_C.get(name)
    return vars(task).get(name) if field is None else field.__get__(task)


def is_over(task: Task[Any]) -> bool:
    """Whether the task will not run again."""
    return task.done() or task.killed


def waits_for_killed(task: Task[Any]) -> bool:
    """Whether the task waits for a task that was closed. It waits for ever then, which is not its fault."""
    return getattr(task._fut_waiter, "killed", False)
