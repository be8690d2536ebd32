"""What a scenario says must hold."""

from __future__ import annotations

from collections.abc import Iterable
from types import CoroutineType

from .describe import said, shown
from .run import Check
from .schedule import Failure


def check_all(kind: str, checks: Iterable[Check]) -> None:
    """Make the checks, one after the other."""
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
