"""What the embedded engine needs of the system that it runs on. Can be imported on every system."""

from __future__ import annotations

import importlib
import os
import socket
import sys

_NO_PROCESSES = "emscripten", "wasi"
"""Platforms that have POSIX's functions, but not the processes that these are about."""
_MODULES = "fcntl", "sqlite3"
_NAMES = (os, "geteuid"), (os, "register_at_fork"), (socket, "AF_UNIX")


def lacking() -> str | None:
    """The name of something that the engine needs and that is missing here; None if nothing is missing."""
    if sys.platform in _NO_PROCESSES:
        return "processes"
    for module, name in _NAMES:
        if not hasattr(module, name):
            return f"{module.__name__}.{name}"
    for name in _MODULES:
        try:
            importlib.import_module(name)
        except ImportError:
            return f"the module {name}"
    return None
