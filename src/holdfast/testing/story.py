"""The story of a run, line by line: which task did what, and where it was then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from .agenda import task_of
from .checks import check
from .describe import has_begun, position, said, shown
from .execution import Execution, Scenario
from .idle import when_idle
from .loop import first_of, loop_of
from .report import Counterexample
from .schedule import (
    BASE,
    CANCEL,
    DELIVER,
    END,
    KILL,
    LATE,
    REORDER,
    STOP,
    SWITCH,
    TIMER,
    Failure,
    MisfitError,
    Rules,
    Schedule,
    flat,
)
from .task import Task
from .verdict import judge_task

TIME_PASSES = "time passes"


class Told(Execution):
    """An execution that writes its story, and looks for a failure after every step."""

    lines: list[str]

    def _begin(self) -> None:
        self.lines = []
        super()._begin()
        self._tell_log(0)
        check(self)

    def _advance(self, until: int) -> bool:
        logged = len(self.log)
        number = self.steps
        if self.agenda.is_idle():
            line = self._tell_idle()
            going_on = super()._advance(number + 1)
            if line:
                self.lines.append(f"{number:5}  {line}{self._tell_time() if line == TIME_PASSES else ''}")
        else:
            handle = self.agenda.ready[0]
            task = task_of(handle)
            verb = "goes on" if isinstance(task, Task) and has_begun(task) else "starts"
            self.lines.append(f"{number:5}  {_callback(handle)} runs")
            place = len(self.lines) - 1
            try:
                going_on = super()._advance(number + 1)
            finally:
                if isinstance(task, Task):
                    self.lines[place] = f"{number:5}  {task.get_name()} {verb}, {_outcome(task)}"
                self._tell_log(logged)
            if isinstance(task, Task) and task.done() and task.spawned and not task.cancelled():
                judge_task(self, task)
        check(self)
        return going_on

    def _tell_idle(self) -> str:
        kind = when_idle(self)
        if kind == DELIVER:
            return self._tell_delivery(self.agenda.inbox[0])
        if kind == LATE:
            return f"{self.run._late[self.run._expected[0]][0]} comes, as nothing else can run"
        if kind == STOP:
            return "every task that must finish has finished: the others are cancelled"
        return TIME_PASSES if kind == TIMER else ""

    def _tell_time(self) -> str:
        return f": it is {self.agenda.now:g} s"

    def _tell_log(self, logged: int) -> None:
        self.lines += [f"         log: {said(event)}" for event in self.log[logged:]]

    def _intervene(self, code: int) -> None:
        self.lines.append(f"   >>  {self._tell_intervention(code)}")
        logged = len(self.log)
        try:
            super()._intervene(code)
            if code == TIMER:
                self.lines[-1] += self._tell_time()
        finally:
            self._tell_log(logged)
        check(self)

    def _tell_intervention(self, code: int) -> str:
        number, kind = divmod(code, BASE)
        try:
            if kind == LATE:
                return f"{self.run._late[number][0]} comes"
            if kind == CANCEL:
                return f"cancel {self._tell_task(self.agenda.tasks[number])}"
            if kind == KILL:
                return f"close the coroutine of {self._tell_task(self.agenda.tasks[number])}"
            if kind == REORDER:
                overtaken = "1 callback that is ready" if number == 1 else f"{number} callbacks that are ready"
                return f"{_callback(self.agenda.ready[number])} overtakes {overtaken}"
            if kind == DELIVER:
                return self._tell_delivery(first_of(self.agenda.inbox, number))
            if kind == SWITCH:
                return f"event loop {number} goes first: {_callback(first_of(self.agenda.ready, number))}"
        except LookupError:
            pass  # _intervene() will say so
        if kind == END:
            if number:
                return f"event loop {number} ends"
            return "all event loops end" if self.agenda.several else "the loop ends"
        return TIME_PASSES if kind == TIMER else f"{code}"

    def _tell_delivery(self, handle: asyncio.Handle) -> str:
        where = f" in event loop {loop_of(handle).number}" if self.agenda.several else ""
        return f"{_callback(handle)} arrives from call_soon_threadsafe(){where}"

    def _tell_task(self, task: Task[Any]) -> str:
        about_to = any(task_of(handle) is task for handle in self.agenda.ready)
        state = "about to go on " if about_to and has_begun(task) else ""
        return f"{task.get_name()}, which is {state}{position(task)}"


def tell(
    scenario: Scenario, rules: Rules, schedule: Schedule, compare: Callable[[Schedule, Execution], None]
) -> Counterexample | None:
    """Run a schedule, and return its story if it fails.

    compare: called after the run. It may say that the run has failed.

    Raises MisfitError if the schedule cannot be carried out.
    """
    told = Told(scenario, rules)
    told.execute(schedule)
    compare(schedule, told)
    return None if told.failure is None else _counterexample(schedule, told, told.failure)


def tell_complaint(scenario: Scenario, rules: Rules, schedule: Schedule, context: dict[str, Any]) -> Counterexample:
    """Run a schedule again, and return its story. asyncio complained of it when the run was over."""
    cause = context.get("exception")
    told = Told(scenario, rules)
    told.execute(schedule)
    message = f"{said(context.get('message'))}: {shown(cause)}"
    return _counterexample(schedule, told, Failure("unhandled", message, cause))


def tell_nondeterminism(misfit: MisfitError) -> Counterexample:
    """Return a counterexample without a story: the scenario does not do the same when it is run again."""
    message = (
        f"the scenario does not do the same when it is run again: {misfit}. Look for state that is kept "
        "between runs, sets of objects, random numbers, clocks"
    )
    return Counterexample("not deterministic", message, (), (), (), None)


def _counterexample(schedule: Schedule, told: Told, failure: Failure) -> Counterexample:
    return Counterexample(
        failure.kind, failure.message, flat(schedule), tuple(told.lines), tuple(told.log), failure.cause
    )


def _callback(handle: asyncio.Handle) -> str:
    task = task_of(handle)
    if isinstance(task, Task):
        return task.get_name()
    callback: Any = handle._callback  # type: ignore[attr-defined]
    return f"callback {getattr(callback, '__qualname__', callback)}()"


def _outcome(task: Task[Any]) -> str:
    if not task.done():
        return f"waits {position(task)}"
    if task.cancelled():
        return "is cancelled"
    if task._exception is not None:  # exception() would count as retrieving it
        return f"raises {shown(task._exception)}"
    return "finishes"
