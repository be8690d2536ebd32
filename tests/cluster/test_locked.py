"""`holdfast.locked()`, the decorator for `def` and `async def`."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from interpreters import BOUND

import holdfast

from .blocking import in_thread, until, waiting
from .engines import Place
from .engines import place as place


def options(place: Place) -> dict[str, Any]:
    return {"url": place.url, **place.options()}


def test_a_function_runs_under_the_lock(place: Place) -> None:
    @holdfast.locked("nightly", **options(place))
    def work(what: int, *, times: int = 1) -> int:
        """What it does."""
        with place.connect().sync as session:
            assert session.lock("nightly").locked()
        return what * times

    assert work(2, times=3) == 6
    assert work.__doc__ == "What it does."
    assert [*inspect.signature(work).parameters] == ["what", "times"]
    with place.connect().sync as session:
        assert session.lock("nightly").acquire(blocking=False)


def test_a_coroutine_function_runs_under_the_lock(place: Place) -> None:
    @holdfast.locked("nightly", **options(place))
    async def work(what: int) -> int:
        async with place.connect() as session:
            assert await session.lock("nightly").locked()
        return what

    assert inspect.iscoroutinefunction(work)
    assert asyncio.run(work(2)) == 2


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_one_that_does_not_get_it_is_not_called(place: Place, timeout: float) -> None:
    called: list[str] = []

    def work() -> str:
        called.append("work")
        return "done"

    async def work_in_loop() -> str:
        return work()

    def both(**more: Any) -> list[Any]:
        decorate = holdfast.locked("nightly", timeout=timeout, **options(place), **more)
        return [decorate(work), lambda: asyncio.run(decorate(work_in_loop)())]

    with place.connect().sync as session:
        with session.lock("nightly"):
            for call in both():
                with pytest.raises(TimeoutError, match=rf"'nightly' was not free within {timeout} s"):
                    call()
            assert [call() for call in both(skip=True)] == [None, None]
        assert called == []
    if not timeout:
        assert [call() for call in both(skip=True)] == ["done", "done"]


def test_it_waits_its_turn(place: Place) -> None:
    decorate = holdfast.locked("nightly", timeout=BOUND, **options(place))

    @decorate
    def work() -> str:
        return "in a thread"

    @decorate
    async def work_in_loop() -> str:
        return "in a loop"

    with place.connect().sync as session:
        lock = session.lock("nightly")
        lock.acquire()
        ends = [in_thread(work), in_thread(lambda: asyncio.run(work_in_loop()))]
        until(lambda: waiting(session, "nightly") == 2)
        lock.release()
        assert [end.result(BOUND) for end in ends] == ["in a thread", "in a loop"]


def test_what_the_function_raises_comes_out(place: Place) -> None:
    decorate = holdfast.locked("nightly", skip=True, timeout=BOUND, **options(place))

    @decorate
    def work() -> None:
        raise TimeoutError("its own")

    @decorate
    async def work_in_loop() -> None:
        raise TimeoutError("its own")

    for call in [work, lambda: asyncio.run(work_in_loop())]:
        with pytest.raises(TimeoutError, match="its own"):
            call()


def test_a_loss_comes_out(place: Place) -> None:
    decorate = holdfast.locked("nightly", **options(place))

    @decorate
    def work() -> None:
        with place.connect().sync as session:
            session.evict(session.inspect("nightly").holders[0].session.id, reason="a test")
            with session.lock("nightly"):
                pass

    @decorate
    async def work_in_loop() -> None:
        async with place.connect() as session:
            await session.evict((await session.inspect("nightly")).holders[0].session.id, reason="a test")
            await asyncio.sleep(BOUND)  # it is cancelled

    for call in [work, lambda: asyncio.run(work_in_loop())]:
        with pytest.raises(holdfast.LeaseLost, match="a test"):
            call()


def test_the_place_is_looked_up_at_the_call(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", "ftp://not.set.yet.example.org")

    @holdfast.locked("nightly")
    def work() -> list[str]:
        with holdfast.connect().sync as session:
            return session.names()

    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    assert work() == ["nightly"]


def test_wrong_use_is_an_error_at_once() -> None:
    for wrong in [{"timeout": -1}, {"timeout": -0.5}, {"url": "ftp://host"}, {"ttl": 0}, {"namespace": ""}]:
        with pytest.raises(ValueError, match=r".+"):
            holdfast.locked("nightly", **wrong)
    with pytest.raises(ValueError, match="1 to 200 characters"):
        holdfast.locked("")
    with pytest.raises(TypeError, match="is a generator function"):

        @holdfast.locked("nightly", url="memory:")
        def generate() -> Any:
            yield
