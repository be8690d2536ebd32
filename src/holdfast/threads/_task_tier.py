"""The primitives of the task tier that this tier's are made of: the Python ones, also where those are compiled.

Here a primitive changes in Python's code, to which its own fields are nearer than those of `_speedups`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import holdfast
from holdfast._twins import reference

if TYPE_CHECKING:
    from holdfast import Barrier, Condition, Event, Lock, Semaphore
else:
    Barrier, Condition, Event, Lock, Semaphore = map(
        reference, (holdfast.Barrier, holdfast.Condition, holdfast.Event, holdfast.Lock, holdfast.Semaphore)
    )

__all__ = ["Barrier", "Condition", "Event", "Lock", "Semaphore"]
