"""`python -m holdfast`: the demo, and that its checks would notice what they check."""

import asyncio
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
from interpreters import BOUND

import holdfast
from holdfast.demo import tasks
from holdfast.demo.history import History, judge
from holdfast.tasks.twins import why_pure

PRIMITIVES = ["Lock", "Semaphore", "BoundedSemaphore", "Event", "Condition", "Barrier"]


def run(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, **kwargs)


@pytest.mark.timeout(300)  # on a busy machine; it takes a few seconds
def test_the_demo_checks_every_primitive() -> None:
    result = run("demo")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    for name in [*PRIMITIVES, "Cancellation"]:
        (at,) = [number for number, line in enumerate(lines) if line.split(" ")[0] == name]
        assert re.fullmatch(r"  ok: .{49} +\d+ ms +(fails \*|\d+ ms +\d+\.\d\dx)", lines[at + 1])
    assert "FAILED" not in result.stdout
    (end,) = [number for number, line in enumerate(lines) if re.fullmatch(r"All 7 checks passed in \d+\.\d s\.", line)]
    assert end <= 40
    assert len(lines) - end <= 40
    for name in ["overlaps", "order", "condition", "barrier", "recovery", "left", "ended"]:
        assert any(line.startswith(f"  ok: {name} ") for line in lines[end:])
    assert lines[-4:-2] == ["All 7 checks passed.", ""]
    assert lines[-2].startswith("What next: ")


@pytest.mark.parametrize("arguments", [[], ["dmeo"]])
def test_a_wrong_command_line_is_answered_with_the_right_one(arguments: list[str]) -> None:
    result = run(*arguments, env={**os.environ, "NO_COLOR": "1"})
    assert result.returncode == 2
    assert result.stdout == ""
    assert "Usage: holdfast" in result.stderr


def test_version() -> None:
    twin = f"pure Python: {why_pure}" if why_pure else "compiled"
    assert run("--version").stdout == f"holdfast {holdfast.__version__} ({twin})\n"


def test_in_pure_python_the_version_says_why() -> None:
    result = run("--version", env={**os.environ, "HOLDFAST_PURE_PYTHON": "1"})
    assert result.stdout == f"holdfast {holdfast.__version__} (pure Python: HOLDFAST_PURE_PYTHON is set)\n"


def test_in_pure_python_the_demo_says_why() -> None:
    program = "from holdfast.demo import tasks; del tasks.PARTS[:]; tasks.demo()"
    env = {**os.environ, "HOLDFAST_PURE_PYTHON": "1"}
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=50)
    first, second, *_ = result.stdout.splitlines()
    assert f"{first} {second}" == (
        "This is holdfast in pure Python, which is slower: HOLDFAST_PURE_PYTHON is set. See docs/building.md."
    )


def test_importing_holdfast_does_not_import_the_demo() -> None:
    code = "import sys, holdfast; sys.exit('holdfast.demo' in sys.modules or 'argparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=BOUND).returncode == 0


class LastFirstLock:
    """The last task that came gets it first."""

    def __init__(self) -> None:
        self.held = False
        self.waiters: list[asyncio.Future[None]] = []

    async def acquire(self) -> bool:
        if self.held:
            self.waiters.append(asyncio.get_running_loop().create_future())
            await self.waiters[-1]
        self.held = True
        return True

    def release(self) -> None:
        while self.waiters:
            waiter = self.waiters.pop()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.held = False

    def locked(self) -> bool:
        return self.held

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *exc_info: object) -> None:
        self.release()


class OpenLock(holdfast.Lock):
    """Keeps nobody out."""

    async def acquire(self) -> bool:
        self._locked = True
        await asyncio.sleep(0)
        return True

    def release(self) -> None:
        self._locked = False


class ForgetfulLock(holdfast.Lock):
    """Forgets the waiters."""

    def release(self) -> None:
        self._locked = False


class LateEvent(holdfast.Event):
    """Wakes nobody if clear() follows."""

    def set(self) -> None:
        asyncio.get_running_loop().call_soon(self._set_late)
        self._value = True

    def _set_late(self) -> None:
        if self._value:
            super().set()


class NervousCondition(holdfast.Condition):
    """Wakes another task when one is cancelled."""

    async def wait(self) -> bool:
        try:
            return await super().wait()
        except asyncio.CancelledError:
            self.notify()
            raise


NERVOUS = {"Lock": holdfast.Lock, "Condition": NervousCondition}


class CountingBarrier(holdfast.Barrier):
    """Numbers the tasks as they come, also those that leave."""

    come = 0

    async def wait(self) -> int:
        index, self.come = self.come % self.parties, self.come + 1
        await super().wait()
        return index


