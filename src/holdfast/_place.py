"""A line of a program, as dumps and deadlocks tell it. Users have it as `holdfast.debug.Place`."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A line of the program."""

    file: str
    """The path of the file, as the code has it."""
    line: int
    """The number of the line in it."""
    function: str
    """The qualified name of the function."""

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line} in {self.function}"
