"""Which twin: the compiled bodies of `_speedups` where they were built, the Python ones elsewhere. Decided here alone.

The classes are written in Python, and complete. `compiled()` makes a class of the same name over the same Python
class, in which `_speedups` keeps the fields, and gives a second body to the methods of the hot paths. Those pass
whatever is not plain to the Python body. So there is one account of what a primitive does, and `_speedups` is a faster
way through some of it.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from typing import Any, TypeVar

C = TypeVar("C", bound=type)


def _load() -> Any:
    if os.environ.get("HOLDFAST_PURE_PYTHON") or sys.implementation.name != "cpython":
        return None
    try:
        return importlib.import_module("._speedups", __package__)
    except ImportError:  # there was no compiler when it was installed
        return None


_speedups = _load()

accelerated: bool = _speedups is not None
"""Whether the compiled twin is in use. HOLDFAST_PURE_PYTHON=1 in the environment prevents it."""


def compiled(cls: C) -> C:
    """The compiled twin of a class, which can do everything that `cls` can; `cls` itself if there is none."""
    fields = getattr(_speedups, cls.__name__, None)
    if fields is None:
        return cls
    namespace: dict[str, Any] = {name: getattr(cls, name) for name in ("__module__", "__qualname__", "__doc__")}
    if "__slots__" in cls.__dict__:  # its fields are those of `fields`, so it cannot be a base as well
        bases: tuple[type, ...] = (fields,)
        namespace |= {name: value for name, value in vars(cls).items() if isinstance(value, types.FunctionType)}
        namespace["__slots__"] = [name for name in cls.__dict__["__slots__"] if not hasattr(fields, name)]
    else:
        bases = (fields, cls)
        namespace |= {"__getstate__": _get_state, "__setstate__": _set_state}
    twin: Any = type(cls)(cls.__name__, bases, namespace)
    for name, function in _speedups.functions(fields, cls, twin).items():
        setattr(twin, name, function)
    return twin  # type: ignore[no-any-return]


def reference(cls: C) -> C:
    """The Python class that `compiled()` was given; for code in Python that works on the fields, its own are faster."""
    return cls if _speedups is None else cls.__bases__[1]  # type: ignore[return-value]


def finished(cls: type[Any]) -> Any:
    """The one instance of a coroutine that has nothing left to do."""
    return cls() if _speedups is None else _speedups.FINISHED


# Copying and pickling see the same attributes in both twins.


def _get_state(self: object) -> dict[str, Any]:
    fields = (
        name for base in type(self).__mro__ if base.__module__ == f"{__package__}._speedups" for name in vars(base)
    )
    return vars(self) | {name: getattr(self, name) for name in fields if not name.startswith("__")}


def _set_state(self: object, state: dict[str, Any]) -> None:
    for name, value in state.items():
        setattr(self, name, value)
