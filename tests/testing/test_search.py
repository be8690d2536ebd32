"""The search: complete, shortest first, within its limits."""

import asyncio
import itertools
import re
import sys
import time

import pytest
from interpreters import without_the_collector

import holdfast
from holdfast.testing import ExplorationError, Report, explore
from holdfast.testing import progress as progress_module

from .toys import ForgetfulLock, three_users


def test_a_lost_wake_up_is_found_with_the_fewest_interventions():
    report = explore(three_users(ForgetfulLock), cancels=2)
    found = report.counterexample
    assert found.kind == "deadlock"
    assert len(found.replay) == 2 * 2
    assert report.interventions == 1
    assert not report.exhausted
    assert not report.passed


def test_no_schedule_with_fewer_interventions_fails():
    assert explore(three_users(ForgetfulLock), late=0).passed
    assert explore(three_users(ForgetfulLock), cancels=0).passed


def test_of_several_stories_the_shortest_is_told():
    async def main():
        async def worker():
            await asyncio.sleep(0)

        tasks = [asyncio.create_task(worker()) for _ in range(4)]
        await asyncio.wait(tasks)
        cancelled = [task.cancelled() for task in tasks]
        if any(cancelled):
            for _ in range(10 - 3 * cancelled.index(True)):
                await asyncio.sleep(0)
            raise ValueError

    found = explore(main).counterexample
    assert any(line.endswith("cancel Task-5, which is not started") for line in found.story)


@pytest.mark.parametrize("lock_class", [holdfast.Lock, asyncio.Lock])
def test_a_good_lock_passes(lock_class):
    report = explore(three_users(lock_class), cancels=2)
    assert report.passed
    assert report.exhausted
    assert report.interventions == 3
    assert report.schedules > 400
    report.check()


def test_every_schedule_is_run_once():
    """All ways in which three tasks with one step each can be run or cancelled."""
    seen = []

    def scenario(run):
        async def worker(name):
            run.log(name)

        for name in "abc":
            run.spawn(worker, name)
        run.at_end(lambda: seen.append("".join(run._log)))

    report = explore(scenario, cancels=3)
    assert report.passed
    # A cancelled worker does not log. It is cancelled once or not at all: 8 subsets, in each order and at each step
    # at which that is possible.
    assert set(seen) == {"".join(subset) for n in range(4) for subset in itertools.combinations("abc", n)}

    def schedules(moment, waiting):
        """How many continuations there are when `waiting` have not run; each one may be cancelled."""
        count = 1 if not waiting else schedules(moment + 1, waiting[1:])
        for place, cancelled in enumerate(waiting):
            if not cancelled:
                count += schedules(moment, (*waiting[:place], True, *waiting[place + 1 :]))
        return count

    assert report.schedules == schedules(0, (False,) * 3)


def test_the_same_search_gives_the_same_report():
    first, second = (explore(three_users(ForgetfulLock)) for _ in range(2))
    assert first.counterexample.story == second.counterexample.story
    assert first.schedules == second.schedules


def test_a_replay_gives_the_same_counterexample():
    found = explore(three_users(ForgetfulLock)).counterexample
    again = explore(three_users(ForgetfulLock), replay=found.replay, cancels=0)
    assert again.schedules == 1
    assert (again.counterexample.kind, again.counterexample.story) == (found.kind, found.story)


def test_a_replay_of_a_good_schedule_passes():
    found = explore(three_users(ForgetfulLock)).counterexample
    report = explore(three_users(holdfast.Lock), replay=found.replay)
    assert report.passed
    assert not report.exhausted
    assert "replayed" in str(report)


@pytest.mark.parametrize("replay", [[1000, 1], [0, 1 + 8 * 99], [0, 2], [0, 3], [0, 7], [0], [0, 5 + 8 * 99]])
def test_a_replay_that_does_not_fit_is_refused(replay):
    with pytest.raises(ValueError, match="replay"):
        explore(three_users(holdfast.Lock), replay=replay)


@pytest.mark.parametrize("replay", [[0.5, 1], ["0", "1"], 5, "01", {0: 1}])
def test_a_replay_is_a_list_of_integers(replay):
    with pytest.raises(TypeError, match="replay must be a list of ints"):
        explore(three_users(holdfast.Lock), replay=replay)


@pytest.mark.parametrize("replay", [[-1, 1], [2, 1, 1, 1]])
def test_a_replay_goes_forward(replay):
    with pytest.raises(ValueError, match=r"does not fit this scenario: step .* has passed"):
        explore(three_users(holdfast.Lock), replay=replay)


@pytest.mark.parametrize(
    "bound", ["cancels", "late", "timers", "deliveries", "reorders", "kills", "ends", "switches", "max_steps"]
)
def test_bounds_are_integers_from_0_on(bound):
    """-1 would be no bound at all."""
    with pytest.raises(ValueError, match=f"{bound} must be 0 or more, not -1"):
        explore(three_users(holdfast.Lock), **{bound: -1})
    for wrong in ("1", 1.0):
        with pytest.raises(TypeError, match=f"{bound} must be an int, not {wrong!r}"):
            explore(three_users(holdfast.Lock), **{bound: wrong})


def test_a_time_limit_is_a_number_of_seconds():
    with pytest.raises(TypeError, match="number of seconds"):
        explore(three_users(holdfast.Lock), time_limit="60")
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="0 or more seconds"):
            explore(three_users(holdfast.Lock), time_limit=wrong)


