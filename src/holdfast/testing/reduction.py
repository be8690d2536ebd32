"""Which schedules need not be run, as they only reorder what does not touch: sleep sets.

Two things that happen one after the other are independent if nobody can see which came first: the run is in the same
state afterwards. Say that an intervention is possible at some point of a run, and that what comes next is independent
of it. Then to do it now and to do it one step later are the same run from there on. The search comes to "now" first,
and does not run "later". So an intervention *sleeps* from where it has been tried until something happens that is not
independent of it; a schedule that would do what sleeps is the same as one that has been run, with as many
interventions of each kind, and with the same steps. (P. Godefroid, Partial-Order Methods for the Verification of
Concurrent Systems, 1996, chapter 5.)

Which of them can sleep, and what wakes them:

- To cancel a task that is about to run: it is only marked, until it runs. Wakes when it runs, or is closed, and when
  somebody asks for the mark, or sets it: Task.cancelling(), cancel(), uncancel(), repr().
- What only puts something at the end of those that are ready: a late task comes, time passes, something arrives. Wakes
  when anything else is put there. A late task also, when a task is made or put into a set (as asyncio.all_tasks() does
  with all); the time also, when somebody looks at the clock or at a timer.

Everything else is taken to touch everything: a task that waits and is cancelled goes to the end of those that are
ready, and the objects of the scenario may be read and written by any step.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .loop import Agenda, Task, task_of
from .run import Run
from .schedule import BASE, CANCEL, DELIVER, END, KILL, LATE, TIMER, Fork, Schedule

Sleeping = dict[int, Schedule]
"""Interventions that sleep, each with a schedule in which it has been tried, and which is the same otherwise."""
Choice = tuple[Sleeping, list[int]]
"""At a fork: what sleeps, and what else will once it has been tried there."""

NOTHING_SLEEPS: Final[Sleeping] = {}


class Sleep:
    """What sleeps at the current point of a run."""

    def __init__(self, run: Run, asleep: Sleeping) -> None:
        self._run = run
        self._agenda = run._loops[0].agenda
        self._asleep = asleep
        self._task = -1
        """The number of the task that takes the next step."""
        self._ready = 0
        """How many handles there will be after it if it makes none; 0 if none is ready, as time may pass then."""
        self._tasks = 0
        self._adds = False

    def choose(self, schedule: Schedule, fork: Fork) -> Choice:
        """Take note of the interventions that are possible; those that are tried here sleep from now on."""
        asleep, step = self._asleep, fork[0]
        tried = [code for code in fork[1] if code not in asleep and can_sleep(code, self._run)]
        if tried:
            self._asleep = {**asleep, **{code: (*schedule, (step, code)) for code in tried}}
        return asleep, tried

    def before_step(self) -> None:
        """Look at what comes next."""
        if self._asleep:
            ready = self._agenda.ready
            if ready:
                task = task_of(ready[0])
                self._task = task.index if isinstance(task, Task) else -1
            self._ready = len(ready) + self._agenda.dropped
            self._listen()

    def after_step(self) -> None:
        """Wake what is not independent of the step that was taken, and of the checks after it."""
        if self._asleep:
            if self._ready == 0:
                self._asleep = NOTHING_SLEEPS
            else:
                self._wake(self._task, len(self._agenda.ready) + self._agenda.dropped >= self._ready)

    def before_intervention(self, code: int) -> None:
        """Look at what comes next."""
        if self._asleep:
            self._adds = code % BASE in (LATE, TIMER, DELIVER, KILL) or (
                code % BASE == CANCEL and not can_sleep(code, self._run)
            )
            self._listen()

    def after_intervention(self, step: int, code: int) -> None:
        """Wake what is not independent of it. What goes on sleeping has been tried in schedules that have it too."""
        number, kind = divmod(code, BASE)
        if kind == END:
            self._asleep = NOTHING_SLEEPS
        elif self._asleep:
            self._wake(number if kind in (CANCEL, KILL) else -1, self._adds)
            self._asleep = {other: (*tried, (step, code)) for other, tried in self._asleep.items()}

    def _listen(self) -> None:
        agenda = self._agenda
        agenda.touched.clear()
        agenda.hashed = agenda.timed = False
        self._tasks = len(agenda.tasks)

    def _wake(self, task: int, adds: bool) -> None:
        """task: the number of the one that ran, or was closed. adds: whether something was put among what is ready."""
        agenda = self._agenda
        touched = {task, *agenda.touched}
        created = len(agenda.tasks) != self._tasks
        awake = {
            LATE: adds or created or agenda.hashed,
            TIMER: adds or agenda.timed,
            DELIVER: adds,
        }
        self._asleep = {
            code: tried
            for code, tried in self._asleep.items()
            if not (code // BASE in touched if code % BASE == CANCEL else awake[code % BASE])
        }


def can_sleep(code: int, run: Run) -> bool:
    """Whether this intervention, now, does no more than is said above of one kind or the other."""
    number, kind = divmod(code, BASE)
    if kind == CANCEL:
        awaited = run._loops[0].agenda.tasks[number]._fut_waiter
        return awaited is None or (type(awaited) in (asyncio.Future, Task) and awaited.done())
    return kind in (TIMER, DELIVER) or (kind == LATE and run._is_plain(number))
