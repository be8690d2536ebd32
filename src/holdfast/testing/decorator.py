"""`@explored`: a test function that is run under every schedule."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypedDict, Unpack, overload

from .exploration import explore
from .report import Report
from .run import Run

P = ParamSpec("P")

finished: list[Report] = []
"""The reports of all explored tests of this process, for the summary of the pytest plugin."""


class Options(TypedDict, total=False):
    """The keyword arguments of `explore()` that say how."""

    against: Callable[[Run], object] | Callable[[], object] | None
    cancels: int
    late: int | None
    timers: int
    deliveries: int
    reorders: int
    kills: int
    ends: int
    switches: int
    cancel_main: bool
    cancel_created: bool
    swallow_ok: bool
    time_limit: float
    max_steps: int
    replay: Sequence[int] | None
    reduce: bool
    processes: int


defaults: Options = {}
"""The options of tests that do not give them. The pytest plugin sets them from its command line."""


@overload
def explored(function: Callable[P, object], /) -> Callable[P, None]: ...
@overload
def explored(**options: Unpack[Options]) -> Callable[[Callable[P, object]], Callable[P, None]]: ...
def explored(function: Callable[..., object] | None = None, /, **options: Unpack[Options]) -> Any:
    """Make a test function run under every schedule within bounds, and fail at the first one that fails.

    An `async def` test is the main task, and every task that it creates is explored. A parameter named `run` is given
    the `Run`; a test with it may be a plain function. All other parameters are left to pytest's fixtures and
    parametrization, unittest's self, and so on. Their values are made once for all runs, so the test itself must make
    what it changes.

    options: those of `explore()`.

    The test prints a summary line, which pytest shows with -rP or -s. With `-p holdfast.testing.pytest_plugin`, pytest
    ends with these lines.

    Raises ExplorationError, in the test, if a schedule fails or the search was not finished in time; and what explore()
    raises.

    Cancellation: as for explore().
    """
    if function is None:
        return functools.partial(_explored, options=options)
    return _explored(function, options)


def _explored(function: Callable[..., object], options: Options) -> Callable[..., None]:
    signature = inspect.signature(function)
    wants_run = "run" in signature.parameters

    @functools.wraps(function)
    def test(*args: Any, **kwargs: Any) -> None:
        __tracebackhide__ = True

        @functools.wraps(function)
        def scenario(run: Run) -> object:
            return function(*args, **kwargs, run=run) if wants_run else function(*args, **kwargs)

        del scenario.__wrapped__  # its own signature counts
        chosen: Options = {**defaults, **options}
        report = explore(scenario, **chosen)
        finished.append(report)
        sys.stdout.write(f"{report}\n")
        report.check()

    parameters = [parameter for name, parameter in signature.parameters.items() if name != "run"]
    test.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    return test
