"""Who contends for the lock, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Scenario:
    processes: int
    tasks: int = 1
    """In each session."""
    sessions: int = 1
    """In each process. Only the benchmark of growth has more than one."""
    hold: float = 0.0
    """Seconds; 0: released as soon as it is acquired."""
    think: float = 0.0
    """Seconds between a release and the next request."""
    seconds: float = 1.0
    """How long it is run in each round."""
    is_long: bool = False
    """Whether it is run once only, however many rounds there are."""
    quick: bool = False
    """Whether it is in the quick run as well."""

    def scaled(self, scale: float) -> Scenario:
        """The same, so many times as long."""
        return replace(self, seconds=self.seconds * scale)

    @property
    def title(self) -> str:
        crowd = f"{self.processes} x {self.tasks}" if self.tasks > 1 else f"{self.processes}"
        return f"{crowd}, {self.hold * 1e3:g} / {self.think * 1e3:g} ms"


UNCONTENDED = Scenario(1, quick=True)
ONE_CROWD = Scenario(1, tasks=100)
PROMISED = Scenario(4, hold=0.01, think=0.02, seconds=2.0, quick=True)
"""What the promises about throughput, hand-off and fairness are about."""
COMBINING = tuple(Scenario(4, tasks=tasks, quick=True) for tasks in (1, 10, 100))
"""Where acquisitions per swap should rise."""

CONTENDED, _, CROWDS = COMBINING
FAIR = Scenario(8, tasks=100, hold=0.001, seconds=30.0, is_long=True)
"""Long enough that each process has many turns, in which it may have the lock up to a hundred times."""
MANY = Scenario(32)

SCENARIOS = (
    UNCONTENDED,
    ONE_CROWD,
    Scenario(2),
    Scenario(2, hold=0.001),
    Scenario(2, tasks=100, hold=0.001, think=0.02),
    PROMISED,
    *COMBINING,
    Scenario(8, quick=True),
    Scenario(8, hold=0.001),
    Scenario(8, hold=0.01, think=0.02),
    FAIR,
    MANY,
    Scenario(32, hold=0.001),
    Scenario(32, hold=0.001, think=0.02),
)
