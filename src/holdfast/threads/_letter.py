"""How a task is woken from outside its event loop: by a letter, in which others find a place until it is opened."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import ref

from ._bell import count_letter
from ._section import deliver

if TYPE_CHECKING:
    from ._waiter import TaskWaiter


class Letter:
    """What is sent to a loop. Closed, a loop drops it, and it tells so."""

    __slots__ = ("__weakref__", "loop", "named")

    def __init__(self, waiter: TaskWaiter) -> None:
        self.loop: asyncio.AbstractEventLoop = waiter.loop
        self.named = [waiter]
        """Who is to be woken."""

    def __call__(self) -> None:
        """Let them run, in the loop itself."""
        on_their_way.pop(id(self.loop), None)  # first: who comes now sends another one
        named, self.named = self.named, []
        try:
            for waiter in named:
                waiter.run()
        except BaseException:  # such as KeyboardInterrupt: the others are for the loop's next run
            deliver(named)
            raise
        count_letter(self.loop)

    def __del__(self) -> None:
        if getattr(self, "named", None):  # there are none if a signal handler has raised while it was made
            self.lost()

    def lost(self) -> None:
        """The loop was closed, and will not open it."""
        on_their_way.pop(id(self.loop), None)
        for waiter in self.named:
            waiter.lose()


on_their_way: dict[int, ref[Letter]] = {}
"""By the id of its loop, the letter that it has not opened yet. The loop alone keeps it, and so drops it."""


def send(waiter: TaskWaiter) -> None:
    """Wake a task from elsewhere. What is sent until the loop takes note goes with one call."""
    there = id(waiter.loop)
    known = on_their_way.get(there)
    letter = None if known is None else known()
    if letter is not None:
        letter.named.append(waiter)
        if on_their_way.get(there) is known:
            return
        # It has been opened meanwhile, perhaps before the name was in it.
    letter = Letter(waiter)
    try:
        on_their_way[there] = ref(letter)
        waiter.loop.call_soon_threadsafe(letter)
    except BaseException as error:
        if not (isinstance(error, RuntimeError) and waiter.loop.is_closed()):
            on_their_way.pop(there, None)  # A signal handler has raised, and this is called again.
            raise
        letter.lost()
