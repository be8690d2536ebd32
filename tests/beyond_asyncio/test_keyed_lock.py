"""KeyedLock: one at a time for each key, and nothing of a key is left when nobody uses it."""

from __future__ import annotations

import asyncio
import itertools
import linecache
import math
import random
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import holdfast
import holdfast.threads
from holdfast.tasks import keyed_lock

from .turns import turns


async def test_one_at_a_time_for_each_key(library: ModuleType) -> None:
    locks = library.KeyedLock()
    async with locks["a"], locks["b"]:
        assert locks["a"].locked()
        waiting = asyncio.create_task(locks["a"].acquire())
        await turns()
        assert not waiting.done()
        assert sorted(locks) == ["a", "b"]
        assert len(locks) == 2
    await turns()
    assert waiting.done()
    assert "a" in locks
    assert "b" not in locks
    locks["a"].release()
    assert len(locks) == 0


async def test_in_the_order_of_asking(library: ModuleType) -> None:
    locks, order = library.KeyedLock(), []

    async def use(n: int) -> None:
        async with locks["key"]:
            order.append(n)
            await asyncio.sleep(0)

    await asyncio.gather(*map(use, range(100)))
    assert order == [*range(100)]
    assert len(locks) == 0


async def test_a_million_keys_leave_nothing(library: ModuleType) -> None:
    locks = library.KeyedLock()
    for key in range(1_000_000 if library is holdfast else 50_000):
        async with locks[key]:
            pass
    assert len(locks) == 0
    assert [*locks] == []


async def test_a_lock_is_not_replaced_while_it_is_held(library: ModuleType) -> None:
    """What caches with a bound do: they evict a lock, and the next task makes a new one (draft-detective #654)."""
    locks, inside = library.KeyedLock(), 0

    async def use(key: int) -> None:
        nonlocal inside
        async with locks[key]:
            if key == 0:
                inside += 1
                assert inside == 1
            await asyncio.sleep(0)
            if key == 0:
                inside -= 1

    await asyncio.gather(*(use(key) for key in itertools.chain(range(1000), [0] * 50)))
    assert len(locks) == 0


@pytest.mark.parametrize("granted", [False, True])
async def test_nothing_is_left_of_who_is_cancelled(library: ModuleType, granted: bool) -> None:
    locks = library.KeyedLock()
    await locks["key"].acquire()
    waiting = asyncio.create_task(locks["key"].acquire())
    await turns()
    if granted:
        locks["key"].release()
    waiting.cancel()
    await turns()
    if not granted:
        assert "key" in locks
        locks["key"].release()
    assert "key" not in locks
    assert locks["key"].try_acquire()


async def test_a_handle_may_be_kept(library: ModuleType) -> None:
    locks = library.KeyedLock()
    kept = locks["key"]
    for _ in range(3):
        async with kept:
            assert not locks["key"].try_acquire()
            assert kept.statistics().locked
        assert "key" not in locks
        assert not kept.locked()


async def test_release_without_acquire(library: ModuleType) -> None:
    locks = library.KeyedLock()
    with pytest.raises(RuntimeError, match="not acquired"):
        locks["key"].release()
    with pytest.raises(RuntimeError, match="not acquired"):
        locks.all("a", "b").release()
    with pytest.raises(TypeError, match="async with"), locks["key"]:
        pass
    with pytest.raises(TypeError, match="unhashable"):
        locks.all([])
    with pytest.raises(TypeError, match="unhashable"):
        await locks[[]].acquire()
    assert len(locks) == 0


async def test_several_keys_in_any_order(library: ModuleType) -> None:
    locks, turns_taken = library.KeyedLock(), 0
    names = "abcd"

    async def use(keys: tuple[str, ...]) -> None:
        nonlocal turns_taken
        async with locks.all(*keys):
            assert all(locks[key].locked() for key in keys)
            await asyncio.sleep(0)
            turns_taken += 1

    everyone = [use(keys) for n in range(1, 5) for keys in itertools.permutations(names, n)]
    random.Random(1).shuffle(everyone)
    async with asyncio.timeout(60):
        await asyncio.gather(*everyone)
    assert turns_taken == 64
    assert len(locks) == 0


async def test_a_key_that_is_named_twice_is_taken_once(library: ModuleType) -> None:
    locks = library.KeyedLock()
    async with locks.all("a", "b", "a"):
        assert len(locks) == 2
    assert len(locks) == 0
    assert not locks.all().locked()


