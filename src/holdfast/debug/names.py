"""What tasks, threads and other objects are called. What the program has made may raise when it is asked."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

_name_of_class = type.__dict__["__name__"].__get__


def class_name(value: object) -> str:
    """The name of its class, without a question to a metaclass."""
    name: str = _name_of_class(type(value))
    return name


def repr_of(value: object) -> str:
    """Its repr; if that raises, its class and the error."""
    try:
        return repr(value)
    except Exception as exc:
        return f"<{class_name(value)} object at {id(value):#x} (its repr has raised {class_name(exc)})>"


def name_of_task(task: asyncio.Task[Any]) -> str:
    """The repr of the name of a task; if its get_name() raises, the error."""
    try:
        return repr(task.get_name())
    except Exception as exc:
        return f"at {id(task):#x} (its get_name() has raised {class_name(exc)})"


def name_of_thread(thread: threading.Thread) -> str:
    """The repr of the name of a thread; if a property of a subclass raises, the error."""
    try:
        return repr(thread.name)
    except Exception as exc:
        return f"{thread.ident} (its name has raised {class_name(exc)})"
