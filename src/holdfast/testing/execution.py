"""One schedule, carried out."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import CoroutineType
from typing import Any

from .checks import check_all
from .describe import describe, has_begun, is_suspended, said, shown
from .loop import Agenda, Loop, Task, first_of, loops_of, running, task_of, tell_raised, unheard
from .reduction import Choice, Codes, Sleep
from .run import Run
from .schedule import (
    BASE,
    CANCEL,
    DELIVER,
    END,
    KILL,
    LATE,
    NOTHING,
    REORDER,
    RUN,
    STOP,
    SWITCH,
    TIMER,
    Failure,
    Fork,
    MisfitError,
    Rules,
    Schedule,
)
from .schedule import (
    KINDS as KINDS,
)

Scenario = Callable[[Run], object]
"""Starts tasks and returns None, or is a coroutine function, which then is the main task."""


class Execution:
    """One run of a scenario under one schedule."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.complaints: list[dict[str, Any]] = []
        self.agenda = Agenda()
        self.run = Run(self._first_loop())
        self.steps = 0
        self.forks: list[Fork] = []
        """Where more interventions are possible, after those of the schedule."""
        self.choices: list[Choice] = []
        """For each of the forks, which of its interventions need not be tried."""
        self.failure: Failure | None = None
        self._scenario = scenario
        self._rules = rules
        self._left = list(rules.budgets)
        self._shielded: asyncio.Task[Any] | None = None  # from interventions: the main task
        self._hit: list[Task[Any]] = []  # which tasks were cancelled by an intervention, and have not run since
        self._codes: tuple[int, ...] = ()
        self._version = -1  # of the agenda when nothing but these was possible: to cancel
        self._cancellable: list[Task[Any]] = []
        self._any_hit = False  # by an intervention that makes tasks raise CancelledError
        self._stopped = False
        self._closing: Failure | None = None
        self._remains: list[weakref.ref[Task[Any]]] = []  # of the loop that was ended

    @property
    def log(self) -> list[object]:
        """What the scenario logged."""
        return self.run._log

    def execute(
        self,
        schedule: Schedule,
        expected: Fork | None = None,
        all_forks: bool = False,
        asleep: Codes | None = None,
    ) -> None:
        """Go through the schedule, then on to the end, taking note of the forks: of all, or only of the first one.

        expected: the fork at which the last intervention was found. Raises MisfitError if it is different now.
        asleep: what slept there, to take note of the choices as well; None to do without.
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
            self._judge()
        except Failure as failure:
            failure.steps = self.steps
            self.failure = failure
        finally:
            self._dispose(schedule)
            asyncio._set_running_loop(None)

    def _first_loop(self) -> Loop:
        loop = Loop(self.agenda)  # type: ignore[abstract]  # the rest raises
        loop.complain = self.complaints.append
        return loop

    # Going on

    def _begin(self) -> None:
        try:
            main = self._scenario(self.run)
        except Exception as exc:
            raise Failure("exception", f"the scenario raised {shown(exc)}", exc) from exc
        if main is None:
            pass
        elif inspect.isgenerator(main) or inspect.isasyncgen(main):  # nothing of it would ever run
            raise TypeError(
                f"a scenario is a function that starts tasks, or a coroutine function, and has no yield: {main!r}"
            )
        elif type(main) is CoroutineType or isinstance(main, Coroutine):
            task = self.run._start("main", True, main, self.run._loops[0])
            self._shielded = None if self._rules.cancel_main else task
        for task in self.agenda.tasks:
            if not task.spawned:  # by asyncio.create_task() in a plain function
                task.spawned = task.must_finish = True

    def _go_to(self, step: int) -> None:
        if step < self.steps:
            raise MisfitError(f"step {step} is over after step {self.steps}")
        while self.steps < step:
            if not self._advance(step):
                raise MisfitError(f"it was over after {self.steps} steps")

    def _go_on(self, all_forks: bool, sleep: Sleep | None) -> None:
        agenda, run, left, log = self.agenda, self.run, self._left, self.run._log
        ready: deque[Any] = agenda.ready
        search = any(left)
        always = any(left[CANCEL:TIMER]) or any(left[REORDER:])
        while True:
            if run._invariants or (run._at_rest and (not ready or ready[0]._cancelled)):
                self._check()
            codes: tuple[int, ...] = ()
            may_fork = search and (always or run._expected or agenda.timers or agenda.inbox)
            if may_fork:
                codes = self._possible()
                if codes:
                    self.forks.append((self.steps, codes, len(ready), len(log)))
                    search = all_forks
            if sleep is not None:
                choice = sleep.between_steps(codes)
                if codes:
                    self.choices.append(choice)
            step_by_step = may_fork or sleep is not None or run._invariants
            if not self._advance(self.steps + 1 if step_by_step else self._rules.max_steps):
                return

    def _may_fork_after(self, code: int) -> bool:
        """Whether more interventions are to be expected after this one."""
        left, agenda = self._left, self.agenda
        several = left[CANCEL] + sum(left[REORDER:]) - (code % BASE not in (LATE, TIMER, DELIVER))
        return bool(several or self.run._expected or agenda.timers or agenda.inbox)

    def _advance(self, until: int) -> bool:
        """Go on by one step, or up to that one while something is ready; return False if there is nothing left."""
        agenda = self.agenda
        ready: deque[Any] = agenda.ready
        steps = self.steps
        if not ready or (ready[0]._cancelled and agenda.is_idle()):
            if not self._advance_idle():
                return False
            steps += 1
        else:
            hit, several, version = self._hit, agenda.several, agenda.version
            task: object = None
            while True:
                handle = ready.popleft()
                if hit and (task := task_of(handle)) in hit:
                    hit.remove(task)
                    self._version = -1
                if several:
                    asyncio._set_running_loop(handle._loop)
                try:
                    handle._context.run(handle._callback, *handle._args)
                except SystemExit as exc:  # a task has it already; to a user's program it would look like the end
                    self.steps, handle, task = steps, None, None
                    raise Failure("exception", f"somebody wants to end the process: {shown(exc)}", exc) from exc
                except KeyboardInterrupt:
                    raise
                except BaseException as exc:
                    tell_raised(handle, exc)
                steps += 1
                if steps >= until or not ready or ready[0]._cancelled or agenda.version != version:
                    break
            handle = task = None  # tracebacks would keep them until collected
        self.steps = steps
        if steps >= self._rules.max_steps:
            self._judge_tasks()
            unfinished = "; ".join(map(describe, self._unfinished()))
            raise Failure("livelock", f"not at rest after {self.steps} steps: {unfinished}")
        return True

    def _advance_idle(self) -> bool:
        agenda = self.agenda
        kind = self._when_idle()
        if kind == DELIVER:
            agenda.ready.append(agenda.inbox.popleft())
        elif kind == LATE:
            self._start_late(self.run._expected[0])
        elif kind == STOP:
            self._cancel_rest()
        elif kind == TIMER:
            agenda.pass_time()
        else:
            return False
        return True

    def _when_idle(self) -> int:
        """What comes next if nothing is ready."""
        if self.agenda.inbox:
            return DELIVER
        if self.run._expected:
            return LATE
        unfinished = self._unfinished()
        if unfinished and not self._stopped and not any(task.must_finish for task in unfinished):
            return STOP
        return TIMER if unfinished and self.agenda.has_timer() else NOTHING

    def _unfinished(self) -> list[Task[Any]]:
        return [task for task in self.agenda.tasks if not (task.done() or task.killed)]

    def _cancel_rest(self) -> None:
        self._stopped = True
        self._version = -1
        self._left[:] = [0] * len(self._left)
        for task in self._unfinished():
            cancel(task)

    def _start_late(self, number: int) -> None:
        self.run._expected.remove(number)
        self._start(*self.run._late[number])

    def _start(
        self, name: str, must_finish: bool, function: Callable[[], Coroutine[Any, Any, Any]], loop: Loop
    ) -> None:
        try:
            self.run._start(name, must_finish, function(), loop)
        except Exception as exc:
            raise Failure("exception", f"{name} could not be started: {shown(exc)}", exc) from exc

    # Checks

    def _check(self) -> None:
        run = self.run
        if run._invariants:
            check_all("invariant", run._invariants)
        if run._at_rest and not self.agenda.inbox and self.agenda.is_idle():
            check_all("at rest", run._at_rest)

    def _judge(self) -> None:
        """Is this a good end?"""
        self._judge_tasks()
        unfinished = self._unfinished()
        stuck = unfinished and [task for task in unfinished if not waits_for_killed(task)]
        if stuck:
            raise Failure("deadlock", "nothing is left that would wake " + "; ".join(map(describe, stuck)))
        check_all("at end", self.run._at_end)
        if self._closing is not None:
            raise self._closing

    def _judge_tasks(self) -> None:
        if self.complaints:
            context = self.complaints[0]
            cause = context.get("exception")
            message = said(context.get("message"))
            raise Failure("unhandled", message if cause is None else f"{message}: {shown(cause)}", cause)
        for task in self.agenda.tasks:
            if task.done() and (task.hit or task.cancelled() or task._exception is not None):
                self._judge_task(task)
        for future in self.agenda.futures:
            if future._log_traceback:
                exc = future.exception()
                raise Failure("never retrieved", f"nobody looked at a future that was given {shown(exc)}", exc)

    def _judge_task(self, task: Task[Any]) -> None:
        if task.cancelled():
            if task.spawned and not (task.cancelling() or self._any_hit):
                raise Failure("cancelled", f"{task.get_name()} raised CancelledError, though nobody was cancelled")
        elif task.spawned and (exc := task.exception()) is not None:
            raise Failure("exception", f"{task.get_name()} raised {shown(exc)}", exc)
        elif task._log_traceback:
            exc = task.exception()
            raise Failure("never retrieved", f"nobody looked at {task.get_name()}, which raised {shown(exc)}", exc)
        elif task.hit and task.cancelling() and not self._rules.swallow_ok and task.exception() is None:
            raise Failure("swallowed", f"{task.get_name()} was cancelled, and finished as if it had not been")

    # Interventions

    def _fork(self) -> Fork:
        return self.steps, self._possible(), len(self.agenda.ready), len(self.run._log)

    def _possible(self) -> tuple[int, ...]:
        """What could be done now instead of going on."""
        agenda = self.agenda
        ready: deque[Any] = agenda.ready
        if ready and ready[0]._cancelled:
            agenda.is_idle()
        if ready and self._version == agenda.version:  # the usual case, in less time: all depends on who is done
            for task in self._cancellable:
                if task.done():
                    break
            else:
                return self._codes
        left, expected = self._left, self.run._expected
        codes: list[int] = []
        tasks = self._exposed() if left[CANCEL] or left[KILL] else []
        others = bool(expected or agenda.timers or agenda.inbox) or left[REORDER:] != _NONE_OF_THEM
        anyway = RUN
        if others:
            anyway = RUN if ready else self._when_idle()
            if left[LATE]:
                codes += [LATE + BASE * number for number in expected[anyway == LATE :]]
        if left[CANCEL]:  # a task twice only with a step in between
            hit = self._hit
            codes += [CANCEL + BASE * task.index for task in tasks if not (hit and task in hit)]
        if others:
            self._add_others(codes, tasks, anyway)
        self._codes = tuple(codes)
        self._version = -1 if others else agenda.version
        self._cancellable = tasks
        return self._codes

    def _add_others(self, codes: list[int], tasks: list[Task[Any]], anyway: int) -> None:
        """What could be done besides starting or cancelling a task. anyway: what will be done if nothing is."""
        agenda, ready = self.agenda, self.agenda.ready
        _, _, timer, deliver, reorder, kill, end, switch = self._left
        if timer and agenda.timers and agenda.has_timer() and anyway not in (TIMER, NOTHING):
            codes.append(TIMER)
        if deliver and agenda.inbox:
            codes += [DELIVER + BASE * number for number in loops_of(agenda.inbox)[anyway == DELIVER :]]
        if reorder:
            codes += [REORDER + BASE * place for place in range(1, len(ready)) if not ready[place].cancelled()]
        if kill:
            codes += [KILL + BASE * task.index for task in tasks if is_suspended(task)]
        if end:
            codes += [END + BASE * loop.number for loop in self.run._loops]
        if switch and agenda.several:
            codes += [SWITCH + BASE * number for number in loops_of(ready)[1:]]

    def _exposed(self) -> list[Task[Any]]:
        """The tasks that can be cancelled or closed."""
        shielded, any_task = self._shielded, self._rules.cancel_created
        return [
            task
            for task in self.agenda.tasks
            if not (task.done() or task.killed) and task is not shielded and (any_task or task.spawned)
        ]

    def _intervene(self, code: int) -> None:
        number, kind = divmod(code, BASE)
        agenda = self.agenda
        ready, tasks = agenda.ready, agenda.tasks
        self._left[kind] -= 1
        self._version = -1
        if kind == LATE and number in self.run._expected:
            self._start_late(number)
        elif kind == CANCEL and number < len(tasks) and not is_over(task := tasks[number]):
            self._any_hit = task.hit = True
            self._hit.append(task)
            if agenda.several:
                cancel(task)
            else:
                _cancel(task)
        elif kind == TIMER and agenda.has_timer():
            agenda.pass_time()
        elif kind == DELIVER and number in loops_of(agenda.inbox):
            handle = first_of(agenda.inbox, number)
            agenda.inbox.remove(handle)
            ready.append(handle)
        elif kind == REORDER and not agenda.is_idle() and number < len(ready):
            handle = ready[number]
            del ready[number]
            ready.appendleft(handle)
        elif kind == SWITCH and not agenda.is_idle() and number in loops_of(ready)[1:]:
            handle = first_of(ready, number)
            ready.remove(handle)
            ready.appendleft(handle)
        elif kind == KILL and number < len(tasks) and not is_over(tasks[number]):
            self._kill(tasks[number])
        elif kind == END and number == 0:
            self._end()
        elif kind == END and number < len(self.run._loops):
            self._end_one(self.run._loops[number])
        else:
            raise MisfitError(f"{code} is not possible after step {self.steps}")

    def _kill(self, task: Task[Any]) -> None:
        """Do to a task what the garbage collector does: close its coroutine, and never run it again."""
        self._any_hit = task.killed = True
        ready = [handle for handle in self.agenda.ready if task_of(handle) is not task]
        self.agenda.ready.clear()
        self.agenda.ready.extend(ready)
        awaited = task._fut_waiter
        if awaited is not None:
            for callback, _ in tuple(awaited._callbacks or ()):
                if getattr(callback, "__self__", None) is task:
                    awaited.remove_done_callback(callback)
        task._log_destroy_pending = False
        try:
            with running(task.get_loop()):
                task.get_coro().close()
        except BaseException as exc:
            self._note_closing(exc)

    def _note_closing(self, exc: BaseException | None) -> None:
        """Judge this last: what comes of it is more telling."""
        if self._closing is None:
            self._closing = Failure("closing", f"a coroutine that was closed raised {shown(exc)}", exc)

    def _end(self) -> None:
        """Let all loops end as if run_until_complete() had returned: what is ready is lost, what can be is collected.

        A task stays if something that lives on, a primitive say, refers to the future that it awaits.
        """
        self._left[:] = [0] * len(self._left)
        self._hit.clear()
        self._cancellable = []
        self._shielded = None
        self.run._expected.clear()
        self.run._invariants.clear()
        self.run._at_rest.clear()
        self.run._at_end.clear()
        self._close_loops(self.run._loops)
        self.agenda.several = False
        loop = self._first_loop()
        self.run._loops = [loop]
        asyncio._set_running_loop(loop)
        if self.run._afterwards is not None:
            self._start("afterwards", True, self.run._afterwards, loop)

    def _end_one(self, loop: Loop) -> None:
        """Let one of several loops end in that way. The others go on, without further interventions."""
        self._left[:] = [0] * len(self._left)
        self._hit.clear()
        self.run._expected[:] = [number for number in self.run._expected if self.run._late[number][3] is not loop]
        self._close_loops([loop])

    def _close_loops(self, loops: list[Loop]) -> None:
        for loop in loops:
            loop.close()
            loop.complain = unheard
        self._prepare_to_collect(loops)
        self._collect(loops)

    def _prepare_to_collect(self, loops: list[Loop]) -> None:
        """Have no messages about it. Not part of _collect(), as local variables would keep tasks alive."""
        for task in self.agenda.tasks:
            if task.get_loop() not in loops:
                continue
            task._log_destroy_pending = False
            if not has_begun(task):
                task.get_coro().close()  # runs nothing, and does without the warning that it was never awaited
            if not is_over(task):
                self._remains.append(weakref.ref(task))

    def _collect(self, loops: list[Loop]) -> None:
        """Let go of the tasks. The collector has not run since before this run, so all that is of it is young."""
        asyncio._set_running_loop(None)
        hook = sys.unraisablehook
        sys.unraisablehook = lambda unraisable: self._note_closing(unraisable.exc_value)
        try:
            self.agenda.tasks[:] = [task for task in self.agenda.tasks if task.get_loop() not in loops]
            self.agenda.futures[:] = [future for future in self.agenda.futures if future.get_loop() not in loops]
            gc.collect(0)
        finally:
            sys.unraisablehook = hook

    def _dispose(self, schedule: Schedule) -> None:
        """Leave nothing for the collector but what the scenario left."""
        tasks, run = self.agenda.tasks, self.run
        for loop in run._loops:
            if not loop.is_closed():
                loop.complain = partial(_complain, self._rules.belated, schedule)
                loop.close()
        if self._remains:
            tasks += filter(None, (remaining() for remaining in self._remains))
        for task in tasks:
            if not is_over(task):
                task._log_destroy_pending = False
                with suppress(BaseException):  # the run has been judged; what is torn down now need not behave
                    task.get_coro().close()
        tasks.clear()
        self.agenda.futures.clear()
        self._cancellable = []
        self._shielded = None
        self._hit.clear()
        run._forget()


def _complain(belated: list[tuple[Schedule, dict[str, Any]]], schedule: Schedule, context: dict[str, Any]) -> None:
    belated.append((schedule, context))


def cancel(task: Task[Any]) -> None:
    """Cancel it, in its own loop."""
    with running(task.get_loop()):
        _cancel(task)


_NONE_OF_THEM = [0] * len(KINDS[REORDER:])
_cancel = asyncio.Task.cancel  # Task.cancel() would take note


def is_over(task: Task[Any]) -> bool:
    """Whether it will not run again."""
    return task.done() or task.killed


def waits_for_killed(task: Task[Any]) -> bool:
    """Whether it waits for ever, and is not to blame."""
    return getattr(task._fut_waiter, "killed", False)
