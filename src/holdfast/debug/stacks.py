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
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from holdfast.tasks.lock import Lock

from .doubts import Doubt
from .story import Place
from .with_blocks import blocks, more_exits

EXITS = "__aexit__", "__exit__"
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_NOT_USERS = (
    *(os.path.join(_OURS, folder, "") for folder in ("tasks", "threads", "debug", "blocking", "cluster")),
    os.path.join(_OURS, "_"),
    os.path.join(os.path.dirname(asyncio.__file__), ""),
    contextlib.__file__,
)
"""Where the files are whose lines are not shown, as the user's line is further out."""


classes_of: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
"""A class and its bases, without a question to its metaclass."""


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
    doubt: Doubt | None
    """Why it may not be in the block, or the block not hold anything."""
    depth: int
    """Which link of the chain is in the block, or refers to what is."""
    frame: types.FrameType
    """The frame that is in the block."""


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
_LINKS: dict[int, tuple[str, str]] = {
    id(types.CoroutineType): ("cr_frame", "cr_await"),
    id(types.GeneratorType): ("gi_frame", "gi_yieldfrom"),
    id(types.AsyncGeneratorType): ("ag_frame", "ag_await"),
}
"""Those with a frame: its name, and that of what is awaited. By identity: a class may have no hash."""
_CHAINED = {*_LINKS, id(_COROUTINE), id(_STEP), id(_THROW), id(_WRAPPER)}
_METHOD, _FUNCTION_BEFORE_SELF, _GENERATOR = range(3)
_METHODS = types.MethodType, types.BuiltinMethodType, types.MethodWrapperType, _BOUND
_FUNCTIONS = types.FunctionType, types.MethodDescriptorType, types.WrapperDescriptorType, _FUNCTION
_ON_STACK: dict[int, int] = {
    **dict.fromkeys(map(id, _METHODS), _METHOD),
    **dict.fromkeys(map(id, _FUNCTIONS), _FUNCTION_BEFORE_SELF),
    id(types.AsyncGeneratorType): _GENERATOR,
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
        names = _LINKS.get(id(type(awaitable)))
        if names is not None:
            links.append(link)
            awaitable = getattr(awaitable, names[1], None)
        else:
            if type(awaitable) is _COROUTINE:
                links.append(link)
            awaitable = next(
                (each for each in link.referents if id(type(each)) in _CHAINED and id(each) not in seen), None
            )
    return links


def _link(awaitable: object) -> Link:
    names = _LINKS.get(id(type(awaitable)))
    frame = None if names is None else getattr(awaitable, names[0], None)
    return Link(awaitable, frame, frame is not None and is_users(frame), gc.get_referents(awaitable))


def place_of(frame: types.FrameType, line: int | None = None) -> Place:
    """A line of a frame; by default the one that it is at."""
    code = frame.f_code
    return Place(code.co_filename, line or frame.f_lineno or code.co_firstlineno, code.co_qualname)


def is_users(frame: types.FrameType) -> bool:
    """Whether a frame is to be shown: not one of a primitive, of asyncio or of contextlib."""
    return is_users_file(frame.f_code.co_filename)


@lru_cache(maxsize=1024)
def is_users_file(file: str) -> bool:
    """The same of the file of a function."""
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
    """The context managers whose blocks a suspended chain is in, from the outside in.

    One that is a function with a `yield` comes before those that it is inside of.
    """
    inside = {id(link.awaitable) for link in links}
    for depth, link in enumerate(links):
        yield from _of_frame(link, None, None, depth, inside)


class _OnStack(NamedTuple):
    """What a frame refers to that is of interest here."""

    exits: list[Any]
    """Of each exit, whose it is."""
    generators: list[Any]


def _of_frame(link: Link, generator: object, doubt: Doubt | None, depth: int, inside: set[int]) -> Iterator[Manager]:
    frame = link.frame
    if frame is None:
        return
    found = _on_stack(link, {})
    if found.exits:
        around = blocks(frame.f_code, frame.f_lasti)
        more = more_exits(frame.f_code, frame.f_lasti)
        if len(found.exits) != len(around) + more:  # somebody has put an exit into a variable
            found = _on_stack(link, _variables(link))
        is_exact = len(found.exits) == len(around) + more
        if not is_exact:
            doubt = doubt or Doubt.COUNTS
        for manager, block in zip(found.exits, around if is_exact else [None] * len(found.exits), strict=False):
            place = place_of(frame, None if block is None else block.line)
            yield from _unwrapped(Manager(manager, place, is_exact, generator, doubt, depth, frame), inside)
    generators = {id(each): each for each in found.generators if id(each) not in inside and not each.ag_running}
    if generators:
        iterated = {id(each) for each in _on_stack(link, _variables(link)).generators}
        for key, value in generators.items():
            inside.add(key)
            unsure = doubt if key in iterated else doubt or Doubt.GENERATOR
            yield from _of_frame(_link(value), value, unsure, depth, inside)


def _on_stack(link: Link, variables: dict[int, int]) -> _OnStack:
    """What a frame has on its stack; with its variables, but for these, which come before the stack."""
    found = _OnStack([], [])
    left = {**variables}
    referents = link.referents
    for i, kind in enumerate(map(_ON_STACK.get, map(id, map(type, referents)))):
        if kind is None:
            continue
        value = referents[i]
        if left.get(id(value)):
            left[id(value)] -= 1
        elif kind == _GENERATOR:
            found.generators.append(value)
        elif _name_of(value) not in EXITS:
            continue
        elif kind == _METHOD:
            found.exits.append(value.__self__)
        elif i + 1 < len(referents) and not _is_its_own(value, link.frame):
            found.exits.append(referents[i + 1])
    return found


def _variables(link: Link) -> dict[int, int]:
    """How many variables of a frame have each value, by its identity. Those that closures share are not among them."""
    frame = link.frame
    if frame is None:
        return {}
    code = frame.f_code
    found: dict[int, int] = {}
    variables: Any = frame.f_locals
    for name in code.co_varnames:
        if name not in code.co_cellvars and name in variables:
            value = variables[name]
            found[id(value)] = found.get(id(value), 0) + 1
    if type(variables) is dict and not any(each is variables for each in link.referents):
        variables.clear()  # up to Python 3.12 this is a copy, and the frame would keep its values alive
    return found


def _name_of(value: Any) -> str | None:
    """The name of a method or function, without a question to an object that a method may be made of."""
    function = value.__func__ if type(value) is types.MethodType else value
    return function.__name__ if id(type(function)) in _ON_STACK and type(function) is not types.MethodType else None


def _is_its_own(function: object, frame: types.FrameType | None) -> bool:
    """Whether it is the function that a frame runs."""
    return type(function) is types.FunctionType and frame is not None and function.__code__ is frame.f_code


def is_function_with_yield(manager: object) -> bool:
    """Whether it is what a function with `@contextmanager` or `@asynccontextmanager` returns."""
    return _is_one_of(manager, (contextlib._AsyncGeneratorContextManager, contextlib._GeneratorContextManager))


def _is_one_of(value: object, classes: tuple[type, ...]) -> bool:
    """As issubclass(), which would look an abstract class's subclass up in a set: it may not be hashable."""
    return any(base is each for base in classes_of(type(value)) for each in classes)


def _unwrapped(found: Manager, inside: set[int]) -> Iterator[Manager]:
    """A context manager; and those inside it, if it is a function with a `yield`, or an exit stack."""
    manager: Any = found.manager
    if is_function_with_yield(manager):
        yield found
        generator = manager.gen
        if id(generator) not in inside:
            inside.add(id(generator))
            yield from _of_frame(_link(generator), found.generator, found.doubt, found.depth, inside)
    elif _is_one_of(manager, (contextlib.AsyncExitStack, contextlib.ExitStack)):
        for _, callback in tuple(manager._exit_callbacks):
            if _ON_STACK.get(id(type(callback))) == _METHOD and _name_of(callback) in EXITS:
                yield from _unwrapped(found._replace(manager=callback.__self__), inside)
    else:
        yield found
