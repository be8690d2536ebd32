"""`python -m holdfast`: the demo, and that its checks would notice what they check."""

import asyncio
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

import holdfast
from holdfast import _demo

PRIMITIVES = ["Lock", "Semaphore", "BoundedSemaphore", "Event", "Condition", "Barrier"]


def run(*arguments: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, **kwargs)


@pytest.mark.timeout(180)  # on a busy machine; it takes a few seconds
def test_the_demo_checks_every_primitive() -> None:
    result = run("demo")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in result.stdout
    for name in [*PRIMITIVES, "Cancellation"]:
        (at,) = [number for number, line in enumerate(lines) if line.split(" ")[0] == name]
        assert re.fullmatch(r"  ok: .{49} +\d+ ms +(fails \*|\d+ ms +\d+\.\d\d)", lines[at + 1])
    assert "FAILED" not in result.stdout
    assert re.fullmatch(r"All 7 checks passed in \d+\.\d s\.", lines[-1])


@pytest.mark.parametrize("arguments", [[], ["dmeo"]])
def test_a_wrong_command_line_is_answered_with_the_right_one(arguments: list[str]) -> None:
    result = run(*arguments, env={**os.environ, "NO_COLOR": "1"})
    assert result.returncode == 2
    assert result.stdout == ""
    assert "usage: python -m holdfast" in result.stderr
    assert "demo" in result.stderr


def test_version() -> None:
    assert run("--version").stdout == f"holdfast {holdfast.__version__}\n"


def test_importing_holdfast_does_not_import_the_demo() -> None:
    code = "import sys, holdfast; sys.exit('holdfast._demo' in sys.modules or 'argparse' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=50).returncode == 0


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
        (_demo.lock, {"Lock": LastFirstLock}, "the order was not that of asking"),
        (_demo.lock, {"Lock": OpenLock}, "100 tasks were inside at once"),
        (_demo.lock, {"Lock": ForgetfulLock}, "still waiting after 0.5 s"),
        (_demo.semaphore, {"Semaphore": lambda n: holdfast.Semaphore(n + 1)}, "at most 11 tasks were inside at once"),
        (_demo.semaphore, {"Semaphore": lambda n: holdfast.Semaphore(n - 1)}, "at most 9 tasks were inside at once"),
        (_demo.bounded_semaphore, {"BoundedSemaphore": holdfast.Semaphore}, "one release too many was accepted"),
        (_demo.event, {"Event": LateEvent}, "0 tasks woke up"),
        (_demo.condition, NERVOUS, "500 tasks were woken for nothing"),
        (_demo.barrier, {"Barrier": CountingBarrier}, "in round 1, two tasks got the index 0"),
        (_demo.cancellation, {"Lock": LastFirstLock}, "the order was not that of asking"),
        (_demo.cancellation, {"Lock": ForgetfulLock}, "still waiting after 0.5 s"),
        (_demo.event, {}, "AttributeError: "),
    ],
)
def test_each_check_notices_what_it_checks(
    program: _demo.Program, broken: dict[str, object], seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "waiting" in seen:
        monkeypatch.setattr(_demo, "TIME_LIMIT", 0.5)
    result = _demo.run(program, SimpleNamespace(**broken))
    assert not result.ok
    assert result.seen.startswith(seen)


def test_a_failed_check_fails_the_demo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(holdfast, "BoundedSemaphore", holdfast.Semaphore)
    monkeypatch.setattr(_demo, "PARTS", [part for part in _demo.PARTS if "Semaphore" in part.name])
    assert _demo.demo() == 1
    out = capsys.readouterr().out
    assert "\n  FAILED: one release too many was accepted" in out
    assert out.endswith("\n1 of 2 checks FAILED: BoundedSemaphore\n")
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_colour_on_a_terminal_unless_no_color(no_color: str) -> None:
    terminal, slave = os.openpty()
    code = "from holdfast import _demo; del _demo.PARTS[:]; _demo.demo()"
    env = {**os.environ, "NO_COLOR": no_color}
    try:
        subprocess.run([sys.executable, "-c", code], stdout=slave, env=env, check=True, timeout=50)
        out = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(slave)
    assert "checks passed" in out
    assert ("\x1b[32m" in out) is (no_color == "")
