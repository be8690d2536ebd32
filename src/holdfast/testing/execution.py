"""One schedule, carried out: the scenario is started, goes on step by step, and is intervened in at the steps given."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine
from types import CoroutineType
from typing import Any

from .agenda import task_of
from .checks import check
from .describe import describe, shown
from .ending import dispose
from .idle import advance_idle
from .interventions import intervene, possible
from .loop import tell_raised
from .reduction import Codes, Sleep
from .run import Run
from .schedule import BASE, CANCEL, DELIVER, LATE, REORDER, TIMER, Failure, Fork, MisfitError, Rules, Schedule
from .state import State
from .verdict import judge, judge_tasks

Scenario = Callable[[Run], object]
"""A function that starts tasks and returns None, or a coroutine function, which is the main task."""


class Execution(State):
    """One run of a scenario under one schedule."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        super().__init__(rules)
        self._scenario = scenario

    def execute(
        self,
        schedule: Schedule,
        expected: Fork | None = None,
        all_forks: bool = False,
        asleep: Codes | None = None,
    ) -> None:
        """Carry out the schedule, then go on to the end. Note the forks after the schedule, and the failure.

        expected: the fork at which the last intervention was found.
        all_forks: False to note only the first fork.
        asleep: the interventions that slept at that fork, to note the choices too; None to do without.

        Raises MisfitError if the schedule cannot be carried out, or what is possible is not what was expected.
        """
        sleep = None
        try:
            asyncio._set_running_loop(self.run._loops[0])
            self._begin()
            for step, code in schedule[:-1]:
                self._go_to(step)
                self._intervene(code)
            if schedule:
                step, code = schedule[-1]
                self._go_to(step)
                if expected is not None and expected != self._fork():
                    raise MisfitError(f"what was possible at step {step} no longer is")
                if asleep is not None and self._may_fork_after(code):
                    sleep = Sleep(self.run, asleep)
                    sleep.before_intervention(code)
                    self._intervene(code)
                    sleep.after_intervention(code)
                else:
                    self._intervene(code)
            elif asleep is not None:
                sleep = Sleep(self.run, asleep)
            self._go_on(all_forks, sleep)
            judge(self)
        except Failure as failure:
            failure.steps = self.steps
            self.failure = failure
        finally:
            dispose(self, schedule)
            asyncio._set_running_loop(None)

    def _begin(self) -> None:
        try:
            main = self._scenario(self.run)
        except Exception as exc:
            raise Failure("exception", f"the scenario raised {shown(exc)}", exc) from exc
        if main is None:
            pass
        elif inspect.isgenerator(main) or inspect.isasyncgen(main):  # it would never run
            raise TypeError(
                f"a scenario is a function that starts tasks, or a coroutine function, and has no yield: {main!r}"
            )
        elif type(main) is CoroutineType or isinstance(main, Coroutine):
            task = self.run._start("main", True, main, self.run._loops[0])
            self.shielded = None if self.rules.cancel_main else task
        for task in self.agenda.tasks:
            if not (task.spawned or task.made_by_task):  # by asyncio.create_task() in a plain function
                task.spawned = task.must_finish = True

    def _go_to(self, step: int) -> None:
        if step < self.steps:
            raise MisfitError(f"step {step} has passed: the run is at step {self.steps}")
        while self.steps < step:
            if not self._advance(step):
                raise MisfitError(f"the run ended after {self.steps} steps")

    def _go_on(self, all_forks: bool, sleep: Sleep | None) -> None:
        agenda, run, left, log = self.agenda, self.run, self.left, self.run._log
        ready: deque[Any] = agenda.ready
        search = any(left)
        always = any(left[CANCEL:TIMER]) or any(left[REORDER:])
        while True:
            if run._invariants or (run._at_rest and (not ready or ready[0]._cancelled)):
                check(self)
            codes: tuple[int, ...] = ()
            may_fork = search and (always or run._expected or agenda.timers or agenda.inbox)
            if may_fork:
                codes = possible(self)
                if codes:
                    self.forks.append((self.steps, codes, len(ready), len(log)))
                    search = all_forks
            if sleep is not None:
                choice = sleep.between_steps(codes)
                if codes:
                    self.choices.append(choice)
            step_by_step = may_fork or sleep is not None or run._invariants
            if not self._advance(self.steps + 1 if step_by_step else self.rules.max_steps):
                return

    def _may_fork_after(self, code: int) -> bool:
        """Whether more interventions may follow this one."""
        left, agenda = self.left, self.agenda
        several = left[CANCEL] + sum(left[REORDER:]) - (code % BASE not in (LATE, TIMER, DELIVER))
        return bool(several or self.run._expected or agenda.timers or agenda.inbox)

    def _advance(self, until: int) -> bool:
        """Go on by one step, or up to that step while something is ready; return False if the run is over."""
        agenda = self.agenda
        ready: deque[Any] = agenda.ready
        steps = self.steps
        if not ready or (ready[0]._cancelled and agenda.is_idle()):
            if not advance_idle(self):
                return False
            steps += 1
        else:
            hit, several, version = self.hit, agenda.several, agenda.version
            task: object = None
            while True:
                handle = ready.popleft()
                if hit and (task := task_of(handle)) in hit:
                    hit.remove(task)
                    self.version = -1
                if several:
                    asyncio._set_running_loop(handle._loop)
                try:
                    handle._context.run(handle._callback, *handle._args)
                except SystemExit as exc:  # the task keeps it too; raised here, it would end the program
                    kind = "task" if isinstance(task_of(handle), asyncio.Task) else "callback"
                    self.steps, handle, task = steps, None, None
                    raise Failure("exception", f"a {kind} raised {shown(exc)}", exc) from exc
                except KeyboardInterrupt:
                    raise
                except BaseException as exc:
                    tell_raised(handle, exc)
                steps += 1
                if steps >= until or not ready or ready[0]._cancelled or agenda.version != version:
                    break
            handle = task = None  # tracebacks would keep them until collected
        self.steps = steps
        if steps >= self.rules.max_steps:
            judge_tasks(self)
            unfinished = "; ".join(map(describe, self.unfinished()))
            raise Failure("livelock", f"not at rest after {self.steps} steps: {unfinished}")
        return True

    def _intervene(self, code: int) -> None:
        intervene(self, code)

    def _fork(self) -> Fork:
        return self.steps, possible(self), len(self.agenda.ready), len(self.run._log)
