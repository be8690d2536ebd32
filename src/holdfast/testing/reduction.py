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

Sleeping = dict[int, tuple[int, int]]
"""Interventions that sleep: of each, at which step it has been tried, and after how many others of the schedule."""
Choice = tuple[Sleeping, list[int], tuple[int, int]]
"""At a fork: what sleeps; what else will once it has been tried there; and where that is."""

NOTHING_SLEEPS: Final[Sleeping] = {}
NO_CHOICE: Final[Choice] = (NOTHING_SLEEPS, [], (0, 0))
_, NO_CODES, NOWHERE = NO_CHOICE


class Sleep:
    """What sleeps at the current point of a run."""

    def __init__(self, run: Run, asleep: Sleeping, interventions: int) -> None:
        self._run = run
        self._agenda = run._agenda
        self._asleep = asleep
        self._interventions = interventions
        self._others = bool(asleep)
        """Whether anything sleeps that is not a cancellation."""
        self._wakes = -1
        """The intervention that would cancel the task that takes the next step."""
        self._ready = -1
        """How many handles are ready before it; 0 if none is, and time may pass; -1 before the first step."""
        self._tasks = 0

    def between_steps(self, step: int, codes: tuple[int, ...]) -> Choice:
        """Wake what is not independent of the step that was taken, and of the checks after it; look at what comes next.

        codes: the interventions that are possible. Those of them that can sleep do from now on, as they are tried here.
        """
        agenda = self._agenda
        asleep, ready = self._asleep, agenda.ready
        there = len(ready)
        if asleep and self._ready >= 0:
            if self._ready == 0:
                asleep = NOTHING_SLEEPS
            elif self._others or agenda.touched:
                asleep = self._awake(self._wakes, there + agenda.dropped >= self._ready)
            elif self._wakes in asleep:
                asleep = asleep.copy()
                del asleep[self._wakes]
        choice = asleep, NO_CODES, NOWHERE
        tried = [code for code in codes if code not in asleep and can_sleep(code, self._run)]
        if tried:
            where = self._interventions, step
            choice = asleep, tried, where
            asleep = {**asleep, **dict.fromkeys(tried, where)}
            self._others = self._others or any(code % BASE != CANCEL for code in tried)
        self._asleep = asleep
        if asleep:
            if there:
                task = task_of(ready[0])
                self._wakes = CANCEL + BASE * task.index if isinstance(task, Task) else -1
                there += agenda.dropped
            self._ready = there
            self._listen()
        return choice

    def before_intervention(self) -> None:
        """Look at what comes next."""
        self._listen()

    def after_intervention(self, code: int, adds: bool) -> None:
        """Wake what is not independent of it.

        adds: whether it may have put something among what is ready.
        """
        number, kind = divmod(code, BASE)
        if kind == END:
            self._asleep = NOTHING_SLEEPS
        else:
            self._asleep = self._awake(CANCEL + BASE * number if kind in (CANCEL, KILL) else -1, adds)

    def _listen(self) -> None:
        agenda = self._agenda
        agenda.touched.clear()
        agenda.hashed = agenda.timed = False
        self._tasks = len(agenda.tasks)

    def _awake(self, wakes: int, adds: bool) -> Sleeping:
        """What is left asleep.

        wakes: the intervention that would cancel the task that ran, or was cancelled or closed.
        adds: whether something was put among what is ready.
        """
        agenda = self._agenda
        touched = agenda.touched
        comes = not (adds or agenda.hashed or len(agenda.tasks) != self._tasks)
        asleep = {}
        for code, tried in self._asleep.items():
            number, kind = divmod(code, BASE)
            if kind == CANCEL:
                sleeps = code != wakes and number not in touched
            elif kind == LATE:
                sleeps = comes
            else:
                sleeps = not (adds or (kind == TIMER and agenda.timed))
            if sleeps:
                asleep[code] = tried
        return asleep


def can_sleep(code: int, run: Run) -> bool:
    """Whether this intervention, now, does no more than is said above of one kind or the other."""
    kind = code % BASE
    if kind == CANCEL:
        awaited = run._agenda.tasks[code // BASE]._fut_waiter
        return awaited is None or (type(awaited) in _THEIR_OWN and awaited.done())
    return kind in (TIMER, DELIVER) or (kind == LATE and run._is_plain(code // BASE))


_THEIR_OWN: Final = (asyncio.Future, Task)
"""They do what they are known to."""


def tried_before(schedule: Schedule, code: int, asleep: Sleeping) -> Schedule:
    """A schedule that does the same as one that goes on with an intervention that sleeps."""
    place, step = asleep[code]
    return (*schedule[:place], (step, code), *schedule[place:])
