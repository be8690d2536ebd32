"""What a run of a suite came to, and whether two kinds of run came to the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

AGAIN = 3
"""So often the tests that differ are run again, in both ways,"""
AND_AGAIN = 10
"""and so often those that have varied in one way alone, to give them the chance to do so in the other one."""
UNLIKELY = 0.01
MISSING = "missing"


@dataclass(frozen=True)
class Run:
    """One run of a suite, or of some of its tests."""

    outcomes: Mapping[str, str]
    """By the name of the test: passed, skipped, xfailed, xpassed, failed, error."""
    reasons: Mapping[str, str] = field(default_factory=dict)
    """What pytest wrote about those that failed."""
    with_primitives: int = 0
    """How many tests made a primitive of holdfast's."""
    made: Mapping[str, int] = field(default_factory=dict)
    """How many of each class, in all processes."""
    made_in_children: int = 0

    def outcome(self, test: str) -> str:
        return self.outcomes.get(test, MISSING)


@dataclass
class Difference:
    """A test that came to one thing with asyncio's primitives and to another with holdfast's, at least once."""

    test: str
    plain: list[str] = field(default_factory=list)
    """The outcomes as the library is, run by run."""
    with_holdfast: list[str] = field(default_factory=list)
    reason: str = ""
    """What pytest wrote when it failed, with holdfast if it did so there."""

    def note(self, way: bool, run: Run) -> None:
        (self.with_holdfast if way else self.plain).append(run.outcome(self.test))
        if self.test in run.reasons and (way or not self.reason):
            self.reason = run.reasons[self.test]

    @property
    def varies_in_one_way_alone(self) -> bool:
        return (len({*self.plain}) > 1) != (len({*self.with_holdfast}) > 1)

    @property
    def is_flaky(self) -> bool:
        """It must vary as it is: what varies with holdfast alone is a difference, however seldom.

        Nor is it flaky if with holdfast it never passes, and that often is unlikely to be by chance.
        """
        if len({*self.plain}) == 1 or not {*self.with_holdfast} <= {*self.plain}:
            return False
        always = self.with_holdfast[0]
        if always == "passed" or len({*self.with_holdfast}) > 1:
            return True
        share = self.plain.count(always) / len(self.plain)
        return bool(share ** len(self.with_holdfast) >= UNLIKELY)

    def __str__(self) -> str:
        return f"{self.test}: {spoken(self.plain)} as it is, {spoken(self.with_holdfast)} with holdfast"


@dataclass(frozen=True)
class Comparison:
    """What was found of one library on one Python."""

    plain: Run
    with_holdfast: Run
    different: tuple[Difference, ...]
    """Those that cannot be explained: the outcomes never met, or varied with holdfast alone."""
    expected: tuple[Difference, ...]
    """Those that the table of libraries names, with the reason."""
    flaky: tuple[Difference, ...]
    """Those that vary as they are, and came to nothing else with holdfast."""
    gone: tuple[str, ...]
    """Those that the table of libraries expects to differ, and that do not."""

    @property
    def complaints(self) -> list[str]:
        """Why the run is not green."""
        found = [str(difference) for difference in self.different]
        found += [f"{test}: is expected to differ, and does not" for test in self.gone]
        if not self.with_holdfast.made:
            found.append("the suite made no primitive of holdfast's")
        if not any(outcome == "passed" for outcome in self.plain.outcomes.values()):
            found.append("no test of the suite passes as it is")
        return found


def compare(
    run: Callable[[bool, Collection[str] | None], Run], expected: Collection[str] = (), again: int = AGAIN
) -> Comparison:
    """Run a suite once as it is and once with holdfast; run what differs again, and tell the flaky from the different.

    run: is told whether to put holdfast in asyncio's place, and the names of the tests to run (None: all).
    """
    plain, with_holdfast = run(False, None), run(True, None)
    suspects = [
        test
        for test in sorted({*plain.outcomes, *with_holdfast.outcomes})
        if plain.outcome(test) != with_holdfast.outcome(test)
    ]
    seen = {test: Difference(test) for test in suspects}

    def note(way: bool, tests: Collection[str], done: Run) -> None:
        for test in tests:
            seen[test].note(way, done)

    note(False, suspects, plain)
    note(True, suspects, with_holdfast)
    doubtful = suspects
    for rounds in again, AND_AGAIN:
        for _ in range(rounds if doubtful else 0):
            for way in False, True:
                note(way, doubtful, run(way, doubtful))
        doubtful = [test for test in suspects if seen[test].varies_in_one_way_alone]
    real = [found for found in seen.values() if not found.is_flaky]
    return Comparison(
        plain,
        with_holdfast,
        different=tuple(found for found in real if found.test not in expected),
        expected=tuple(found for found in real if found.test in expected),
        flaky=tuple(found for found in seen.values() if found.is_flaky),
        gone=tuple(sorted({*expected} - {found.test for found in real})),
    )


def spoken(outcomes: Collection[str]) -> str:
    """`passed`, or `passed (3 of 4) and failed (1 of 4)`."""
    counts = Counter(outcomes)
    if len(counts) == 1:
        return next(iter(counts))
    return " and ".join(f"{outcome} ({n} of {counts.total()})" for outcome, n in counts.most_common())
