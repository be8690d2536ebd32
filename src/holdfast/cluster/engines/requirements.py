"""What the embedded engine needs of the system it runs on."""

from __future__ import annotations

import importlib
import os
import socket
import sys

_NO_PROCESSES = "emscripten", "wasi"
"""Platforms that have the names of POSIX, and not what they stand for."""
_MODULES = "fcntl", "sqlite3"
_NAMES = (os, "geteuid"), (os, "register_at_fork"), (socket, "AF_UNIX")


def lacking() -> str | None:
    """Something that it needs and that is not here."""
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
