"""The search: every schedule within the bounds, those with the fewest interventions first.

A level is all schedules with the same number of interventions. Within a level the order is that of the tree, so every
search finds the same schedule first, also when several processes share the runs.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Final

from .branches import Origin
from .comparison import compare_runs, compare_with
from .execution import Execution, Scenario
from .limit import Limit
from .processes import PATIENCE, Workers
from .progress import Progress
from .report import Counterexample
from .schedule import Failure, MisfitError, Rules, Schedule, flat
from .story import tell, tell_complaint, tell_nondeterminism
from .tree import Candidate, Outcome, Tree

_BATCH: Final = 256
"""The collector runs after so many runs."""
_OTHERS: Final = 1000
"""How many schedules to try for a shorter story."""


class Search:
    """One search, or one replay."""

    def __init__(
        self,
        scenario: Scenario,
        against: Scenario | None,
        rules: Rules,
        time_limit: float,
        reduce: bool,
        processes: int = 1,
    ) -> None:
        self.schedules = 0
        """How many schedules were covered."""
        self.runs = 0
        """How many of them were run."""
        self.interventions = 0
        """All schedules with at most so many interventions were covered."""
        self.exhausted = False
        """Whether every schedule within the bounds was covered."""
        self.started = time.perf_counter()
        self.tree = Tree(self._run)
        self._scenario = scenario
        self._against = against
        self._rules = rules
        self._limit = Limit(time_limit)
        self._reduce = reduce
        self._processes = processes
        self._complained: list[Schedule] = []  # of these runs, in another process

    def search(self) -> Counterexample | None:
        """Cover all schedules, level by level; return the first one that fails."""
        try:
            first = self._run(())
            compare_runs(first, self._run(()))
            self.schedules = self.runs = 1
            if first.failure is not None:
                if not isinstance(first.failure.cause, Exception | None):
                    raise first.failure.cause  # pytest.skip() and the like, which no schedule has to do with
                return self._counterexample((), first.failure)
            self.tree.remember((), None, first)
            more = bool(first.forks)
            with Progress() as progress:
                while more:
                    found, more = self._search_level(progress)
                    if found is not None or self._limit.was_over:
                        return found
                    self.interventions += 1
            compare_runs(first, self._run(()))
            if self._has_complaint():
                return self._complaint()
            self.exhausted = True
            return None
        except MisfitError as misfit:
            return tell_nondeterminism(misfit)

    def replay(self, schedule: Schedule) -> Counterexample | None:
        """Run this schedule only."""
        self.schedules = self.runs = 1
        try:
            found = tell(self._scenario, self._rules, schedule, self._compare)
        except MisfitError as misfit:
            raise ValueError(f"replay={list(flat(schedule))} does not fit this scenario: {misfit}") from None
        gc.collect(0)
        return self._complaint() if found is None and self._rules.belated else found

    def _search_level(self, progress: Progress) -> tuple[Counterexample | None, bool]:
        """Cover one level; return the first schedule that fails, and whether there are more levels."""
        candidates = self.tree.level(self.interventions)
        more = False
        now = time.perf_counter()
        share_at = self.started + PATIENCE if self._processes > 1 else math.inf
        workers: Workers | None = None
        with ExitStack() as stack:
            for candidate in candidates:
                if now > share_at and workers is None and candidate.origin is not None:
                    workers = stack.enter_context(self._share(candidate, candidates))
                    if not more and self._take_rest(workers, progress):
                        break
                self.schedules += candidate.skipped
                schedule, origin = candidate.schedule, candidate.origin
                if origin is None:
                    continue
                self.schedules += 1
                has_room = self.tree.has_room
                outcome = self._run_candidate(candidate) if workers is None else self._take(candidate, workers)
                self.runs += 1
                if outcome.failure is not None:
                    stack.close()
                    return self._counterexample(*self._find_shorter(schedule, outcome.failure, candidates)), False
                if outcome.forks:
                    more = True
                if has_room:
                    self.tree.remember(schedule, origin, outcome)
                if (self._rules.belated or self.runs % _BATCH == 0) and self._has_complaint():
                    return self._complaint(), False
                now = time.perf_counter()
                if self._limit.is_over(now):
                    return None, False
                if now > progress.due:
                    progress.show(now, self.interventions + 1, candidate.part, self.schedules)
        self._limit.keep_elsewhere()
        return None, more

    def _share(self, candidate: Candidate, others: Iterator[Candidate]) -> Workers:
        """Start the workers that run this candidate and all others of the level."""
        rest = itertools.chain([candidate], others)  # this process goes on with `others`, which they get a copy of
        return Workers(self._processes, rest, self.runs, self._run_candidate, self._rules, self._complained)

    def _take_rest(self, workers: Workers, progress: Progress) -> bool:
        """Take the whole rest of the level from the workers, if no schedule of it goes on to others, nor fails."""

        def go_on(part: float, covered: int) -> bool:
            now = time.perf_counter()
            self._limit.elsewhere = workers.busiest
            if now > progress.due:
                progress.show(now, self.interventions + 1, part, self.schedules + covered)
            return not self._limit.is_over(now)

        rest = workers.rest(go_on)
        if rest is None:
            return False
        covered, runs = rest
        self.schedules += covered
        self.runs += runs
        return True

    def _take(self, candidate: Candidate, workers: Workers) -> Outcome:
        """Take the outcome of a run from the workers. If it is more than numbers, the run is repeated here."""
        outcome = workers.outcome(self.runs)
        self._limit.elsewhere = workers.busiest
        if outcome is not None:
            return outcome
        execution = self._run_candidate(candidate)
        if execution.failure is None and not self._rules.belated:
            workers.raise_found()
        return execution

    def _run_candidate(self, candidate: Candidate) -> Execution:
        return self._run(candidate.schedule, candidate.origin, all_forks=self.tree.has_room)

    def _run(self, schedule: Schedule, origin: Origin | None = None, all_forks: bool = True) -> Execution:
        execution = Execution(self._scenario, self._rules)
        fork, asleep = None, 0
        if origin is not None:
            found, place, asleep = origin
            fork = found.forks[place]
        execution.execute(schedule, fork, all_forks, asleep if self._reduce and all_forks else None)
        self._compare(schedule, execution)
        return execution

    def _compare(self, schedule: Schedule, execution: Execution) -> None:
        """If there is another scenario, and it does not do the same, the execution has failed."""
        if self._against is not None and execution.failure is None:
            compare_with(self._against, self._rules, schedule, execution)

    def _find_shorter(
        self, schedule: Schedule, failure: Failure, others: Iterator[Candidate]
    ) -> tuple[Schedule, Failure]:
        """Of the next schedules of the level, return the one that fails alike in the fewest steps."""
        left = _OTHERS
        for other in others:
            # a schedule that need not be run takes as many steps as the one that it does the same as
            skipped = min(other.skipped, left)
            self.schedules += skipped
            left -= skipped
            if not left:
                break
            if other.origin is None:
                continue
            self.schedules += 1
            self.runs += 1
            left -= 1
            found = self._run(other.schedule, other.origin, all_forks=False).failure
            if found is not None and found.kind == failure.kind and found.steps < failure.steps:
                schedule, failure = other.schedule, found
            if not left:
                break
        return schedule, failure

    def _counterexample(self, schedule: Schedule, failure: Failure) -> Counterexample:
        found = tell(self._scenario, self._rules, schedule, self._compare)
        if found is None:
            raise MisfitError(f"a schedule failed ({failure}), and did not when repeated")
        return found

    def _has_complaint(self) -> bool:
        """Collect the garbage of the runs; return whether asyncio has complained of something in it."""
        gc.collect(0)
        for schedule in self._complained:
            if not self._rules.belated:
                self._run(schedule, all_forks=False)
                gc.collect(0)
        if self._complained and not self._rules.belated:
            raise MisfitError("asyncio complained of a run in another process, and did not when it was repeated")
        return bool(self._rules.belated)

    def _complaint(self) -> Counterexample:
        schedule, context = self._rules.belated[0]
        return tell_complaint(self._scenario, self._rules, schedule, context)
