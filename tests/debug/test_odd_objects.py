"""No object of the program makes a look fail, however odd it is."""

import asyncio
import functools
import types
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from interpreters import PYPY

import holdfast
import holdfast.debug

from .test_deadlocks import stuck

pytestmark = pytest.mark.skipif(PYPY, reason="the stacks of suspended coroutines are looked at as CPython has them")


class OddError(Exception):
    pass


class Raises:
    """A callable that tells nothing."""

    def __call__(self, *args: object) -> None: ...

    def __getattr__(self, name: str) -> object:
        raise OddError(name)

    def __repr__(self) -> str:
        raise OddError


class LockWithoutRepr(holdfast.Lock):
    def __repr__(self) -> str:
        raise OddError


class LockThatTellsNothing(holdfast.Lock):
    def __getattribute__(self, name: str) -> Any:
        if name == "_held":
            raise OddError
        return super().__getattribute__(name)


class LockWithoutTruth(holdfast.Lock):
    def __bool__(self) -> bool:
        raise OddError


class Meta(type):
    def __hash__(cls) -> int:
        raise OddError

    def __eq__(cls, other: object) -> bool:
        raise OddError


class WithoutHash(metaclass=Meta):
    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *exc_info: object) -> None: ...


async def beside(value: object, lock: holdfast.Lock) -> None:
    async with lock:
        await lock.acquire()
    del value


async def in_its_block(manager: Any, lock: holdfast.Lock) -> None:
    async with manager, lock:
        await lock.acquire()


async def key_without_repr() -> None:
    locks, key = holdfast.KeyedLock(), Raises()
    async with locks[key]:
        await locks[key].acquire()


ODD: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "method of a partial": lambda: beside(types.MethodType(functools.partial(print), 3), holdfast.Lock()),
    "method of an object": lambda: beside(types.MethodType(Raises(), 3), holdfast.Lock()),
    "class without a hash": lambda: beside(WithoutHash, holdfast.Lock()),
    "its object": lambda: beside(WithoutHash(), holdfast.Lock()),
    "its block": lambda: in_its_block(WithoutHash(), holdfast.Lock()),
    "lock without a repr": lambda: beside(None, LockWithoutRepr()),
    "lock that tells nothing": lambda: beside(None, LockThatTellsNothing()),
    "lock without a truth value": lambda: beside(None, LockWithoutTruth()),
    "key without a repr": key_without_repr,
}


@pytest.mark.parametrize("name", ODD)
async def test_a_look_does_not_fail(name: str) -> None:
    lock = holdfast.Lock()
    await lock.acquire()
    async with stuck(odd=ODD[name](), other=beside(None, lock)) as dump:
        waiters = [waiter.name for primitive in dump.primitives for waiter in primitive.waiters]
        text = str(dump)
    assert waiters.count("task 'odd'") == waiters.count("task 'other'") == 1
    assert ("its repr has raised OddError" in text) == name.endswith("repr")
    assert dump.to_json()


async def test_a_task_whose_name_raises() -> None:
    class Nameless(asyncio.Task[None]):
        def get_name(self) -> str:
            raise OddError

    lock = holdfast.Lock()
    await lock.acquire()
    task = Nameless(beside(None, lock), loop=asyncio.get_running_loop())
    await asyncio.sleep(0)
    text = str(holdfast.debug.dump())
    task.cancel()
    await asyncio.wait([task])
    assert f"task at {id(task):#x} (its get_name() has raised OddError)" in text
