"""Where autodoc finds what the package hands out and does not export, and the source of what it exports.

A class gives the public module as its own, and autodoc looks there for the texts under its attributes. The classes of
`lock.sync` and `lock.statistics()` have no public name.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any

import holdfast
import holdfast.cluster
import holdfast.testing
import holdfast.threads


def by_source(kind: type) -> None:
    """Give the class the name of the module in which it is written."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("holdfast.") or name == kind.__module__:
            continue
        if getattr(module, kind.__name__, None) is kind and f"\nclass {kind.__name__}" in inspect.getsource(module):
            kind.__module__ = name
            return


def setup(app: Any) -> dict[str, bool]:
    tasks = [getattr(holdfast, name) for name in ("Lock", "Event", "Condition", "Semaphore")]
    made = [*(kind() for kind in tasks), holdfast.Barrier(1)]
    for kind in {type(one.statistics()) for one in made}:
        setattr(holdfast, kind.__name__, kind)
    for one in [*(getattr(holdfast.threads, kind.__name__)() for kind in tasks), holdfast.threads.Barrier(1)]:
        setattr(holdfast.threads, type(one.sync).__name__, type(one.sync))
    for package in (holdfast, holdfast.threads, holdfast.cluster, holdfast.testing):
        for thing in list(vars(package).values()):
            if inspect.isclass(thing) and thing.__module__ == package.__name__:
                by_source(thing)
    return {"parallel_read_safe": True}
