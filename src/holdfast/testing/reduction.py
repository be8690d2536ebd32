"""Which schedules need not be run, as they only change the order of independent events: sleep sets.

Two events that follow one another are independent if the run is in the same state afterwards in either order, so that
nothing shows which came first. Say that an intervention is possible at some point of a run, and that the next step
is independent of it. Then to intervene now and to intervene one step later are the same run from there on. The search
comes to "now" first, and need not run "later". So an intervention *sleeps* from the point where it was tried until
something happens that is not independent of it. A schedule with a sleeping intervention does the same as one that was
run, with as many interventions of each kind and as many steps. (P. Godefroid, Partial-Order Methods for the
Verification of Concurrent Systems, 1996, chapter 5.)

These interventions can sleep, and these events wake them:

- To cancel a task that is about to run. The task is only marked until it runs. The intervention wakes when the task
  runs or is closed, and when the mark is read or set, with Task.cancelling(), cancel(), uncancel() or repr().
- An intervention that only puts something at the end of what is ready: a late task comes, time passes, something
  arrives. It wakes when anything else is put there. A late task also wakes when a task is made or is put into a set,
  as asyncio.all_tasks() does with all tasks. The time also wakes when the clock or a timer is read.
- To cancel a task that waits for a future, as long as the only other events are that tasks are marked as above.

Any other two events are taken to be dependent. A task that waits and is cancelled goes to the end of what is ready,
and any step may read and write the objects of the scenario.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .agenda import task_of
from .run import Run
from .schedule import BASE, CANCEL, DELIVER, END, KILL, LATE, REORDER, SWITCH, TIMER
from .task import Task

Codes = int
"""A set of interventions, as a number: the bit at the place of each is 1."""
Choice = tuple[Codes, Codes]
"""At a fork: what sleeps; and what else sleeps, until the next step at least, once it has been tried there."""


class Sleep:
    """The interventions that sleep at the current point of a run."""

    def __init__(self, run: Run, asleep: Codes) -> None:
        self._run = run
        self._agenda = run._agenda
        self._looks = run._agenda.looks
        self._asleep = asleep
        self._others = [code for code in codes_in(asleep) if code % BASE != CANCEL]
        """The interventions that may sleep and are not cancellations."""
        self._codes: tuple[int, ...] | None = None
        """The interventions that were possible before the step."""
        self._wakes = 0
        """The intervention that the step wakes: to cancel the task that takes the step. As a set."""
        self._left = -1
        """How many handles are ready after the step if it makes none; -1 if no handle takes the step."""
        self._adds = False
        """Whether the intervention may put something at the end of what is ready."""
        self._for_now = 0
        """The interventions that sleep until the next step only."""
        self._tasks = 0

    def between_steps(self, codes: tuple[int, ...]) -> Choice:
        """Wake what is not independent of the step that was taken and of the checks after it; look at the next step.

        codes: the interventions that are possible. They are tried here, so those that can sleep do from now on.

        Return the choice at this point.
        """
        agenda, ready = self._agenda, self._agenda.ready
        if ready and ready[0]._cancelled:
            agenda.is_idle()
        there = len(ready)
        made = there + agenda.dropped - self._left
        asleep = self._asleep & ~self._wakes
        tried = 0
        if codes is self._codes and not self._others and not self._looks.touched and made < 2 and self._left >= 0:
            # the usual case, in less time: only a task that has been made ready is new
            if made:
                code = cancels(ready[-1])
                if code in codes and not asleep >> code & 1 and can_sleep(code, self._run):
                    tried = 1 << code
        else:
            if self._left >= 0 and asleep:
                asleep = self._awake(asleep, made > 0)
            self._codes = codes
            for code in codes:
                if not asleep >> code & 1 and can_sleep(code, self._run):
                    tried |= 1 << code
                    if code % BASE != CANCEL:
                        self._others.append(code)
            self._listen()
        if there:
            code = cancels(ready[0])
            self._wakes = 1 << code if code >= 0 else 0
            self._left = there - 1 + agenda.dropped
            self._asleep = (asleep | tried) & ~self._for_now
        else:  # time may pass, and all the rest
            self._asleep = 0
            self._left = -1
        return asleep, tried

    def before_intervention(self, code: int) -> None:
        """Look at the intervention that comes next, and wake what it makes dependent."""
        only_marked = is_marked_only(code, self._run)
        self._adds = not only_marked and code % BASE not in (REORDER, SWITCH)
        for other in codes_in(self._asleep):
            if other % BASE == CANCEL and not is_marked_only(other, self._run):
                if only_marked and waits_for_future(other, self._run):
                    self._for_now |= 1 << other
                else:
                    self._asleep &= ~(1 << other)
        self._listen()

    def after_intervention(self, code: int) -> None:
        """Wake what is not independent of it."""
        number, kind = divmod(code, BASE)
        if kind in (CANCEL, KILL):
            self._asleep &= ~(1 << CANCEL + BASE * number)
        self._asleep = 0 if kind == END else self._awake(self._asleep, self._adds)

    def _listen(self) -> None:
        looks = self._looks
        looks.touched.clear()
        looks.hashed = looks.timed = False
        self._tasks = len(self._agenda.tasks)

    def _awake(self, asleep: Codes, adds: bool) -> Codes:
        """Return what is left asleep.

        adds: whether something was put among what is ready.
        """
        looks = self._looks
        for number in looks.touched:
            asleep &= ~(1 << CANCEL + BASE * number)
        created = len(self._agenda.tasks) != self._tasks
        left = []
        for code in self._others:
            kind = code % BASE
            if adds or (kind == LATE and (created or looks.hashed)) or (kind == TIMER and looks.timed):
                asleep &= ~(1 << code)
            else:
                left.append(code)
        self._others = left
        return asleep


def cancels(handle: asyncio.Handle) -> int:
    """Return the intervention that cancels the task that a handle runs; -1 if it runs none."""
    task = task_of(handle)
    return CANCEL + BASE * task.index if type(task) is Task else -1


def can_sleep(code: int, run: Run) -> bool:
    """Whether this intervention does no more now than the header says of those that can sleep."""
    kind = code % BASE
    if kind == CANCEL:
        return is_marked_only(code, run)
    return kind in (TIMER, DELIVER) or (kind == LATE and run._is_plain(code // BASE))


def is_marked_only(code: int, run: Run) -> bool:
    """Whether this cancels a task that is about to run."""
    if code % BASE != CANCEL:
        return False
    awaited = run._agenda.tasks[code // BASE]._fut_waiter
    return awaited is None or (type(awaited) in _THEIR_OWN and awaited.done())


def waits_for_future(code: int, run: Run) -> bool:
    """Whether this cancels a task that waits for a future, so that only the future is cancelled."""
    awaited = run._agenda.tasks[code // BASE]._fut_waiter
    return type(awaited) is asyncio.Future and not awaited.done()


_THEIR_OWN: Final = (asyncio.Future, Task)
"""The types whose behaviour is known."""


def codes_in(codes: Codes) -> list[int]:
    """Return the interventions of a set."""
    found = []
    while codes:
        lowest = codes & -codes
        found.append(lowest.bit_length() - 1)
        codes ^= lowest
    return found
