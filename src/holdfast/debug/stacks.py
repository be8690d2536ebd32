"""What a suspended coroutine tells: where it is, and which context managers it will leave.

A frame that is inside `async with lock:` has `__aexit__` of that lock on its stack, because the interpreter has to call
it. Up to Python 3.13 it is a bound method there; from 3.14 on a function, and the lock after it. The garbage collector
may ask a coroutine what it refers to, and so may anybody. So nothing has to be noted while the program runs.

What must hold: nothing of the program is called. Objects that a program made are looked at by type(), because a mock or
a proxy answers isinstance() and hasattr() with code of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import types
from collections.abc import AsyncGenerator, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from holdfast.tasks.lock import Lock

from .story import Place
from .with_blocks import blocks

EXITS = "__aexit__", "__exit__"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_USERS = (
    *(os.path.join(_OURS, folder, "") for folder in ("tasks", "threads", "debug", "blocking")),
    os.path.join(os.path.dirname(asyncio.__file__), ""),
    contextlib.__file__,
)
"""Where the files are whose lines are not shown, as the user's line is further out."""


class Link(NamedTuple):
    """A coroutine, a generator, or what else is awaited, in the chain of those that a task runs."""

    awaitable: object
    frame: types.FrameType | None
    """None for one that is written in C."""
    is_users: bool
    """Whether it is to be shown: not one of a primitive, of asyncio or of contextlib."""
    referents: list[Any]
    """What it refers to: its variables in their order, then its stack."""


class Manager(NamedTuple):
    """A context manager whose block a suspended frame is in."""

    manager: Any
    place: Place
    is_exact: bool
    """Whether the place is that of the block. Else it may be one that is just being entered."""
    generator: object
    """The asynchronous generator that is in the block, if it is one which is not running in this task just now."""
    releases: bool
    """Whether the function calls a `release()` itself. Then it may have released this in the middle of the block."""


async def _generate() -> AsyncGenerator[None, None]:
    yield


def _types() -> tuple[type, type, type, type, type, type]:
    """Types that have no public name: compiled coroutines, methods and functions of ours, and helpers of CPython."""
    acquire = (lock := Lock()).acquire()
    generator = _generate()
    steps = generator.__anext__(), generator.athrow(GeneratorExit)
    wrapper = acquire.__await__()
    try:
        return (
            type(acquire),
            type(lock.__aexit__),
            type(inspect.getattr_static(Lock, "__aexit__")),
            type(steps[0]),
            type(steps[1]),
            type(wrapper),
        )
    finally:
        acquire.close()
        for step in steps:
            step.close()


_COROUTINE, _BOUND, _FUNCTION, _STEP, _THROW, _WRAPPER = _types()
_LINKS: dict[type, tuple[str, str]] = {
    types.CoroutineType: ("cr_frame", "cr_await"),
    types.GeneratorType: ("gi_frame", "gi_yieldfrom"),
    types.AsyncGeneratorType: ("ag_frame", "ag_await"),
}
"""Those with a frame: its name, and that of what is awaited."""
_CHAINED = {*_LINKS, _COROUTINE, _STEP, _THROW, _WRAPPER}
_METHOD, _FUNCTION_BEFORE_SELF, _GENERATOR = range(3)
_ON_STACK: dict[type, int] = {
    **dict.fromkeys((types.MethodType, types.BuiltinMethodType, types.MethodWrapperType, _BOUND), _METHOD),
    **dict.fromkeys(
        (types.FunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, _FUNCTION), _FUNCTION_BEFORE_SELF
    ),
    types.AsyncGeneratorType: _GENERATOR,
}
"""What is of interest among the referents of a frame."""


