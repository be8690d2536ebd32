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

- To cancel a task that waits for a future, as long as nothing happens but that others are marked in that way.

Everything else is taken to touch everything: a task that waits and is cancelled goes to the end of those that are
ready, and the objects of the scenario may be read and written by any step.
"""

from __future__ import annotations

import asyncio
from typing import Final

from .loop import Task, task_of
from .run import Run
from .schedule import BASE, CANCEL, DELIVER, END, KILL, LATE, REORDER, SWITCH, TIMER

Codes = int
"""A set of interventions, as a number: the bit at the place of each is 1."""
Choice = tuple[Codes, Codes]
"""At a fork: what sleeps; and what else does once it has been tried there, until the next step at least."""


class Sleep:
    """What sleeps at the current point of a run."""

    def __init__(self, run: Run, asleep: Codes) -> None:
        self._run = run
        self._agenda = run._agenda
        self._asleep = asleep
        self._others = [code for code in codes_in(asleep) if code % BASE != CANCEL]
        """What may sleep and is not a cancellation."""
        self._codes: tuple[int, ...] | None = None
        """What was possible before the step."""
        self._wakes = 0
        """To cancel the task that takes it."""
        self._left = -1
        """How many handles will be ready after it if it makes none; -1 if it is none that takes it."""
        self._adds = False
        """Whether the intervention may put something among what is ready."""
        self._for_now = 0
        """What sleeps until the next step only."""
        self._tasks = 0

    def between_steps(self, codes: tuple[int, ...]) -> Choice:
        """Wake what is not independent of the step that was taken, and of the checks after it; look at what comes next.

        codes: the interventions that are possible. Those of them that can sleep do from now on, as they are tried here.
        """
        agenda, ready = self._agenda, self._agenda.ready
        if ready and ready[0]._cancelled:
            agenda.is_idle()
        there = len(ready)
        made = there + agenda.dropped - self._left
        asleep = self._asleep & ~self._wakes
        tried = 0
        if codes is self._codes and not self._others and not agenda.touched and made < 2 and self._left >= 0:
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
        """Look at what comes next."""
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
        agenda = self._agenda
        agenda.touched.clear()
        agenda.hashed = agenda.timed = False
        self._tasks = len(agenda.tasks)

    def _awake(self, asleep: Codes, adds: bool) -> Codes:
        """What is left asleep.

        adds: whether something was put among what is ready.
        """
        agenda = self._agenda
        for number in agenda.touched:
            asleep &= ~(1 << CANCEL + BASE * number)
        created = len(agenda.tasks) != self._tasks
        left = []
        for code in self._others:
            kind = code % BASE
            if adds or (kind == LATE and (created or agenda.hashed)) or (kind == TIMER and agenda.timed):
                asleep &= ~(1 << code)
            else:
                left.append(code)
        self._others = left
        return asleep


def cancels(handle: asyncio.Handle) -> int:
    """The intervention that would cancel the task that a handle runs; -1 if it runs none."""
    task = task_of(handle)
    return CANCEL + BASE * task.index if type(task) is Task else -1


def can_sleep(code: int, run: Run) -> bool:
    """Whether this intervention, now, does no more than is said above of one kind or the other."""
    kind = code % BASE
    if kind == CANCEL:
        return is_marked_only(code, run)
    return kind in (TIMER, DELIVER) or (kind == LATE and run._is_plain(code // BASE))


def is_marked_only(code: int, run: Run) -> bool:
    """Whether this is to cancel a task that is about to run."""
    if code % BASE != CANCEL:
        return False
    awaited = run._agenda.tasks[code // BASE]._fut_waiter
    return awaited is None or (type(awaited) in _THEIR_OWN and awaited.done())


def waits_for_future(code: int, run: Run) -> bool:
    """Whether this is to cancel a task that waits for a future, which is cancelled then, and nothing else happens."""
    awaited = run._agenda.tasks[code // BASE]._fut_waiter
    return type(awaited) is asyncio.Future and not awaited.done()


_THEIR_OWN: Final = (asyncio.Future, Task)
"""They do what they are known to."""


def codes_in(codes: Codes) -> list[int]:
    """The interventions of a set."""
    found = []
    while codes:
        lowest = codes & -codes
        found.append(lowest.bit_length() - 1)
        codes ^= lowest
    return found
