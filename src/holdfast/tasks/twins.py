"""The one place that decides between the two twins: the compiled methods of `_speedups`, or the Python ones alone.

The classes are written in Python, and are complete. Where `_speedups` was built, `compiled()` derives a class of the
same name from each of them. In that class the fields are in C, and the methods of the hot paths have a second body in
C, which passes whatever is not the plain case to the Python body. So the Python code says all that a primitive does,
and `_speedups` is a faster way through some of it.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Coroutine
from typing import Any, TypeVar

from holdfast import _hooks

C = TypeVar("C", bound=type)


def _load() -> tuple[Any, str]:
    """Return the compiled twin and "", or None and the reason."""
    if os.environ.get("HOLDFAST_PURE_PYTHON"):
        return None, "HOLDFAST_PURE_PYTHON is set"
    if sys.implementation.name != "cpython":
        return None, "the compiled part is for CPython"
    try:
        return importlib.import_module("._speedups", __package__), ""
    except ModuleNotFoundError:
        return None, "it was installed without a C compiler or Python.h at hand, or from a pure wheel"
    except ImportError as exc:  # It was made for another system: another libc, say.
        return None, f"the compiled part cannot be loaded: {exc}"


_speedups, why_pure = _load()
"""`why_pure` tells users why they have the pure twin: pip shows nothing of a build that goes on without a compiler."""

if _speedups is not None:
    _hooks.follow(_speedups.tell_of_waits)

accelerated: bool = _speedups is not None
"""Whether the compiled twin is in use. It is not with HOLDFAST_PURE_PYTHON=1 in the environment."""


def compiled(cls: C) -> C:
    """Return the compiled twin of a class, a subclass that does the same; or `cls` itself if there is none."""
    fields = getattr(_speedups, cls.__name__, None)
    if fields is None:
        return cls
    namespace: dict[str, Any] = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    if "__slots__" in cls.__dict__:  # Both have the fields, so both cannot be bases.
        bases: tuple[type, ...] = (fields,)
        namespace |= {name: value for name, value in vars(cls).items() if isinstance(value, types.FunctionType)}
        namespace["__slots__"] = [name for name in cls.__dict__["__slots__"] if not hasattr(fields, name)]
    else:
        bases = (fields, cls)
        namespace |= {"__getstate__": _get_state, "__setstate__": _set_state}
    if "__orig_bases__" in cls.__dict__:  # It is generic, and so is the twin.
        namespace["__orig_bases__"] = cls.__dict__["__orig_bases__"]
    twin: Any = type(cls)(cls.__name__, bases, namespace)
    for name, function in (_shown(cls) | _speedups.functions(fields, cls, twin, frame_for)).items():
        setattr(twin, name, function)
    _speedups.complete(fields, twin)
    return twin  # type: ignore[no-any-return]


def _shown(cls: type) -> dict[str, Any]:
    """What help() shows of a class. The twin has it as its own, so help() says the same of both."""
    return {
        name: value
        for name, value in vars(cls).items()
        if isinstance(value, (types.FunctionType, property)) and (not name.startswith("_") or name.endswith("__"))
    }


def reference(cls: C) -> C:
    """Return the class that `compiled()` was given. Python code that works on its fields is faster with it."""
    return cls if getattr(_speedups, cls.__name__, None) is None else cls.__bases__[1]  # type: ignore[return-value]


def finished(cls: type[Any]) -> Any:
    """Return the one coroutine that has nothing left to do: `cls()`, or its compiled twin."""
    return cls() if _speedups is None else _speedups.FINISHED


def frame_for(python: types.FunctionType) -> types.FunctionType:
    """Return a coroutine function that gives a frame to waits of the compiled twin of the method `python`.

    `_speedups` calls it with the primitive and a coroutine of C that will have to wait. The result awaits that
    coroutine, and looks like a coroutine of `python` that has not got beyond its first line. So debuggers, and
    `python -m asyncio ps` from another process, see which task waits for what.
    """

    async def wait_in_frame(self: object, waiting: Coroutine[Any, Any, object]) -> object:
        return await waiting

    code, looks = wait_in_frame.__code__, python.__code__
    units = len(code.co_code) // 2
    code = code.replace(
        co_filename=looks.co_filename,
        co_firstlineno=looks.co_firstlineno,
        co_name=looks.co_name,
        co_qualname=looks.co_qualname,
        # All instructions are at the first line, without columns. An entry is for up to 8 instructions.
        co_linetable=b"".join(bytes((0x80 | 13 << 3 | min(8, units - i) - 1, 0)) for i in range(0, units, 8)),
    )
    function = types.FunctionType(code, python.__globals__, python.__name__)
    function.__qualname__ = python.__qualname__
    return function


# Copies and pickles have the same attributes in both twins.


def _get_state(self: object) -> dict[str, Any]:
    """For copies and pickles: the attributes, by name."""
    fields = (
        name for base in type(self).__mro__ if base.__module__ == f"{__package__}._speedups" for name in vars(base)
    )
    names = (name for name in fields if not name.startswith("__") and hasattr(self, name))  # None before __init__().
    return vars(self) | {name: getattr(self, name) for name in names}


def _set_state(self: object, state: dict[str, Any]) -> None:
    """For copies and pickles: set the attributes."""
    for name, value in state.items():
        setattr(self, name, value)
