"""`explore()`: it checks its arguments, searches, and returns a report."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from .execution import Scenario
from .interpreter import left, loop_cannot_be_left, quiet_interpreter
from .processes import check_platform
from .report import Report
from .run import Run
from .schedule import Rules, Schedule
from .search import Search

_NO_LIMIT: Final = 1 << 30


def explore(
    scenario: Callable[[Run], object] | Callable[[], object],
    *,
    against: Callable[[Run], object] | Callable[[], object] | None = None,
    cancels: int = 1,
    late: int | None = None,
    timers: int = 1,
    deliveries: int = 1,
    reorders: int = 0,
    kills: int = 0,
    ends: int = 0,
    switches: int = 0,
    cancel_main: bool = False,
    cancel_created: bool = True,
    swallow_ok: bool = False,
    time_limit: float = 60.0,
    max_steps: int = 10_000,
    replay: Sequence[int] | None = None,
    reduce: bool = True,
    processes: int = 1,
) -> Report:
    """Try a scenario under every schedule within bounds, and return a report.

    A run goes on as asyncio does: first come, first served. It has no I/O. Its clock stands still while something is
    ready, and then jumps to the next timer. Interventions come in between, at any step; schedules with fewer
    interventions are tried first. The search stops at the first schedule that fails. A failure is an exception in the
    main task or a spawned one, a check of the scenario that fails, a deadlock, a run that does not end, a cancellation
    that was swallowed, or an exception that was never retrieved or handled.

    scenario: a function that starts tasks, or a coroutine function, which is the main task. Either may take a `Run`.
        It is called for each run, and must make all objects that it uses anew.
    against: another scenario. Under each schedule it must do what this one does: log the same, and fail or not.
    cancels: how often a task is cancelled, at any moment from its creation to its end.
    late: how many tasks of `Run.late()` come before nothing else can run; None for all.
    timers: how often a timer is due while something is ready, as if that took long.
    deliveries: how often what was sent with call_soon_threadsafe() arrives while something is ready.
    reorders: how often a ready handle overtakes those before it, which asyncio does not do.
    kills: how often the coroutine of a task is closed, as the collector does, and the task never runs again.
    ends: 1 to end the loop at any moment, with tasks ready and waiting; see `Run.afterwards()`. Of several loops, all
        end, or one that is not the first ends and the others go on.
    switches: how often another loop goes first; see `Run.another_loop()`.
    cancel_main: True to cancel the main task too.
    cancel_created: False to cancel and close only tasks of `Run.spawn()` and `Run.late()`, and not the tasks that tasks
        create, such as the background tasks of a library.
    swallow_ok: True to let a task that was cancelled finish as if it had not been.
    time_limit: seconds of CPU time of this process after which the search stops, and is not exhausted. CPU time, not
        that of the clock on the wall, so that it makes no difference whether the machine is busy with something else.
    max_steps: a run that takes so many steps fails.
    replay: `Counterexample.replay`, to run only that schedule.
    reduce: False to run also the schedules that can be seen to do the same as one that was run, as they only change the
        order of independent events. What is found is the same. With `against`, all schedules are run.
    processes: how many processes share the runs of a search that takes more than some milliseconds. They are forks of
        this one, so what a run changes outside of the scenario is lost. What is found, and all counts, are the same.
        `time_limit` counts this process and the busiest of the others.

    Raises RuntimeError if an event loop is running (in Pyodide one always is, and is left alone), if the platform has
    no fork() for several processes, or if one of them dies; ValueError if `replay` does not fit the scenario or a
    number is too low; TypeError for what is no number.

    Cancellation: it blocks the thread until the search ends, and cannot be cancelled. Ctrl-C ends it: KeyboardInterrupt
    comes out, and the other processes have ended.
    """
    if asyncio._get_running_loop() is not None and not loop_cannot_be_left():
        raise RuntimeError(
            "explore() brings its own event loop, and would stop the one that is running: call it from a plain "
            "function, or write 'await asyncio.to_thread(explore, scenario)'"
        )
    bounds: dict[str, int | None] = {
        "late": late,
        "cancels": cancels,
        "timers": timers,
        "deliveries": deliveries,
        "reorders": reorders,
        "kills": kills,
        "ends": ends,
        "switches": switches,
    }
    _check_numbers(bounds, time_limit, max_steps, processes)
    bounds["ends"] = min(ends, 1)
    budgets = tuple(_NO_LIMIT if bound is None else bound for bound in bounds.values())
    rules = Rules(
        budgets if replay is None else (_NO_LIMIT,) * len(budgets), cancel_main, swallow_ok, max_steps, cancel_created
    )
    reduce = reduce and against is None
    search = Search(with_argument(scenario), against and with_argument(against), rules, time_limit, reduce, processes)
    with left(), quiet_interpreter():
        found = search.search() if replay is None else search.replay(_schedule(replay))
    return Report(
        scenario=getattr(scenario, "__qualname__", repr(scenario)).replace("<locals>.", ""),
        bounds=bounds if replay is None else {},
        schedules=search.schedules,
        runs=search.runs,
        seconds=time.perf_counter() - search.started,
        exhausted=search.exhausted,
        interventions=search.interventions,
        counterexample=found,
        replayed=replay is not None,
    )


def _check_numbers(bounds: Mapping[str, int | None], time_limit: float, max_steps: int, processes: int) -> None:
    for name, number in [*bounds.items(), ("max_steps", max_steps)]:
        if number is None and name != "max_steps":
            continue
        if not isinstance(number, int):
            raise TypeError(f"{name} must be an int, not {number!r}")
        if number < 0:
            raise ValueError(f"{name} must be 0 or more, not {number}")
    if not isinstance(processes, int):
        raise TypeError(f"processes must be an int, not {processes!r}")
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, not {processes}")
    check_platform(processes)
    if not isinstance(time_limit, (int, float)):
        raise TypeError(f"time_limit must be a number of seconds, not {time_limit!r}")
    if not time_limit >= 0:
        raise ValueError(f"time_limit must be 0 or more seconds, not {time_limit}")


def _schedule(replay: Sequence[int]) -> Schedule:
    if not isinstance(replay, Sequence) or not all(isinstance(number, int) for number in replay):
        raise TypeError(f"replay must be a list of ints, as a counterexample has it, not {replay!r}")
    if len(replay) % 2:
        raise ValueError(f"replay must have a step and an intervention, by turns, and not {len(replay)} numbers")
    return tuple(zip(replay[::2], replay[1::2], strict=True))


def with_argument(scenario: Callable[..., object]) -> Scenario:
    """Return the scenario as a function that takes a Run, also if it does not take one."""
    return scenario if inspect.signature(scenario).parameters else lambda _run: scenario()
