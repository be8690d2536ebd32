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
import holdfast.debug
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
    readers_and_writers, limiter, locks = holdfast.RWLock(), holdfast.RateLimiter(1), holdfast.KeyedLock()
    made = [*(kind() for kind in tasks), holdfast.Barrier(1), readers_and_writers, limiter]
    for kind in {type(one.statistics()) for one in made}:
        setattr(holdfast, kind.__name__, kind)
    for one in [*(getattr(holdfast.threads, kind.__name__)() for kind in tasks), holdfast.threads.Barrier(1)]:
        setattr(holdfast.threads, type(one.sync).__name__, type(one.sync))
    rw, shared = readers_and_writers, holdfast.threads.RWLock()
    for kind in (type(rw.reader), type(rw.writer), type(rw.reader).__base__, type(locks["key"]), type(locks.all())):
        setattr(holdfast, kind.__name__, kind)
    of_a_key = type(holdfast.threads.KeyedLock()["key"].sync)
    others = holdfast.threads.RateLimiter(1), holdfast.threads.SingleFlight(), holdfast.threads.Once()
    views = *(type(each.sync) for each in others), type(shared.reader.sync), type(shared.writer.sync)
    for kind in (*views, type(shared.reader.sync).__base__, of_a_key):
        setattr(holdfast.threads, kind.__name__, kind)
    for package in (holdfast, holdfast.threads, holdfast.cluster, holdfast.debug, holdfast.testing):
        for thing in list(vars(package).values()):
            if inspect.isclass(thing) and thing.__module__ == package.__name__:
                by_source(thing)
    return {"parallel_read_safe": True}
