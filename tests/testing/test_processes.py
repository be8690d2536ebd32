"""Several processes share a search: what comes out is what one process finds, and nothing hangs whatever happens."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from pathlib import Path

import pytest
from tests.history.cases import CASES

import holdfast
from holdfast.testing import explore
from holdfast.testing.tree import Tree

from .toys import ForgetfulLock, three_users

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork()"),
    pytest.mark.timeout(120),
]


@pytest.fixture(autouse=True)
def always_shared(monkeypatch):
    """Each level is shared from its first run on, in small chunks."""
    monkeypatch.setattr("holdfast.testing.search.PATIENCE", -1.0)
    for module in ("worker", "processes"):
        monkeypatch.setattr(f"holdfast.testing.{module}.CHUNK", 4)


def children():
    """The processes that this one has started and not waited for. Only Linux tells."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if stat.read_text(errors="replace").rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(stat.parent.name)
    return found


@pytest.fixture(autouse=True)
def nobody_is_left():
    before = children()  # servers that other tests share
    yield
    assert not children() - before


def what_came_out(report):
    found = report.counterexample
    counts = report.schedules, report.runs, report.interventions, report.exhausted
    return counts, found and (found.kind, found.message, found.replay, found.story, found.log, repr(found.exception))


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("case", [pytest.param(case, id=case.faulty.__name__) for case in CASES])
def test_a_fault_is_found_in_the_same_place(case, processes):
    def search(**options):
        return what_came_out(explore(case.scenario(case.faulty), **case.bounds, **options))

    assert search(processes=processes) == search()
    assert search(processes=processes, reduce=False) == search(reduce=False)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.faulty.__name__}, mended") for case in CASES if case.sound]
)
def test_without_the_fault_as_much_is_covered(case, processes):
    alone, shared = (explore(case.scenario(case.sound), **case.bounds, processes=n) for n in (1, processes))
    assert what_came_out(shared) == what_came_out(alone)
    assert shared.exhausted


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize(
    "bounds",
    [{"cancels": 2}, {"cancels": 2, "kills": 1}, {"reorders": 2}, {"ends": 1}, {"cancels": 0, "late": 0, "timers": 0}],
    ids=str,
)
def test_the_counts_are_the_same(bounds, processes):
    alone, shared = (explore(three_users(holdfast.Lock), **bounds, processes=n) for n in (1, processes))
    assert what_came_out(shared) == what_came_out(alone)


def test_when_little_is_remembered_it_is_the_same(monkeypatch):
    alone = explore(three_users(holdfast.Lock), cancels=2, kills=1)
    monkeypatch.setattr("holdfast.testing.tree.ROOM", 20)
    shared = explore(three_users(holdfast.Lock), cancels=2, kills=1, processes=2)
    assert shared.schedules == alone.schedules


def test_two_scenarios_are_compared():
    alone, shared = (
        explore(three_users(holdfast.Lock), against=three_users(ForgetfulLock), processes=n) for n in (1, 2)
    )
    assert shared.counterexample.kind == "difference"
    assert what_came_out(shared) == what_came_out(alone)


def test_the_exception_of_a_failure_is_that_of_this_process():
    class UnpicklableError(Exception):
        def __reduce__(self):
            raise TypeError

    async def main():
        task = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait([task])
        if task.cancelled():
            raise UnpicklableError

    found = explore(main, processes=2).counterexample
    assert type(found.exception) is UnpicklableError
    assert found.exception.__traceback__ is not None


def leaking(run):
    """What asyncio complains about only when the collector has found it."""

    async def worker():
        future = asyncio.get_running_loop().create_future()
        future.cycle = future
        try:
            for _ in range(4):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            task = asyncio.create_task(fail())
            task.cycle = [task]
            await asyncio.sleep(0)
            raise

    async def fail():
        raise LookupError("nobody hears")

    for _ in range(3):
        run.spawn(worker)


def test_a_complaint_is_found_in_the_same_place():
    alone, shared = (explore(leaking, cancels=2, processes=n) for n in (1, 2))
    assert alone.counterexample
    assert what_came_out(shared) == what_came_out(alone)


class Cycle:
    """Complains to its loop when it is collected, and not before."""

    def __init__(self, loop):
        self.loop = loop
        self.itself = self

    def __del__(self):
        self.loop.call_exception_handler({"message": "collected"})


def complaining_late(run):
    async def worker():
        try:
            for _ in range(6):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            run.log("cancelled")
            if len(run._log) == 2:
                Cycle(asyncio.get_running_loop())
            raise

    for _ in range(3):
        run.spawn(worker)


def test_a_complaint_about_garbage_is_found_in_the_same_place():
    alone, shared = (explore(complaining_late, cancels=3, processes=n) for n in (1, 2))
    assert alone.counterexample.kind == "unhandled"
    assert what_came_out(shared) == what_came_out(alone)


def in_another_process_only(do):
    """A scenario that does something in the second level, in a worker."""
    parent = os.getpid()

    def scenario(run):
        async def worker():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                if os.getpid() != parent:
                    do()
                raise

        for _ in range(3):
            run.spawn(worker)

    return scenario


def test_an_exception_of_another_process_comes_out_with_its_traceback():
    def interrupt():
        raise KeyboardInterrupt("from afar")

    with pytest.raises(KeyboardInterrupt, match="from afar") as caught:
        explore(in_another_process_only(interrupt), processes=2)
    (note,) = caught.value.__notes__
    assert "in another process of the search" in note
    assert "in interrupt" in note


