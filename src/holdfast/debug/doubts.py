"""Why it is not sure that somebody holds what it seems to hold, or that nothing but the others ends its wait."""

from __future__ import annotations

import enum


class Doubt(enum.Enum):
    """Each is the end of a sentence: what somebody waits for ..."""

    RELEASED = "may have been released inside the block, as what runs there calls release()"
    ACQUIRED = (
        "is what it holds itself, and it has called acquire(), so that it may have been released inside the block"
    )
    GENERATOR = "is held by an asynchronous generator, which another task may run as well"
    COUNTS = "may not be held: the blocks that its holder is in do not fit what is on its stack"
    NAME = "is known by the names in a 'with' line, which may have other values by now"