async def test_several_keys_or_none(library: ModuleType) -> None:
    locks = library.KeyedLock()
    async with locks["b"]:
        both = locks.all("a", "b", "c")
        assert not both.try_acquire()
        assert [*locks] == ["b"]
        waiting = asyncio.create_task(both.acquire())
        await turns()
        waiting.cancel()
        await turns()
        assert [*locks] == ["b"]
    assert both.try_acquire()
    both.release()
    assert len(locks) == 0


async def test_a_coroutine_that_is_closed_frees_its_keys(library: ModuleType) -> None:
    locks = library.KeyedLock()

    async def body() -> None:
        async with locks["a"], locks.all("b", "c"):
            await asyncio.sleep(math.inf)

    coroutine = body()
    coroutine.send(None)
    assert len(locks) == 3
    coroutine.close()
    assert len(locks) == 0


async def test_one_free_key_is_free_while_another_is_waited_for(library: ModuleType) -> None:
    """A key that is asked for with others counts as in use from then on, and is not held before its turn."""
    locks = library.KeyedLock()
    async with locks["a"]:
        waiting = asyncio.create_task(locks.all("a", "b").acquire())
        await turns()
        assert locks["b"].try_acquire()
        locks["b"].release()
    await waiting
    locks.all("b", "a").release()
    assert len(locks) == 0


async def test_what_it_says_of_itself(library: ModuleType) -> None:
    locks = library.KeyedLock()
    assert "[keys:0]" in repr(locks)
    async with locks["x"]:
        assert "'x' [locked]" in repr(locks["x"])
    assert "'x', 'y'" in repr(locks.all("x", "y"))


