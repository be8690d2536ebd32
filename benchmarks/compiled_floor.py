"""The no-op in C, compiled when it is asked for: what is left of a primitive when it does nothing."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sysconfig
import tempfile
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any


def compile_no_op() -> Any:
    """The class NoOp of noop.c; None where there is no C compiler."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / f"noop{sysconfig.get_config_var('EXT_SUFFIX')}"
        source = Path(__file__).with_name("noop.c")
        options = ["-O3", "-DNDEBUG", "-fPIC", "-shared", f"-I{sysconfig.get_path('include')}"]
        try:
            subprocess.run([*compiler, *options, str(source), "-o", str(library)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no floor in C: {error}")
            return None
        loader = ExtensionFileLoader("noop", str(library))
        spec = importlib.util.spec_from_loader("noop", loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        loader.exec_module(module)
    return module.NoOp
