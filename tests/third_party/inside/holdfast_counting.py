"""Count the primitives that a process makes.

The classes stay the very ones that install() puts in asyncio's place, and no object has another type: each `__init__`,
which is written in Python in both twins and on no hot path, is wrapped before anything is made.
"""

import atexit
import functools
import json
import os
from collections import Counter
from pathlib import Path

import holdfast

CLASSES = [
    holdfast.Lock,
    holdfast.Event,
    holdfast.Condition,
    holdfast.Semaphore,
    holdfast.BoundedSemaphore,
    holdfast.Barrier,
]
made = Counter()
"""How many of each class, those of its subclasses included."""


def begin(folder):
    """Count from now on. What was counted is in a file in `folder` when the process ends.

    A process that ends without running what is registered with atexit, as those that multiprocessing forks do, leaves
    no file: the sum is a lower bound.
    """
    for cls in CLASSES:
        _count(cls)
    os.register_at_fork(after_in_child=made.clear)
    atexit.register(_write, Path(folder))


def _count(cls):
    init = cls.__init__

    @functools.wraps(init)
    def counted(self, *args, **kwargs):
        if next(base for base in type(self).__mro__ if base in CLASSES) is cls:  # a BoundedSemaphore is no Semaphore
            made[cls.__name__] += 1
        init(self, *args, **kwargs)

    cls.__init__ = counted


def _write(folder):
    (folder / f"{os.getpid()}.json").write_text(json.dumps(made), encoding="utf-8")