def test_an_exception_that_cannot_be_pickled_comes_out_as_text():
    class Interrupt(KeyboardInterrupt):
        pass

    def interrupt():
        raise Interrupt("from afar")

    with pytest.raises(RuntimeError, match="Interrupt: from afar") as caught:
        explore(in_another_process_only(interrupt), processes=2)
    assert "in interrupt" in caught.value.__notes__[0]


def test_a_failure_of_another_process_only_is_not_deterministic():
    def fail():
        raise ZeroDivisionError

    found = explore(in_another_process_only(fail), processes=2).counterexample
    assert found.kind == "not deterministic"
    assert "ZeroDivisionError" in found.message


def test_an_exception_of_every_process_comes_out():
    def scenario(run):
        async def worker():
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                raise KeyboardInterrupt from None

        run.spawn(worker)

    with pytest.raises(KeyboardInterrupt):
        explore(scenario, processes=2)


@pytest.mark.parametrize(
    ("die", "how"),
    [
        (lambda: os._exit(3), "has exited with status 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
    ],
    ids=["exits", "is killed"],
)
def test_a_process_that_dies_is_an_error(die, how):
    with pytest.raises(RuntimeError, match=rf"process \d+ of the search {how}; to see why, leave processes at 1"):
        explore(in_another_process_only(die), processes=2)


def test_a_process_that_somebody_else_has_reaped():
    def die():
        os._exit(0)

    done = threading.Event()

    def reap():
        while not done.is_set():
            try:
                nobody = os.waitpid(-1, os.WNOHANG) == (0, 0)  # other tests may share servers, which run on
            except ChildProcessError:
                nobody = True
            if nobody:
                time.sleep(0.001)

    thread = threading.Thread(target=reap)
    thread.start()
    try:
        assert explore(three_users(holdfast.Lock), cancels=2, processes=2).passed
        with pytest.raises(RuntimeError, match="of the search"):
            explore(in_another_process_only(die), processes=2)
    finally:
        done.set()
        thread.join()


def test_the_time_limit_ends_the_processes():
    report = explore(three_users(holdfast.Lock), cancels=3, kills=3, reorders=3, time_limit=2, processes=2)
    assert not report.exhausted
    assert not report.passed
    assert report.counterexample is None
    assert report.schedules > 100


def test_ctrl_c_ends_all_of_them(tmp_path):
    program = tmp_path / "long.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, holdfast, os
            from holdfast.testing import explore

            def scenario(run):
                lock = holdfast.Lock()

                async def user():
                    async with lock:
                        await asyncio.sleep(0)

                for _ in range(6):
                    run.spawn(user)

            print(os.getpid(), flush=True)
            explore(scenario, cancels=6, reorders=6, kills=6, processes=2, time_limit=600)
            """
        )
    )
    with subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout.readline().strip() == str(process.pid)
            time.sleep(1.5)
            os.killpg(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == -signal.SIGINT
    assert errors.count("KeyboardInterrupt") == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody of the group is left


def test_threads_are_no_reason_for_a_warning():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert explore(three_users(holdfast.Lock), processes=2).passed
    finally:
        done.set()
        thread.join()


def test_what_was_printed_is_printed_once(tmp_path):
    program = tmp_path / "printing.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio
            from holdfast.testing import explore, search
            search.PATIENCE = -1.0

            async def main():
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0), return_exceptions=True)
                print("run")

            print("before")
            report = explore(main, processes=2, cancel_main=True)
            print("after", report.runs)
            """
        )
    )
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    lines = done.stdout.split("\n")
    assert lines.count("before") == 1
    assert lines[-2].startswith("after")
    assert lines.count("run") > 1


def test_where_there_is_no_fork_it_is_refused(monkeypatch):
    monkeypatch.delattr(os, "fork")
    with pytest.raises(RuntimeError, match=r"processes=2 needs os\.fork\(\), which \w+ does not have"):
        explore(three_users(holdfast.Lock), processes=2)
    assert explore(three_users(holdfast.Lock), processes=1).passed


def test_the_number_of_processes_is_one_or_more():
    with pytest.raises(ValueError, match="processes must be 1 or more, not 0"):
        explore(three_users(holdfast.Lock), processes=0)
    with pytest.raises(TypeError, match=r"processes must be an int, not 2\.0"):
        explore(three_users(holdfast.Lock), processes=2.0)


def test_processes_that_do_not_find_the_same_schedules(monkeypatch):
    """The parent does not wait for what nobody will report."""
    parent = os.getpid()
    level = Tree.level

    def shorter(tree, between):
        for number, candidate in enumerate(level(tree, between)):
            if os.getpid() == parent or number < 10:
                yield candidate

    monkeypatch.setattr(Tree, "level", shorter)
    found = explore(three_users(holdfast.Lock), processes=2).counterexample
    assert found.kind == "not deterministic"
    assert "do not find the same schedules" in found.message


def test_a_fork_that_is_refused(monkeypatch):
    descriptors = len(os.listdir("/dev/fd"))
    forks = []

    def fork():
        if forks:
            raise BlockingIOError("no more processes")
        forks.append(os_fork())
        return forks[0]

    os_fork = os.fork
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(BlockingIOError, match="no more processes"):
        explore(three_users(holdfast.Lock), processes=2)
    assert len(os.listdir("/dev/fd")) == descriptors