def test_threads_and_tasks_have_one_line_for_each_key() -> None:
    locks: holdfast.threads.KeyedLock[Any] = holdfast.threads.KeyedLock()
    inside: dict[int, int] = dict.fromkeys(range(3), 0)
    failed: list[str] = []

    def enter(keys: tuple[int, ...]) -> None:
        for key in keys:
            inside[key] += 1
            if inside[key] != 1:
                failed.append(f"{inside[key]} are in with {key}")

    def leave(keys: tuple[int, ...]) -> None:
        for key in keys:
            inside[key] -= 1

    def thread(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(200):
            keys = tuple(choose.sample(range(3), choose.choice((1, 1, 2))))
            with locks.all(*keys).sync if len(keys) > 1 else locks[keys[0]].sync:
                enter(keys)
                leave(keys)

    async def task(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(100):
            keys = tuple(choose.sample(range(3), 2))
            async with locks.all(*keys):
                enter(keys)
                await asyncio.sleep(0)
                leave(keys)

    async def main(seed: int) -> None:
        await asyncio.gather(*(task(seed + n) for n in range(5)))

    threads = [threading.Thread(target=thread, args=(seed,)) for seed in range(4)]
    threads += [threading.Thread(target=asyncio.run, args=(main(seed),)) for seed in (100, 200)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert not any(each.is_alive() for each in threads)
    assert failed == []
    assert len(locks) == 0


def test_a_thread_gives_up() -> None:
    locks: holdfast.threads.KeyedLock[str] = holdfast.threads.KeyedLock()
    with locks["b"].sync:
        assert not locks["b"].sync.acquire(blocking=False)
        assert not locks["b"].sync.acquire(timeout=0.01)
        assert not locks.all("a", "b").sync.acquire(timeout=0.01)
        assert [*locks] == ["b"]
    with locks.all("a", "b").sync as taken:
        assert taken
        assert locks["a"].sync.locked()
    assert len(locks) == 0


# What breakers have found


def in_a_section(locks: Any, call: Callable[[], Any]) -> list[Any]:
    """What a call comes to in a finalizer that runs while its thread is inside a critical section."""
    results: list[Any] = []

    class Finalized:
        def __del__(self) -> None:
            try:
                results.append(call())
            except Exception as exc:
                results.append(exc)

    class Key:
        def __hash__(self) -> int:
            if here:
                here.pop()  # the only reference
            return 1

    here = [Finalized()]
    with locks[Key()].sync:
        pass
    assert not here
    return results


@pytest.mark.parametrize("several", [False, True])
def test_try_acquire_in_a_finalizer_says_no(several: bool) -> None:
    locks: holdfast.threads.KeyedLock[Any] = holdfast.threads.KeyedLock()
    wanted = locks.all("a", "b") if several else locks["a"]
    assert in_a_section(locks, wanted.try_acquire) == [False]
    assert len(locks) == 0


def test_a_release_in_a_finalizer_is_made_when_the_section_was_left() -> None:
    locks: holdfast.threads.KeyedLock[Any] = holdfast.threads.KeyedLock()
    assert locks["a"].try_acquire()
    assert in_a_section(locks, locks["a"].release) == [None]
    assert len(locks) == 0


class Interrupted(BaseException):
    """What a signal handler raises."""


@pytest.mark.parametrize("is_held", [False, True])
@pytest.mark.parametrize("several", [False, True])
def test_nothing_is_left_wherever_asking_is_interrupted(several: bool, is_held: bool) -> None:
    """A signal handler may raise between any two lines. Not counted: where it is held, or undone."""
    interrupted = 0
    while True:
        locks: holdfast.threads.KeyedLock[Any] = holdfast.threads.KeyedLock()
        if is_held:
            assert locks["a"].try_acquire()
        left = interrupted

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal left
            asking = frame.f_code.co_name in ("_join", "_acquire_by", "_new_lock", "<listcomp>")
            if event == "line" and asking and frame.f_code.co_filename == keyed_lock.__file__:
                source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
                undoes_or_has_it = any(
                    each in source for each in ("self._part", "self._free", "taken.append", "return True")
                )
                if not undoes_or_has_it and left >= 0:
                    left -= 1
                    if left < 0:
                        raise Interrupted
            return trace

        sys.settrace(trace)
        try:
            taken = (locks.all("a", "b") if several else locks["a"]).sync.acquire(timeout=0.001)
        except Interrupted:
            taken = None
        finally:
            sys.settrace(None)
        if is_held:
            locks["a"].release()
        if taken is None:
            assert len(locks) == 0, f"{[*locks]} are left by interruption {interrupted}"
            interrupted += 1
            continue
        assert taken is not is_held
        break
    assert interrupted > 5


async def test_several_keys_of_a_class_that_makes_others_of_them(library: ModuleType) -> None:
    class Caseless(library.KeyedLock):  # type: ignore[name-defined,misc]
        def __getitem__(self, key: str) -> Any:
            return super().__getitem__(key.lower() + "!")

    locks = Caseless()
    async with locks.all("A", "b", "a"):
        assert locks["a"].locked()
        assert locks["B"].locked()
        assert len(locks) == 2
    assert not len(locks)


async def test_acquire_returns_true_at_once_and_after_a_wait(library: ModuleType) -> None:
    locks = library.KeyedLock()
    for lock in (locks["key"], locks.all("key", "other")):
        assert await lock.acquire() is True
        waiting = asyncio.create_task(lock.acquire())
        await turns()
        lock.release()
        assert await waiting is True
        assert lock.locked() is True
        lock.release()
        assert lock.locked() is False
    assert len(locks) == 0


async def test_who_is_cancelled_in_the_middle_of_several_keys_holds_none(library: ModuleType) -> None:
    locks = library.KeyedLock()
    await locks["second"].acquire()
    waiting = asyncio.create_task(locks.all("first", "second").acquire())
    await turns()
    assert locks["first"].locked()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [*locks] == ["second"]
    assert locks["first"].try_acquire()


async def test_several_keys_are_released_if_all_are_held(library: ModuleType) -> None:
    locks = library.KeyedLock()
    await locks["held"].acquire()
    with pytest.raises(RuntimeError, match="Lock is not acquired"):
        locks.all("free", "held").release()  # the last one is released first
    assert locks["held"].locked()


async def test_the_repr_of_a_key_says_whether_it_is_locked(library: ModuleType) -> None:
    locks = library.KeyedLock()
    lock = locks["key"]
    assert "[unlocked]" in repr(lock)
    await lock.acquire()
    assert "[locked]" in repr(lock)
    assert repr(locks.all("key", "other")).startswith("<locks of 'key', 'other' in <holdfast")


def test_the_lock_of_a_key_has_threadings_results() -> None:
    locks = holdfast.threads.KeyedLock()
    for lock in (locks["key"].sync, locks.all("key", "other").sync):
        assert repr(lock).startswith("<sync of <lock")
        assert lock.acquire() is True
        assert lock.acquire(blocking=False) is False
        assert lock.acquire(timeout=0.001) is False
        lock.release()
        assert lock.acquire(blocking=False) is True
        lock.release()
        assert lock.acquire(timeout=1) is True
        lock.release()
    assert len(locks) == 0


async def test_async_with_calls_the_acquire_that_a_test_has_put_into_the_class(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks, asked = library.KeyedLock(), []
    acquire = type(locks["key"]).acquire

    async def counted(lock: Any) -> bool:
        asked.append(lock)
        return bool(await acquire(lock))

    monkeypatch.setattr(type(locks["key"]), "acquire", counted)
    async with locks["key"]:
        assert len(asked) == 1
    assert len(locks) == 0
