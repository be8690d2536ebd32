"""The compiled twin, where it can be built, and what a package index shows; all else is in pyproject.toml.

docs/building.md and docs/design.md ("The manual") say more.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent
PURE = os.environ.get("HOLDFAST_PURE_PYTHON") or sys.implementation.name != "cpython"
SOURCES = Path("src/holdfast/tasks/speedups")
PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n\n", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)]*)\)")


def description() -> str:
    """README.md for a package index, where a link or a picture that is a file of the repository would be dead."""
    text = PICTURE.sub("", (ROOT / "README.md").read_text(encoding="utf-8"))
    return LINK.sub(r"\1 (`\2`)", text) + "\nThe files named here are in the source distribution.\n"


if __name__ == "__main__":  # as builds run it; a test wants description() alone, and may have no setuptools
    from setuptools import Extension, setup

    speedups = Extension(
        "holdfast.tasks._speedups",
        [f"{SOURCES}/module.c"],  # It includes the others, so that the compiler sees, and inlines, all of them.
        depends=[str(path) for path in sorted(SOURCES.glob("*.[ch]"))],
        optional=True,  # without a compiler, a warning
    )
    setup(
        ext_modules=[] if PURE else [speedups],
        long_description=description(),
        long_description_content_type="text/markdown",
    )
