"""An earlier build of holdfast, beside this one in the same run."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
PLACE = "before"
"""Of its folder, as a worker process asks for it."""


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--before",
        metavar="BUILD",
        help="an earlier build to compare with: a revision of this repository, or a folder or wheel that pip installs",
    )


@dataclass(frozen=True)
class Earlier:
    """An earlier build, or none."""

    title: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where it is; see `Seat.place()`."""


@contextmanager
def installed(build: str | None) -> Iterator[Earlier]:
    """Install an earlier build into a folder of its own, for a while."""
    if build is None:
        yield Earlier()
        return
    source = build if Path(build).exists() else f"git+{ROOT.as_uri()}@{build}"
    with TemporaryDirectory(prefix="holdfast-before-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--target", folder]
        subprocess.run([*pip, source], check=True)
        ask = "import holdfast; print(holdfast.__version__, 'compiled' if holdfast.accelerated else 'pure Python')"
        environment = {**os.environ, "PYTHONPATH": folder}
        says = subprocess.run([sys.executable, "-c", ask], env=environment, check=True, capture_output=True, text=True)
        yield Earlier(f"{Path(build).name} ({says.stdout.strip()})", {PLACE: folder})


def use(folder: str) -> None:
    """From now on `import holdfast` finds the build in this folder. This process must not have imported another."""
    if "holdfast" in sys.modules:
        raise RuntimeError("a build of holdfast has been imported already")
    sys.path.insert(0, folder)
