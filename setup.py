"""The compiled twin, where it can be built; all else is in pyproject.toml. See docs/building.md."""

import os
import sys

from setuptools import Extension, setup

PURE = os.environ.get("HOLDFAST_PURE_PYTHON") or sys.implementation.name != "cpython"
SPEEDUPS = Extension("holdfast._speedups", ["src/holdfast/_speedups.c"], optional=True)  # without a compiler, a warning

setup(ext_modules=[] if PURE else [SPEEDUPS])
