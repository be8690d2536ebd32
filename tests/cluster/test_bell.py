"""What one task awaits, and who rings has it go on in the same step of the loop."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from holdfast.cluster.engines.bell import Bell

HERE: ContextVar[str] = ContextVar("HERE", default="elsewhere")


class Waiting:
    """A task that waits for a bell, and what becomes of it."""

    def __init__(self, bell=Bell):
        self.bell = bell(loop=asyncio.get_running_loop())
        self.heard = []
        self.task = asyncio.create_task(self._wait())

    async def _wait(self):
        HERE.set("in the task")
        await self.bell
        self.heard.append(HERE.get())


async def in_a_callback(function, *args):
    """Call it where no task runs; return what it returns, or raise what it raises."""
    done = asyncio.get_running_loop().create_future()

    def call():
        try:
            done.set_result(function(*args))
        except BaseException as exc:
            done.set_exception(WrappedError(repr(exc)))

    asyncio.get_running_loop().call_soon(call)
    return await done


class WrappedError(Exception):
    """A KeyboardInterrupt would end the test's loop."""


async def started(bell=Bell):
    waiting = Waiting(bell)
    await asyncio.sleep(0)
    return waiting


async def test_the_task_has_gone_on_when_a_callback_has_rung():
    waiting = await started()

    def ring():
        waiting.bell.ring(at_once=True)
        return waiting.heard[:]

    assert await in_a_callback(ring) == ["in the task"]
    await waiting.task


@pytest.mark.parametrize("at_once", [False, True])
async def test_in_the_step_of_another_task_it_is_the_next_turn(at_once):
    waiting = await started()
    waiting.bell.ring(at_once)
    waiting.bell.ring(at_once)
    assert waiting.heard == []
    await asyncio.sleep(0)
    assert waiting.heard == ["in the task"]


async def test_one_that_has_rung_is_not_waited_for():
    waiting = Waiting()
    waiting.bell.ring(at_once=True)
    await asyncio.sleep(0)
    assert waiting.heard == ["in the task"]


async def test_a_task_that_was_cancelled_hears_nothing():
    waiting = await started()
    waiting.task.cancel()
    await in_a_callback(waiting.bell.ring, True)
    with pytest.raises(asyncio.CancelledError):
        await waiting.task
    assert waiting.heard == []


async def test_what_the_task_raises_is_the_tasks():
    waiting = await started()
    waiting.heard = None
    await in_a_callback(waiting.bell.ring, True)
    with pytest.raises(AttributeError):
        await waiting.task


def interrupted(method, after):
    """A bell in the middle of whose ring() a signal handler raises: before or after this method has done its work."""

    class Interrupted(Bell):
        was = False

    def call(self, *args):
        result = getattr(Bell, method)(self, *args) if after or self.was else None
        if not self.was:
            self.was = True
            raise KeyboardInterrupt
        return result

    setattr(Interrupted, method, call)
    return Interrupted


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("method", ["remove_done_callback", "set_result"])
async def test_a_task_goes_on_though_a_signal_handler_has_raised(method, after):
    waiting = await started(interrupted(method, after))
    with pytest.raises(WrappedError, match="KeyboardInterrupt"):
        await in_a_callback(waiting.bell.ring, True)
    await waiting.task
    assert waiting.heard == ["in the task"]


async def test_a_task_in_whose_step_a_signal_handler_raises_is_not_called_twice():
    class Raising(list):
        def append(self, what):
            super().append(what)
            raise KeyboardInterrupt

    waiting = await started()
    waiting.heard = Raising()
    with pytest.raises(WrappedError, match="KeyboardInterrupt"):
        await in_a_callback(waiting.bell.ring, True)
    await asyncio.sleep(0)
    assert waiting.heard == ["in the task"]
    with pytest.raises(KeyboardInterrupt):
        waiting.task.result()