def test_a_search_that_is_out_of_time_is_not_exhausted():
    report = explore(three_users(holdfast.Lock), cancels=3, time_limit=0)
    assert not report.exhausted
    assert not report.passed
    assert report.counterexample is None
    assert "not exhausted" in str(report)
    with pytest.raises(ExplorationError, match="not exhausted"):
        report.check()


def test_the_time_limit_does_not_count_waiting_for_the_machine():
    """It is of CPU time: a machine that has other things to do makes no test fail."""

    def waits(run):
        time.sleep(0.4)
        run.late(asyncio.sleep, 0)

    with without_the_collector():
        report = explore(waits, cancels=2, time_limit=1)
    assert report.exhausted
    assert report.seconds > 1.2


def test_the_time_limit_counts_work():
    def works(run):
        end = time.process_time() + 0.01
        while time.process_time() < end:
            pass
        run.late(asyncio.sleep, 0)
        run.spawn(asyncio.sleep, 0)

    report = explore(works, cancels=2, time_limit=0.03)
    assert not report.exhausted
    assert report.schedules <= 6


def test_the_summary_says_how_many_were_run():
    report = explore(three_users(holdfast.Lock))
    assert report.runs < report.schedules
    assert f"{report.schedules} schedules ({report.runs} run) in" in str(report)
    whole = explore(three_users(holdfast.Lock), reduce=False)
    assert whole.runs == whole.schedules == report.schedules
    assert f"{whole.schedules} schedules in" in str(whole)


def test_a_failure_tells_the_story_and_how_to_replay_it():
    report = explore(three_users(ForgetfulLock))
    with pytest.raises(ExplorationError) as caught:
        report.check()
    text = str(caught.value)
    lines = text.splitlines()
    assert lines[0].startswith("three_users.scenario: failed (deadlock); ")
    assert lines[1].startswith("deadlock: nothing is left that would wake C, at toys.py:")
    assert any(re.match(r"   >>  cancel B, which is about to go on at toys\.py:\d+ in user > ", line) for line in lines)
    assert any(re.match(r"    0  A starts, waits at toys\.py:\d+ in user > ", line) for line in lines)
    assert "         log: A in" in lines
    assert lines[-1] == f"replay={list(report.counterexample.replay)}"


def test_the_cause_of_a_failure_is_the_cause_of_the_error():
    async def main():
        raise ValueError("no")

    with pytest.raises(ExplorationError) as caught:
        explore(main).check()
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_summary_names_the_bounds():
    report = explore(three_users(holdfast.Lock))
    assert re.fullmatch(
        r"three_users\.scenario: passed, exhausted; 9\d schedules \(\d\d run\) in \d\.\d\d s "
        r"\(late=any, cancels=1, timers=1, deliveries=1\)",
        str(report),
    )
    assert isinstance(report, Report)


def test_it_is_not_for_a_running_loop():
    async def main():
        with pytest.raises(RuntimeError, match=r"write 'await asyncio\.to_thread"):
            explore(three_users(holdfast.Lock))
        return await asyncio.to_thread(explore, three_users(holdfast.Lock))

    assert asyncio.run(main()).passed


def test_a_loop_that_cannot_be_left_is_as_it_was_afterwards(monkeypatch):
    """Pyodide's; see tests/pyodide for the real one."""
    monkeypatch.setattr("holdfast.testing.interpreter.sys.platform", "emscripten")
    here = explore(three_users(holdfast.Lock), kills=1)

    async def main():
        before = asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()
        report = explore(three_users(holdfast.Lock), kills=1)
        failed = explore(three_users(ForgetfulLock))
        assert (asyncio.get_running_loop(), asyncio.current_task(), sys.get_asyncgen_hooks()) == before
        await asyncio.sleep(0)
        return report, failed

    report, failed = asyncio.run(main())
    assert report.passed
    assert report.schedules == here.schedules
    assert failed.counterexample.kind == "deadlock"


def test_a_scenario_cannot_explore(monkeypatch):
    async def main():
        explore(three_users(holdfast.Lock))

    for platform in (sys.platform, "emscripten"):
        monkeypatch.setattr("holdfast.testing.interpreter.sys.platform", platform)
        assert "brings its own event loop" in explore(main).counterexample.message


def test_two_implementations_that_do_the_same():
    assert explore(three_users(holdfast.Lock), against=three_users(asyncio.Lock), cancels=2).passed


def test_two_implementations_that_differ():
    found = explore(three_users(holdfast.Lock), against=three_users(ForgetfulLock)).counterexample
    assert found.kind == "difference"
    assert "the other scenario fails: deadlock" in found.message
    again = explore(three_users(holdfast.Lock), against=three_users(ForgetfulLock), replay=found.replay)
    assert again.counterexample.kind == "difference"


def test_two_logs_that_differ():
    def logging(event):
        def scenario(run):
            run.log(event)

        return scenario

    found = explore(logging(1), against=logging(2)).counterexample
    assert found.kind == "difference"
    assert "['2']" in found.message


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_progress_is_shown_in_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    explore(three_users(holdfast.Lock))
    assert terminal.text == ""
    monkeypatch.setattr(progress_module, "_PATIENCE", 0)
    monkeypatch.setattr(progress_module, "_INTERVAL", 0)
    explore(three_users(holdfast.Lock))
    assert re.search(r"\rinterventions: 2 \[#+\.*\] +\d\d?%, \d+ schedules, [\d,]+/s", terminal.text)
    assert terminal.text.endswith("\r")


def test_no_progress_is_shown_elsewhere(monkeypatch, capsys):
    monkeypatch.setattr(progress_module, "_PATIENCE", 0)
    explore(three_users(holdfast.Lock))
    assert capsys.readouterr() == ("", "")
