"""The state of one run. What drives the run, intervenes in it, ends it or judges it works on this."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from .agenda import Agenda
from .describe import shown
from .loop import Loop
from .reduction import Choice
from .run import Run
from .schedule import Failure, Fork, Rules
from .task import Task, is_over


class State:
    """Where one run is."""

    def __init__(self, rules: Rules) -> None:
        self.complaints: list[dict[str, Any]] = []
        """What asyncio would have logged."""
        self.agenda = Agenda()
        self.run = Run(self.first_loop())
        self.steps = 0
        """How many steps were taken."""
        self.forks: list[Fork] = []
        """The points, after those of the schedule, at which interventions are possible."""
        self.choices: list[Choice] = []
        """For each fork, which of its interventions need not be tried."""
        self.failure: Failure | None = None
        self.rules = rules
        self.left = list(rules.budgets)
        """How many interventions of each kind are left."""
        self.shielded: asyncio.Task[Any] | None = None
        """The main task, if interventions leave it alone."""
        self.hit: list[Task[Any]] = []
        """The tasks that were cancelled by an intervention, and have not run since."""
        self.any_hit = False
        """Whether an intervention was made that lets tasks raise CancelledError."""
        self.stopped = False
        """Whether the tasks that need not finish were cancelled."""
        self.closing: Failure | None = None
        """What a coroutine raised when it was closed."""
        self.remains: list[weakref.ref[Task[Any]]] = []
        """The tasks of the loops that were ended."""
        # What was possible when it was last asked, if no intervention but to cancel a task was: see interventions.py.
        self.codes: tuple[int, ...] = ()
        self.cancellable: list[Task[Any]] = []
        self.version = -1  # of the agenda at that time; -1 if it must be asked again

    @property
    def log(self) -> list[object]:
        """What the scenario has logged."""
        return self.run._log

    def unfinished(self) -> list[Task[Any]]:
        """Return the tasks that have neither ended nor been closed."""
        return [task for task in self.agenda.tasks if not is_over(task)]

    def first_loop(self) -> Loop:
        """Make the event loop that a run begins with, or goes on with when all loops were ended."""
        loop = Loop(self.agenda)  # type: ignore[abstract]  # the rest raises
        loop.complain = self.complaints.append
        return loop

    def start(self, name: str, must_finish: bool, function: Callable[[], Coroutine[Any, Any, Any]], loop: Loop) -> None:
        """Start a task. Raises Failure if that raises."""
        try:
            self.run._start(name, must_finish, function(), loop)
        except Exception as exc:
            raise Failure("exception", f"{name} could not be started: {shown(exc)}", exc) from exc
