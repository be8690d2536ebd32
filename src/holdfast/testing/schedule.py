"""What a schedule is, what may be in it, and how a run can go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

# What can be done besides going on. To go on is: run the next ready handle. If there is none, receive what
# call_soon_threadsafe() sent; else start the next late task; else, if all that must finish has, stop the others;
# else let time pass until the next timer.
LATE, CANCEL, TIMER, DELIVER, REORDER, KILL, END, SWITCH = KINDS = range(8)
STOP, RUN, NOTHING = range(8, 11)
BASE: Final = 8

Intervention = tuple[int, int]
"""How many steps to go on before, and what to do then: its kind + BASE * the number of the task, handle or loop."""
Schedule = tuple[Intervention, ...]
Fork = tuple[int, tuple[int, ...], int, int]
"""A point where interventions are possible: steps so far, which ones; length of the queue, and of the log."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What is explored, and what is right."""

    budgets: tuple[int, ...]
    """How many interventions of each kind."""
    cancel_main: bool
    swallow_ok: bool
    max_steps: int
    cancel_created: bool = True
    belated: list[tuple[Schedule, dict[str, Any]]] = field(default_factory=list)
    """What asyncio complained about when the run it belongs to was over and forgotten."""


class Failure(Exception):  # noqa: N818  # not an error of ours
    """The run went wrong."""

    def __init__(self, kind: str, message: str, cause: BaseException | None = None) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.message = message
        self.cause = cause
        self.steps = 0
        """How many steps it took."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


class MisfitError(Exception):
    """The schedule cannot be carried out, as the scenario behaves differently from the run it was made from."""
