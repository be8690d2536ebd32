"""The checks: what the scenario says must hold, after each step and whenever nothing is going to happen."""

from __future__ import annotations

from collections.abc import Iterable
from types import CoroutineType

from .describe import said, shown
from .run import Check
from .schedule import Failure
from .state import State


def check(state: State) -> None:
    """Make the checks that are due between two steps."""
    run = state.run
    if run._invariants:
        check_all("invariant", run._invariants)
    if run._at_rest and not state.agenda.inbox and state.agenda.is_idle():
        check_all("at rest", run._at_rest)


def check_all(kind: str, checks: Iterable[Check]) -> None:
    """Make the checks one after the other. Raises Failure, of that kind, for the first one that fails."""
    for check in checks:
        try:
            good = check()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as exc:
            raise Failure(kind, said(exc) or shown(exc), exc) from exc
        if good is None or good is True:
            continue
        if good is False:
            raise Failure(kind, f"{getattr(check, '__name__', check)} was false")
        if type(good) is CoroutineType:
            good.close()
            raise Failure(kind, f"{getattr(check, '__name__', check)} checks nothing: a check is a plain function")
