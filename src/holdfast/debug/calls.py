"""Whether what runs in a frame may call a `release()`: it, or a function that it calls, as far as names tell.

A name with `release` in it is enough, and so is `__aexit__`. Functions are found by the names that the code has: among
its variables, globals and modules, and as methods of those. Two calls deep is looked.

What must hold: nothing of the program is called. What cannot be looked into may release.
"""

from __future__ import annotations

import os
import types
from collections.abc import Iterable, Iterator
from typing import Any

from .stacks import classes_of, is_users, is_users_file
from .written import attribute_of

_DEPTH = 2
_MOST = 500
"""Functions that are looked at. Where there are more, one may release."""
_STANDARD = os.path.join(os.path.dirname(os.__file__), "")
_INSTALLED = "site-packages", "dist-packages"
_EXITS = {"__aexit__", "__exit__"}


def may_release_in(frame: types.FrameType) -> bool:
    """Whether what a frame runs may."""
    if not is_users(frame):
        return False
    variables = frame.f_locals
    values = [variables[name] for name in (*frame.f_code.co_varnames, *frame.f_code.co_freevars) if name in variables]
    values += [variables[name] for name in frame.f_code.co_cellvars if name in variables]
    return _may(frame.f_code, frame.f_globals, values)


def may_release(function: types.FunctionType) -> bool:
    """Whether a function may."""
    return _is_looked_into(function) and _may(function.__code__, function.__globals__, _shared(function))


def _may(code: types.CodeType, variables: dict[str, Any], values: Iterable[Any]) -> bool:
    seen: set[int] = set()
    level = [(code, variables, [*values])]
    for depth in range(_DEPTH + 1):
        if any(_names_it(each) for each, _, _ in level):
            return True
        if depth == _DEPTH:
            break
        callees = []
        try:
            for each in level:
                for function in _called(*each):
                    if id(function.__code__) not in seen and _is_looked_into(function):
                        seen.add(id(function.__code__))
                        callees.append((function.__code__, function.__globals__, _shared(function)))
        except Exception:  # an object whose class cannot be looked into
            return True
        if len(seen) > _MOST:
            return True
        level = callees
    return False


def _names_it(code: types.CodeType) -> bool:
    names = (*code.co_names, *code.co_varnames, *code.co_freevars)
    return (
        any("release" in name for name in names)
        or not _EXITS.isdisjoint(names)
        or any(_names_it(each) for each in code.co_consts if type(each) is types.CodeType)
    )


def _called(code: types.CodeType, variables: dict[str, Any], values: list[Any]) -> Iterator[types.FunctionType]:
    """The functions that a code may call."""
    names = {*code.co_names}
    for each in code.co_consts:
        if type(each) is types.CodeType:
            names.update(each.co_names)
    objects = [*values, *(variables[name] for name in names if name in variables)]
    for value in objects:
        yield from _functions(value)
    for value in [*objects, *(attribute_of(each, name) for each in objects for name in names)]:
        if type(value) is types.ModuleType:
            for name in names:
                yield from _functions(value.__dict__.get(name))
        else:
            for each in classes_of(value if issubclass(type(value), type) else type(value)):
                for name in names & each.__dict__.keys():
                    yield from _functions(each.__dict__[name])


def _functions(value: Any) -> Iterator[types.FunctionType]:
    """The function that a value is, or is made of."""
    kind = type(value)
    if kind is types.FunctionType:
        yield value
    elif kind is types.MethodType or kind is staticmethod or kind is classmethod:
        yield from _functions(value.__func__)
    elif kind is property:
        yield from _functions(value.fget)


def _shared(function: types.FunctionType) -> list[Any]:
    """The values of the variables that a function shares with those around it."""
    values = []
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # it has no value yet
            continue
    return values


def _is_looked_into(function: types.FunctionType) -> bool:
    """Whether it is the program's, or that of a package which is installed: not one of ours or of Python's own."""
    file = function.__code__.co_filename
    is_standard = file.startswith((_STANDARD, "<frozen")) and not any(part in file for part in _INSTALLED)
    return not is_standard and is_users_file(file)
