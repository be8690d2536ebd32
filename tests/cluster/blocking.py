"""Threads that wait in a SyncSession: how tests start them, see that they wait, and interrupt them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import pytest
from interpreters import BOUND

from holdfast.cluster.loop_in_thread import call as call_module


def in_thread(work: Callable[[], Any]) -> Future[Any]:
    """Do it in a thread; a future of what it returns."""
    done: Future[Any] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as exc:
            done.set_exception(exc)

    threading.Thread(target=run, daemon=True).start()
    return done


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(session: Any, name: str = "x") -> int:
    """How many wait for a name, as its record says."""
    try:
        return sum(each.tasks for each in session.inspect(name).waiters)
    except KeyError:  # nobody has used it yet
        return 0


def in_loop(session: Any, make: Callable[[], Any]) -> Any:
    """Have something done in the event loop of a session, and wait for it."""
    return session._run(make)


class Gate:
    """In place of a lock at which a thread waits for what a call does: a signal handler raises there."""

    def __init__(self, moment: Callable[[], object] | None) -> None:
        self.lock = threading.Lock()
        self.lock.acquire()
        self.moment = moment

    def acquire(self, timeout: float = -1) -> bool:
        if self.moment is not None:
            self.moment()
            raise KeyboardInterrupt
        return self.lock.acquire(timeout=timeout)

    def locked(self) -> bool:
        return self.lock.locked()

    def release(self) -> None:
        self.lock.release()


class Interruptions:
    """What interrupts the next call."""

    def __init__(self) -> None:
        self.due: list[Callable[[Gate], object]] = []

    def when_done(self) -> None:
        """Interrupt it at the moment at which the answer is there."""
        self.due = [lambda gate: gate.lock.acquire()]

    def when(self, *moments: Callable[[], object]) -> None:
        """Interrupt it when the first of these returns, and what it does then when the second one does."""
        self.due = [lambda gate, moment=moment: moment() for moment in moments]  # type: ignore[misc]

    def gate(self) -> Gate:
        gate = Gate(None)
        if self.due:
            moment = self.due.pop(0)
            gate.moment = lambda: moment(gate)
        return gate


@pytest.fixture
def interruptions(monkeypatch: pytest.MonkeyPatch) -> Interruptions:
    made = Interruptions()
    monkeypatch.setattr(call_module, "_gate", made.gate)
    return made