def chain(coroutine: object) -> list[Link]:
    """A coroutine and all that it awaits, from the outside in. What it awaits last, a future, is not among them."""
    links = []
    seen = set()
    awaitable: object | None = coroutine
    while awaitable is not None and id(awaitable) not in seen:
        seen.add(id(awaitable))
        link = _link(awaitable)
        names = _LINKS.get(type(awaitable))
        if names is not None:
            links.append(link)
            awaitable = getattr(awaitable, names[1], None)
        else:
            if type(awaitable) is _COROUTINE:
                links.append(link)
            awaitable = next((each for each in link.referents if type(each) in _CHAINED and id(each) not in seen), None)
    return links


def _link(awaitable: object) -> Link:
    names = _LINKS.get(type(awaitable))
    frame = None if names is None else getattr(awaitable, names[0], None)
    return Link(awaitable, frame, frame is not None and is_users(frame), gc.get_referents(awaitable))


def place_of(frame: types.FrameType, line: int | None = None) -> Place:
    """A line of a frame; by default the one that it is at."""
    code = frame.f_code
    return Place(code.co_filename, line or frame.f_lineno or code.co_firstlineno, code.co_qualname)


def releases(frame: types.FrameType) -> bool:
    """Whether the function of a frame calls a method of that name."""
    return "release" in frame.f_code.co_names


def is_users(frame: types.FrameType) -> bool:
    """Whether a frame is to be shown: not one of a primitive, of asyncio or of contextlib."""
    return _is_users(frame.f_code.co_filename)


@lru_cache(maxsize=1024)
def _is_users(file: str) -> bool:
    return not file.startswith(_NOT_USERS)


def users_place(links: list[Link]) -> Place | None:
    """The innermost line of the user's own."""
    shown = None
    for link in reversed(links):
        frame = link.frame
        if frame is not None:
            if link.is_users:
                return place_of(frame)
            shown = shown or frame
    return None if shown is None else place_of(shown)


def managers(links: list[Link]) -> Iterator[Manager]:
    """The context managers whose blocks a suspended chain is in, from the outside in."""
    inside = {id(link.awaitable) for link in links}
    for link in links:
        yield from _of_frame(link, None, inside)


def _of_frame(link: Link, generator: object, inside: set[int]) -> Iterator[Manager]:
    frame = link.frame
    if frame is None:
        return
    exits = []
    generators = []
    referents = link.referents
    for i, kind in enumerate(map(_ON_STACK.get, map(type, referents))):
        if kind is None:
            continue
        value = referents[i]
        if kind == _GENERATOR:
            if id(value) not in inside and not value.ag_running:
                generators.append(value)
        elif value.__name__ in EXITS:
            if kind == _METHOD:
                exits.append(value.__self__)
            elif i + 1 < len(referents):
                exits.append(referents[i + 1])
    if exits:
        around = blocks(frame.f_code, frame.f_lasti)
        # The last one may belong to a block that is just being entered, or has been left and awaits its exit.
        is_exact = len(exits) - len(around) in (0, 1)
        for manager, block in zip(exits, around if is_exact else [None] * len(exits), strict=False):
            place = place_of(frame, None if block is None else block.line)
            yield from _unwrapped(Manager(manager, place, is_exact, generator, releases(frame)), inside)
    for value in generators:
        inside.add(id(value))
        yield from _of_frame(_link(value), value, inside)


def _unwrapped(found: Manager, inside: set[int]) -> Iterator[Manager]:
    """A context manager; or those inside it, if it is a function with a `yield`, or an exit stack."""
    manager: Any = found.manager
    kind = type(manager)
    if issubclass(kind, (contextlib._AsyncGeneratorContextManager, contextlib._GeneratorContextManager)):
        generator = manager.gen
        if id(generator) not in inside:
            inside.add(id(generator))
            yield from _of_frame(_link(generator), found.generator, inside)
    elif issubclass(kind, (contextlib.AsyncExitStack, contextlib.ExitStack)):
        for _, callback in tuple(manager._exit_callbacks):
            if _ON_STACK.get(type(callback)) == _METHOD and callback.__name__ in EXITS:
                yield from _unwrapped(found._replace(manager=callback.__self__), inside)
    else:
        yield found
