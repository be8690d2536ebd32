"""What is mounted where, as Linux tells it. On other systems nothing is known."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

OWN = Path("/proc/self/mountinfo")
"""The mounts that this process sees."""
FIRST = Path("/proc/1/mountinfo")
"""The mounts that the first process of the machine, or of the container, sees."""


class Mount(NamedTuple):
    point: Path
    device: str
    """Major and minor number of the file system."""
    root: str
    """The directory of the file system that is mounted there."""
    kind: str
    """The type of the file system."""


def covering(path: Path, table: Path) -> Mount | None:
    """The mount that a path without symlinks is on; None where the system does not tell.

    table: `OWN`, `FIRST`, or another file in the format of mountinfo in proc(5).
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    found: Mount | None = None
    for mount in filter(None, map(_read, lines)):
        is_nearer = found is None or len(mount.point.parts) >= len(found.point.parts)
        if is_nearer and path.is_relative_to(mount.point):  # of two mounts at one point, the later is on top
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
