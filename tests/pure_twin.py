"""The Python twin, imported beside the compiled one."""

import importlib
import os
import sys
from types import ModuleType
from unittest import mock


def import_pure() -> ModuleType:
    """A second `holdfast`, with modules of its own, in which nothing is compiled."""
    ours = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "holdfast"}
    for name in ours:
        del sys.modules[name]
    try:
        with mock.patch.dict(os.environ, HOLDFAST_PURE_PYTHON="1"):
            pure = importlib.import_module("holdfast")
        assert not pure.accelerated
        return pure
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "holdfast"]:
            del sys.modules[name]
        sys.modules.update(ours)
