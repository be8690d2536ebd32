"""Whether this process has a /tmp of its own, where it meets nobody in the default directory."""

from __future__ import annotations

import warnings
from pathlib import Path

from . import mounts

_told = False
"""Whether this process has been warned."""


class PrivateTmpWarning(RuntimeWarning):
    """Other programs of this user on this machine have another /tmp, and so other locks."""


def warn_if_private(directory: Path) -> None:
    """Warn, once per process, if the machine's first process sees another place under this name.

    systemd's PrivateTmp= makes it so. In an ordinary container the first process has the same mounts: nothing is told.
    """
    global _told
    if not _told and is_private(directory):
        _told = True
        warnings.warn(
            f"this process has a /tmp of its own, as with systemd's PrivateTmp=, so programs outside do not see "
            f"{directory} and its locks. Name a directory that all of them see, in each of them: "
            "HOLDFAST_URL=sqlite:///var/lib/NAME, or connect('sqlite:///var/lib/NAME')",
            PrivateTmpWarning,
            stacklevel=2,
        )


def is_private(directory: Path) -> bool:
    """Whether it can be told that other processes see something else in this place."""
    path = directory.parent.resolve() / directory.name
    ours, others = _place(path, mounts.OWN), _place(path, mounts.FIRST)
    return ours is not None and others is not None and ours != others


def _place(path: Path, table: Path) -> tuple[str, Path] | None:
    """The file system that a path is on, and where on that it is."""
    mount = mounts.covering(path, table)
    return None if mount is None else (mount.device, Path(mount.root) / path.relative_to(mount.point))
