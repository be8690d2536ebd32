"""What is mounted where, as Linux tells it. Elsewhere nothing is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

OWN = Path("/proc/self/mountinfo")
"""As this process sees it."""
FIRST = Path("/proc/1/mountinfo")
"""As the first process of the machine, or of the container, sees it."""


class Mount(NamedTuple):
    point: Path
    device: str
    """Major and minor number of the file system."""
    root: str
    """Which directory of the file system is there."""
    kind: str
    """Of file system."""


def covering(path: Path, table: Path) -> Mount | None:
    """The mount that a path without symlinks is on; None where the system does not tell.

    table: one that is as proc(5) describes mountinfo.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found: Mount | None = None
    for mount in filter(None, map(_read, lines)):
        is_nearer = found is None or len(mount.point.parts) >= len(found.point.parts)
        if is_nearer and path.is_relative_to(mount.point):  # of two at one place, the later is on top
            found = mount
    return found


def _read(line: str) -> Mount | None:
    before, _, after = line.partition(" - ")
    fields, more = before.split(" "), after.split(" ")
    if len(fields) < 5 or not after:
        return None
    return Mount(Path(_unescaped(fields[4])), fields[2], _unescaped(fields[3]), more[0])


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
