"""How a command says that it has failed."""

from __future__ import annotations


class Failure(Exception):  # noqa: N818  # it is how a command ends, as click's Exit
    """A command has failed: one line for the user, and the exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code
