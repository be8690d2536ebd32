"""Keys whose `__hash__`, `__eq__` and `__del__` run code: they raise, use the same KeyedLock, or let go of it."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import holdfast

from .turns import turns


class Key:
    """All are equal. A code is run when one is hashed or compared, once."""

    def __init__(self, value: object = 1) -> None:
        self.value = value
        self.when_hashed: Callable[[], object] | None = None
        self.when_compared: Callable[[], object] | None = None

    def __hash__(self) -> int:
        code, self.when_hashed = self.when_hashed, None
        if code:
            code()
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        code, self.when_compared = self.when_compared, None
        if code:
            code()
        return isinstance(other, Key) or other == self.value


WHEN = pytest.mark.parametrize("when", ["when_hashed", "when_compared"])
HOW = pytest.mark.parametrize("how", ["async with", "acquire", "try_acquire"])


async def take(lock: Any, how: str) -> bool:
    """Take a key, or wait for it no longer than some turns of the event loop; return whether it is held."""
    if how == "try_acquire":
        return bool(lock.try_acquire())
    taking = asyncio.ensure_future(lock.acquire() if how == "acquire" else enter(lock))
    await turns()
    taking.cancel()
    await asyncio.wait([taking])
    if taking.cancelled():
        return False
    taking.result()
    return True


async def enter(lock: Any) -> None:
    await lock.__aenter__()


def free(lock: Any, how: str) -> None:
    """Free a key, as release() or the end of an `async with` block does."""
    if how == "release":
        lock.release()
    else:
        lock.__aexit__(None, None, None)  # what it returns has nothing left to do


def fail() -> None:
    raise ZeroDivisionError


def run_once(code: Callable[[], object], when: str, there: Key, key: Key) -> None:
    """Run a code when `key` is looked for and `there` is in the dict. Who is there is asked whether it is equal."""
    setattr(there if when == "when_compared" else key, when, code)


@WHEN
@HOW
async def test_what_it_raises_comes_out_and_nothing_is_taken(when: str, how: str) -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    there, key = Key(), Key()
    assert locks[there].try_acquire()
    run_once(fail, when, there, key)
    with pytest.raises(ZeroDivisionError):
        await take(locks[key], how)
    assert [*locks] == [there]
    locks[key].release()
    assert len(locks) == 0


@WHEN
@pytest.mark.parametrize("how", ["async with", "release"])
async def test_what_it_raises_leaves_the_key_held(when: str, how: str) -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    there, key = Key(), Key()
    assert locks[there].try_acquire()
    run_once(fail, when, there, key)
    with pytest.raises(ZeroDivisionError):
        free(locks[key], how)
    assert len(locks) == 1
    locks[key].release()
    assert len(locks) == 0


@pytest.mark.parametrize("error", [KeyError, RuntimeError])
async def test_its_own_key_error_is_not_taken_for_a_missing_key(error: type[Exception]) -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    assert locks[Key()].try_acquire()

    class Wrong:
        def __hash__(self) -> int:
            return 1

        def __eq__(self, other: object) -> bool:
            raise error("mine")

    with pytest.raises(error, match="mine"):
        locks[Wrong()].release()
    with pytest.raises(error, match="mine"):
        await locks[Wrong()].__aenter__()
    assert len(locks) == 1


class Nth:
    """Runs a code when it has been called so many times."""

    def __init__(self, n: int, code: Callable[[], object]) -> None:
        self.left, self.code, self.ran = n, code, False

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.ran = True
            self.code()


class Counting:
    """It counts how often it is hashed and compared. It is equal to nothing else, or to all."""

    def __init__(self, value: object, hashed: Callable[[], None], compared: Callable[[], None], equal: bool) -> None:
        self.value, self.hashed, self.compared, self.equal = value, hashed, compared, equal

    def __hash__(self) -> int:
        self.hashed()
        return hash(self.value)

    def __eq__(self, other: object) -> bool:
        self.compared()
        return self.equal or self is other


def nothing() -> None:
    pass


@HOW
async def test_who_takes_it_in_any_of_its_hashes_has_it_alone(how: str) -> None:
    for n in range(1, 20):
        locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
        inner: list[bool] = []
        nth = Nth(n, lambda locks=locks, inner=inner: inner.append(locks[Key()].try_acquire()))  # type: ignore[misc]
        outer = await take(locks[Counting(1, nth, nothing, True)], how)
        assert [outer, *inner].count(True) == 1
        assert locks[Key()].locked()
        locks[Key()].release()
        assert len(locks) == 0
        if not nth.ran:
            break
    assert 1 < n < 19


@HOW
@pytest.mark.parametrize("found", [Key(), "a str"])
async def test_who_takes_it_whenever_another_key_is_compared_has_it_alone(how: str, found: object) -> None:
    """A key with the same hash stands in the way, and takes the key that is looked for."""
    for n in range(1, 20):
        locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
        inner: list[bool] = []
        nth = Nth(n, lambda locks=locks, inner=inner: inner.append(locks[found].try_acquire()))  # type: ignore[misc]
        in_the_way = Counting(found, nothing, nothing, False)
        assert locks[in_the_way].try_acquire()
        in_the_way.compared = nth
        outer = await take(locks[found], how)
        assert [outer, *inner].count(True) == 1
        in_the_way.compared = nothing
        locks[found].release()
        locks[in_the_way].release()
        assert len(locks) == 0
        if not nth.ran:
            break
    assert 1 < n < 19


@pytest.mark.parametrize("when", ["hashed", "compared"])
@pytest.mark.parametrize("how", ["async with", "release"])
async def test_who_asks_for_it_at_any_look_while_it_is_freed_gets_it(when: str, how: str) -> None:
    for n in range(1, 20):
        locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
        assert locks[Key()].try_acquire()
        asked: list[Any] = []

        def ask(locks: Any = locks, asked: list[Any] = asked) -> None:
            waiting = locks[Key()].acquire()
            waiting.send(None)  # as an eager task does
            asked.append(waiting)

        nth = Nth(n, ask)
        key = Counting(1, nth, nothing, True) if when == "hashed" else Counting(1, nothing, nth, True)
        free(locks[key], how)
        if not nth.ran:
            break
        assert locks[Key()].locked()  # it is handed to who has asked
        with pytest.raises(StopIteration):
            asked[0].send(None)
        locks[Key()].release()
        assert len(locks) == 0
    assert 1 < n < 19


@WHEN
@HOW
async def test_it_may_use_other_keys(when: str, how: str) -> None:
    """So the dict is made anew in the middle of the look."""
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()

    def use_others() -> None:
        for n in range(100, 200):
            assert locks[n].try_acquire()
        for n in range(100, 200):
            locks[n].release()

    there, key = Key(), Key()
    assert locks[there].try_acquire()
    run_once(use_others, when, there, key)
    assert not await take(locks[key], how)
    run_once(use_others, when, there, key)
    locks[key].release()
    run_once(use_others, when, there, key)
    assert await take(locks[key], how)
    locks[key].release()
    assert len(locks) == 0


@WHEN
async def test_it_may_let_go_of_the_lock_that_is_used(when: str) -> None:
    there, key = Key(), Key()
    kept = [holdfast.KeyedLock[Any]()]
    gone = weakref.ref(kept[0])
    assert kept[0][there].try_acquire()

    def let_go() -> None:
        kept.clear()
        gc.collect()

    run_once(let_go, when, there, key)
    assert not kept[0][key].try_acquire()
    assert not kept
    gc.collect()
    assert gone() is None


async def test_a_key_that_changes_is_not_found_again() -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    key = Key()
    async with locks[Key()]:
        pass
    assert locks[key].try_acquire()
    key.value = 2
    with pytest.raises(RuntimeError, match="not acquired"):
        locks[key].release()
    assert len(locks) == 1


async def test_unhashable_keys_are_refused_when_they_are_used() -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    for use in (locks[[]].__aenter__, locks[[]].try_acquire, locks[[]].release):
        with pytest.raises(TypeError, match="unhashable"):
            use()
    with pytest.raises(TypeError, match="unhashable"):
        async with locks[{}]:
            pass
    assert len(locks) == 0


async def test_a_key_that_uses_locks_when_it_is_collected() -> None:
    """`locks[key]` lets go of its key when nobody refers to it, and is then used again."""
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    used = 0

    class Collected:
        def __del__(self) -> None:
            nonlocal used
            handles = [locks[n] for n in range(5)]
            assert handles[0].try_acquire()
            handles[0].release()
            used += 1

    for _ in range(100):
        async with locks[Collected()]:
            assert len(locks) == 1
    gc.collect()
    assert used == 100
    assert len(locks) == 0


def test_locks_of_locks_of_locks() -> None:
    """They are let go of one after the other, not one within the other."""
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    lock: Any = locks["a"]
    for _ in range(100_000):
        lock = locks[lock]
    assert lock.try_acquire()
    lock.release()
    del lock
    assert len(locks) == 0


def test_a_lock_that_its_own_key_refers_to_is_collected() -> None:
    locks: holdfast.KeyedLock[Any] = holdfast.KeyedLock()
    before = sys.getrefcount(locks)
    for several in (1, 200):  # more than are kept to be used again
        keys = [Key() for _ in range(several)]
        for key in keys:
            key.value = locks[key]
        gone = [weakref.ref(key) for key in keys]
        del key, keys
        gc.collect()
        assert [each() for each in gone] == [None] * several
    assert sys.getrefcount(locks) == before
