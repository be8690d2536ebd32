"""What a primitive knows of `holdfast.instrumentation` while there is no hook: whether there is one, and its own name.

A primitive asks where a waiter joins a line, and nowhere else. So what need not wait pays nothing, and a program
without hooks does not load the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

P = TypeVar("P", bound="Named")

are_installed = False
"""Whether there is a hook."""
were_installed = False
"""Whether there has ever been one."""
look_in_debug_mode: Callable[[asyncio.AbstractEventLoop, asyncio.Future[int]], object] | None = None
"""What is called when a task begins to wait in an event loop in asyncio's debug mode: it looks for deadlocks."""
_followers: list[Callable[[bool], object]] = []


def follow(switch: Callable[[bool], object]) -> None:
    """Call this now and at each change, with whether there is a hook. For the compiled twin."""
    _followers.append(switch)
    switch(are_installed)


def set_installed(are: bool) -> None:
    """Called when the first hook was installed, and when the last one was taken away."""
    global are_installed, were_installed
    are_installed = are
    were_installed = were_installed or are
    for switch in _followers:
        switch(are)


class Named:
    """A primitive of tasks or threads, as hooks are told of it."""

    _kind: str
    """What it is, in the words of reports."""
    _name = ""
    """What the program calls it."""

    def _parts(self) -> Iterable[Named]:
        """The primitives that it is made of, which are told under its name."""
        return ()


def named(primitive: P, name: str) -> P:
    """Give a primitive of tasks or threads a name, under which hooks are told of it, and return the primitive.

    primitive: of `holdfast` or `holdfast.threads`. name: the name in metrics. Several may share one. The lock of a
        Condition that has no name, and the locks of a KeyedLock, get it as well.

    Raises TypeError if it is no such primitive, or the name no string; ValueError if the name is empty.

    Example::

        pool = holdfast.instrumentation.named(holdfast.Semaphore(10), "db pool")
    """
    if not isinstance(primitive, Named):
        raise TypeError(
            f"named() needs a primitive of holdfast or holdfast.threads, not {primitive!r}; what a session has made "
            "has its name already, and `sync` has that of the primitive it belongs to"
        )
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, not {name!r}")
    if not name:
        raise ValueError("name must not be empty: that is what a primitive without a name is called")
    for part in primitive._parts():
        part._name = part._name or name
    primitive._name = name
    return primitive