@pytest.mark.parametrize(
    ("program", "broken", "seen"),
    [
        (tasks.lock, {"Lock": LastFirstLock}, "the order was not that of asking"),
        (tasks.lock, {"Lock": OpenLock}, "100 tasks were inside at once"),
        (tasks.lock, {"Lock": ForgetfulLock}, "still waiting after 0.5 s"),
        (tasks.semaphore, {"Semaphore": lambda n: holdfast.Semaphore(n + 1)}, "at most 11 tasks were inside at once"),
        (tasks.semaphore, {"Semaphore": lambda n: holdfast.Semaphore(n - 1)}, "at most 9 tasks were inside at once"),
        (tasks.bounded_semaphore, {"BoundedSemaphore": holdfast.Semaphore}, "one release too many was accepted"),
        (tasks.event, {"Event": LateEvent}, "0 tasks woke up"),
        (tasks.condition, NERVOUS, "500 tasks were woken for nothing"),
        (tasks.barrier, {"Barrier": CountingBarrier}, "in round 1, two tasks got the index 0"),
        (tasks.cancellation, {"Lock": LastFirstLock}, "the order was not that of asking"),
        (tasks.cancellation, {"Lock": ForgetfulLock}, "still waiting after 0.5 s"),
        (tasks.event, {}, "AttributeError: "),
    ],
)
def test_each_check_notices_what_it_checks(
    program: tasks.Program, broken: dict[str, object], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "waiting" in seen:
        monkeypatch.setattr(tasks, "TIME_LIMIT", 0.5)
    result = tasks.run(program, SimpleNamespace(**broken))
    assert not result.ok
    assert result.seen.startswith(seen)


def test_a_failed_check_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(holdfast, "BoundedSemaphore", holdfast.Semaphore)
    monkeypatch.setattr(tasks, "PARTS", [part for part in tasks.PARTS if "Semaphore" in part.name])
    assert tasks.demo() == 1
    out = capsys.readouterr().out
    assert "\n  FAILED: one release too many was accepted" in out
    assert out.endswith("\n1 of 2 checks FAILED: BoundedSemaphore\n")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colour_on_a_terminal_unless_no_color(no_color: str) -> None:
    terminal, slave = os.openpty()
    code = "from holdfast.demo import tasks; del tasks.PARTS[:]; tasks.demo()"
    env = {**os.environ, "NO_COLOR": no_color}
    try:
        subprocess.run([sys.executable, "-c", code], stdout=slave, env=env, check=True, timeout=BOUND)
        out = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(slave)
    assert "checks passed" in out
    assert ("\x1b[32m" in out) is (no_color == "")


def history(*reports: tuple[int, object], killed: tuple[int, float] | None = None) -> History:
    """What two processes, 1 and 2, have reported; beside it, all is well."""
    history = History(items=[1, 0], places=[0, 1, 2], permits=[(0, 1, 1), (1, -1, 1)])
    for pid, report in reports:
        history.add(pid, report)
    if killed is not None:
        history.killed = killed
        history.bury()
    return history


def turn(pid: int, token: int, asked: float, began: float, ended: float | None) -> list[tuple[int, object]]:
    inside = (pid, ["lock in", token, asked, began])
    return [inside] if ended is None else [inside, (pid, ["lock out", token, ended])]


@pytest.mark.parametrize(
    ("reports", "killed", "failed"),
    [
        ([*turn(1, 1, 0, 0, 1), *turn(2, 2, 0, 1, 2)], None, set()),
        ([*turn(1, 1, 0, 0, 1), *turn(2, 2, 0, 0.9, 2)], None, {"overlaps"}),
        ([*turn(1, 1, 0, 0, None), *turn(2, 2, 0, 0.9, 2)], None, {"overlaps"}),
        ([*turn(1, 1, 0, 0, None), *turn(2, 2, 0, 0.9, 2)], (1, 0.8), set()),
        ([*turn(1, 1, 0, 0, None)], (1, 0.8), {"recovery"}),
        ([*turn(1, 2, 0, 0, 1), *turn(2, 1, 0, 1, 2)], None, {"order"}),
        ([*turn(1, 1, 0.7, 1, 2), *turn(2, 2, 0, 2, 3)], None, {"order"}),
        ([*turn(1, 1, 0.01, 1, 2), *turn(2, 2, 0, 2, 3)], None, set()),
        ([], None, {"overlaps"}),
        ([*turn(1, 1, 0, 0, 1), (1, ["items", 6, 1])], None, {"condition"}),
        ([*turn(1, 1, 0, 0, 1), (1, ["items", -1, 1])], None, {"condition"}),
        ([*turn(1, 1, 0, 0, 1), *[(1, ["met", 0, 1])] * 5], None, {"barrier"}),
        ([*turn(1, 1, 0, 0, 1), (1, ["met", 3, 1])], None, {"barrier"}),
        ([*turn(1, 1, 0, 0, 1), *[(2, ["semaphore in", 0.5])] * 2], None, {"overlaps"}),
    ],
)
def test_what_the_processes_report_is_judged(
    reports: list[tuple[int, object]], killed: object, failed: set[str]
) -> None:
    findings = judge(history(*reports, killed=killed))
    assert {finding.name for finding in findings if not finding.ok} == failed
