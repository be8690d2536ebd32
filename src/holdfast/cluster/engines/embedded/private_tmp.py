"""Warns a process that has a /tmp of its own: it meets no other process in the default directory."""

from __future__ import annotations

import warnings
from pathlib import Path

from holdfast.cluster.errors import PrivateTmpWarning

from . import mounts

_told = False
"""Whether this process has been warned."""


def warn_if_private(directory: Path) -> None:
    """Warn, once per process, if the machine's first process sees another place under this name.

    This happens with systemd's PrivateTmp=. In an ordinary container the first process has the same mounts, and nothing
    is said.
    """
    global _told
    if not _told and is_private(directory):
        warnings.warn(
            f"this process has a /tmp of its own, as with systemd's PrivateTmp=, so programs outside do not see "
            f"{directory} and its locks. Name a directory that all of them see, in each of them: "
            "HOLDFAST_URL=sqlite:///var/lib/NAME, or connect('sqlite:///var/lib/NAME')",
            PrivateTmpWarning,
            stacklevel=2,
        )
        _told = True  # only now: where a filter makes it an error, each session is refused


def is_private(directory: Path) -> bool:
    """Whether other processes see another directory in this place. False where the system does not tell."""
    path = directory.parent.resolve() / directory.name
    ours, others = _place(path, mounts.OWN), _place(path, mounts.FIRST)
    return ours is not None and others is not None and ours != others


def _place(path: Path, table: Path) -> tuple[str, Path] | None:
    """The device of the file system that a path is on, and the path within that file system."""
    mount = mounts.covering(path, table)
    return None if mount is None else (mount.device, Path(mount.root) / path.relative_to(mount.point))
