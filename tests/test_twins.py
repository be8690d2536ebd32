"""Which twin is used, and that the compiled one can be told from Python only by its speed."""

import asyncio
import contextlib
import copy
import gc
import inspect
import os
import pickle
import platform
import subprocess
import sys
import textwrap
import threading
import types
import warnings
import weakref
from collections.abc import Generator
from typing import Any

import pytest
from interpreters import BOUND, in_c, refcounting

import holdfast
from holdfast import Barrier, BoundedSemaphore, Condition, Event, KeyedLock, Lock, Semaphore
from holdfast.tasks import context_manager
from holdfast.tasks.keyed_lock import KeyLock
from holdfast.tasks.twins import why_pure

needs_compiled = pytest.mark.skipif(not holdfast.accelerated, reason="there is no compiled twin here")


def run(program: str, **environment: str) -> str:
    """What a program prints in a new interpreter."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=BOUND,
        env=os.environ | environment,
    )
    assert result.stderr == ""
    return result.stdout.strip()


# The choice


@pytest.mark.parametrize("value", ["1", "yes"])
def test_the_environment_asks_for_pure_python(value: str) -> None:
    program = "import sys, holdfast; print(holdfast.accelerated, 'holdfast.tasks._speedups' in sys.modules)"
    assert run(program, HOLDFAST_PURE_PYTHON=value) == "False False"


def test_an_empty_variable_asks_for_nothing() -> None:
    program = (
        "import importlib.util, holdfast\n"
        "print(holdfast.accelerated == (importlib.util.find_spec('holdfast.tasks._speedups') is not None))"
    )
    assert run(program, HOLDFAST_PURE_PYTHON="") == "True"


def test_without_the_library_it_is_pure_python() -> None:
    program = (
        "import sys; sys.modules['holdfast.tasks._speedups'] = None\n"
        "import asyncio, holdfast\n"
        "async def main():\n"
        "    async with holdfast.Lock(): print(holdfast.accelerated)\n"
        "asyncio.run(main())"
    )
    assert run(program, HOLDFAST_PURE_PYTHON="") == "False"


@pytest.mark.parametrize(
    ("before", "pure", "why"),
    [
        ("", "1", "HOLDFAST_PURE_PYTHON is set"),
        ("sys.implementation.name = 'pypy'", "", "the compiled part is for CPython"),
        ("sys.modules['holdfast.tasks._speedups'] = None", "", "it was installed without a C compiler"),
        ("sys.meta_path.insert(0, Spoilt())", "", "the compiled part cannot be loaded: undefined symbol: x"),
    ],
    ids=["asked for", "PyPy", "no compiler", "another system"],
)
def test_it_says_why_it_is_pure_python(before: str, pure: str, why: str) -> None:
    program = (
        "import sys; sys.implementation.name = 'cpython'\n"
        "class Spoilt:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.endswith('_speedups'): raise ImportError('undefined symbol: x')\n"
        f"{before}\n"
        "from holdfast.tasks.twins import accelerated, why_pure\n"
        "print(accelerated, why_pure)"
    )
    assert run(program, HOLDFAST_PURE_PYTHON=pure).startswith(f"False {why}")


def test_the_compiled_twin_needs_no_reason() -> None:
    assert holdfast.accelerated is (why_pure == "")


def one_key() -> KeyLock[Any]:
    return KeyedLock[Any]()["key"]


# What the classes look like

METHODS = [
    Lock.acquire,
    Lock.release,
    Lock.try_acquire,
    Lock.__aenter__,
    Semaphore.acquire,
    Event.wait,
    Event.set,
    Condition.wait,
    Condition.acquire,
    Condition.release,
    Barrier.wait,
    KeyedLock.__getitem__,
    KeyLock.try_acquire,
    KeyLock.release,
    KeyLock.__aenter__,
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_methods_have_a_signature_and_documentation(method) -> None:
    assert next(iter(inspect.signature(method).parameters)) == "self"
    assert inspect.getdoc(method)
    assert pickle.loads(pickle.dumps(method)) is method
    assert copy.copy(method) is method


WITH_A_SOURCE = [method for method in METHODS if not isinstance(method, types.MethodDescriptorType)]


@pytest.mark.parametrize("method", WITH_A_SOURCE, ids=lambda method: method.__qualname__)
def test_methods_have_a_source(method) -> None:
    assert "def " in inspect.getsource(method)
    assert method.__module__.startswith("holdfast.")


@pytest.mark.parametrize("cls", [Lock, Event, Condition, Semaphore, BoundedSemaphore, KeyedLock, KeyLock])
def test_classes_are_found_where_they_say(cls) -> None:
    assert pickle.loads(pickle.dumps(cls)) is cls
    assert cls.__doc__


@pytest.mark.parametrize("make", [Lock, Event, Condition, Semaphore, BoundedSemaphore, lambda: Barrier(2), one_key])
async def test_idle_primitives_are_copied_with_their_state(make) -> None:
    primitive = make()
    primitive.name = "mine"
    if hasattr(primitive, "acquire"):
        await primitive.acquire()
    elif hasattr(primitive, "set"):
        primitive.set()
    again = copy.deepcopy(primitive)
    assert again.statistics() == primitive.statistics()
    assert again.name == "mine"
    if hasattr(primitive, "release"):
        primitive.release()
        assert again.statistics() != primitive.statistics()
        again.release()
        assert again.statistics() == primitive.statistics()


async def test_a_keyed_lock_is_copied_with_the_keys_that_are_held() -> None:
    locks = KeyedLock[str]()
    locks.name = "mine"  # type: ignore[attr-defined]
    await locks["a"].acquire()
    await locks.all("b", "c").acquire()
    for again in (copy.deepcopy(locks), pickle.loads(pickle.dumps(locks)), copy.deepcopy(locks["a"])._keyed):
        assert sorted(again) == ["a", "b", "c"]
        assert again.name == "mine"
        assert not again["a"].try_acquire()
        again.all("a", "b", "c").release()
        assert len(again) == 0
        async with again["a"], again.all("b", "c"):
            assert len(again) == 3
    assert len(locks) == 3
    waiting = asyncio.create_task(locks["a"].acquire())
    await asyncio.sleep(0)
    with pytest.raises(TypeError, match="cannot pickle"):
        copy.deepcopy(locks)
    waiting.cancel()


def test_it_is_generic_and_may_be_subclassed() -> None:
    class Own(KeyedLock[int]):
        def __getitem__(self, key: int) -> KeyLock[int]:
            asked.append(key)
            return super().__getitem__(key)

    asked: list[int] = []
    locks = Own()
    assert locks[1].try_acquire()
    assert asked == [1]
    assert [*locks] == [1]
    assert type(locks[1]) is KeyLock
    assert KeyedLock[int].__origin__ is KeyedLock  # type: ignore[attr-defined]
    assert KeyedLock.__parameters__ == KeyLock.__parameters__  # type: ignore[attr-defined]
    assert weakref.ref(kept := locks[2])() is kept


async def test_a_finalizer_that_a_lock_of_a_key_has_is_called_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    locks, finalized = KeyedLock[int](), []
    async with locks[0]:
        pass
    with monkeypatch.context() as patch:
        patch.setattr(KeyLock, "__del__", lambda self: finalized.append(self._key), raising=False)
        for n in range(1, 5):
            async with locks[n]:
                pass
        gc.collect()
        assert finalized == [1, 2, 3, 4]
    async with locks[5]:
        pass
    assert finalized == [1, 2, 3, 4]


def test_wrong_arguments_are_refused_as_by_any_function() -> None:
    lock = Lock()
    with pytest.raises(TypeError, match=r"acquire\(\) takes 1 positional argument but 2 were given"):
        lock.acquire(1)
    with pytest.raises(TypeError, match=r"Lock\.release\(\) takes "):
        lock.release(1)
    with pytest.raises(TypeError, match=r"acquire\(\) got an unexpected keyword argument 'timeout'"):
        lock.acquire(timeout=1)
    with pytest.raises(TypeError):
        Lock.release()


async def test_semaphore_of_any_size() -> None:
    huge = 2**63 - 1
    for value in (huge - 1, huge, huge + 1, 10**30):
        semaphore = Semaphore(value)
        async with semaphore:
            assert semaphore.statistics().value == value - 1
            assert semaphore.try_acquire()
        assert await semaphore.acquire()
        assert semaphore.statistics().value == value - 2
        for _ in range(4):
            semaphore.release()
        assert semaphore.statistics().value == value + 2


# What a coroutine can do


@pytest.mark.parametrize("foreseen", [True, False])
async def test_life_of_a_coroutine(foreseen: bool) -> None:
    """Made when it can be seen that it will wait, and before."""
    lock = Lock()
    if foreseen:
        assert lock.try_acquire()
    coroutine = lock.acquire()
    if not foreseen:
        assert lock.try_acquire()
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    coroutine.send(None)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    assert coroutine.cr_frame.f_code.co_name == "acquire"
    with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
        await coroutine
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        coroutine.send(None)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    for use in (lambda: coroutine.send(None), lambda: coroutine.throw(ValueError)):
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            use()
    coroutine.close()
    assert lock.statistics().tasks_waiting == 0
    lock.release()


@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(1)])
async def test_what_just_started_takes_nothing_but_none(make) -> None:
    primitive = make()
    coroutine = primitive.acquire()
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    assert not primitive.locked()
    coroutine.close()


async def test_a_coroutine_that_runs_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where it would end at once: here the loop, asked for a future, sets the event and sends."""
    event = Event()
    coroutine = event.wait()
    loop = asyncio.get_running_loop()

    def create_future() -> asyncio.Future[Any]:
        event.set()
        with pytest.raises(ValueError, match="coroutine already executing"):
            coroutine.send(None)
        return asyncio.Future(loop=loop)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "create_future", create_future, raising=False)
        coroutine.send(None)
    assert event.is_set()
    coroutine.close()


@pytest.mark.parametrize("make", [Lock, lambda: Semaphore(1)])
async def test_an_enter_that_finds_it_free_after_all_gives_none(make) -> None:
    primitive = make()
    await primitive.acquire()
    entering = primitive.__aenter__()
    primitive.release()
    assert await entering is None
    assert primitive.locked()


async def test_a_weak_reference_to_a_coroutine_ends_with_it() -> None:
    coroutine = Lock().acquire()
    reference = weakref.ref(coroutine)
    assert await coroutine is True
    assert reference() is coroutine
    del coroutine
    gc.collect()
    other = Lock().acquire()  # which may be in the same place
    assert reference() is None
    other.close()


@needs_compiled
async def test_coroutines_let_go_of_their_method() -> None:
    """Also those that are more than are kept to be used again."""
    event = Event()
    event.set()
    before = sys.getrefcount(Event.wait)
    for _ in range(3):
        coroutines = [event.wait() for _ in range(1_000)]
        for coroutine in coroutines:
            await coroutine
        del coroutine, coroutines
    assert sys.getrefcount(Event.wait) < before + 100


@refcounting
def test_all_of_it_is_let_go_of() -> None:
    program = """
        import asyncio, gc, sys, typing
        import holdfast

        async def enter(primitive):
            async with primitive:
                await asyncio.sleep(0)

        async def main():
            lock, event = holdfast.Lock(), holdfast.Event()
            event.set()
            for primitive in (lock, holdfast.Semaphore(), holdfast.Condition()):
                await asyncio.gather(*[enter(primitive) for _ in range(5)])
            await event.wait()
            await lock.acquire()
            lock.release()

        asyncio.run(main())
        for name in [name for name in sys.modules if name.split(".")[0] == "holdfast"]:
            del sys.modules[name]
        del holdfast
        typing.clear_overloads()  # which keep the functions that they are about
        gc.collect()
        print([each for each in gc.get_objects() if isinstance(each, type) and each.__module__.startswith("holdfast")])
    """
    assert run(textwrap.dedent(program)) == "[]"


async def test_thrown_before_it_started() -> None:
    lock = Lock()
    coroutine = lock.acquire()
    with pytest.raises(ZeroDivisionError):
        coroutine.throw(ZeroDivisionError("x"))
    assert not lock.locked()


async def test_the_stop_iteration_is_nobody_elses() -> None:
    """Who gets True by an exception may keep that, and finds nothing of others in it."""
    lock, kept = Semaphore(10), []
    for _ in range(4):
        iterator = lock.acquire().__await__()
        with pytest.raises(StopIteration) as stop:
            next(iterator)
        kept.append(stop.value)
        assert stop.value.value is True
        assert await lock.acquire() is True
    assert len({id(exception) for exception in kept}) == 4


async def test_the_stop_iteration_tells_the_index() -> None:
    """Each party of a barrier gets its own, also after the exception has served others."""
    barrier, lock = Barrier(3), Semaphore(10)
    kept = []
    for _ in range(3):
        assert await lock.acquire() is True
        first, second, last = (barrier.wait().__await__() for _ in range(3))
        waiters = [next(first), next(second)]
        for party in (last, first, second):
            with pytest.raises(StopIteration) as stop:
                next(party)
            kept.append(stop.value)
        assert [waiter.result() for waiter in waiters] == [0, 1]
    assert [exception.value for exception in kept] == [2, 0, 1] * 3
    assert [exception.args for exception in kept] == [(2,), (0,), (1,)] * 3


class _OwnFuture(asyncio.Future):
    """A loop's own future."""


class _OwnLoop(asyncio.SelectorEventLoop):
    def create_future(self):
        return _OwnFuture(loop=self)


@pytest.mark.parametrize("own", ["by its class", "by the instance"])
def test_the_loop_makes_the_waiters(own: str) -> None:
    loop = _OwnLoop() if own == "by its class" else asyncio.SelectorEventLoop()
    if own == "by the instance":
        loop.create_future = lambda: _OwnFuture(loop=loop)

    async def main() -> None:
        lock, barrier = Lock(), Barrier(2)
        await lock.acquire()
        tasks = [asyncio.create_task(wait()) for wait in (lock.acquire, lock.acquire, lock.acquire, barrier.wait)]
        await asyncio.sleep(0)
        assert [type(waiter) for primitive in (lock, barrier) for waiter in primitive._waiters] == [_OwnFuture] * 4
        tasks[1].cancel()
        lock.release()
        assert await barrier.wait() == 1
        await asyncio.sleep(0)
        lock.release()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(outcomes.pop(1), asyncio.CancelledError)
        assert outcomes == [True, True, 0]

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


@in_c
async def test_a_waiting_coroutine_awaits_its_waiter() -> None:
    lock = Lock()
    coroutine = lock.acquire()
    assert lock.try_acquire()  # only now: a coroutine that is going to wait may have a frame, see test_visible.py
    waiter = coroutine.send(None)
    assert lock._waiters == (waiter,)
    assert waiter._asyncio_future_blocking
    assert type(coroutine.cr_await) is type(iter(waiter))
    waiter._asyncio_future_blocking = False  # as a task does when it has seen it
    assert coroutine.send(None) is waiter
    coroutine.close()
    assert coroutine.cr_await is None


async def test_debug_mode_tells_where_a_coroutine_was_made() -> None:
    before = sys.get_coroutine_origin_tracking_depth()
    sys.set_coroutine_origin_tracking_depth(1)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            Lock().acquire()
            gc.collect()
    finally:
        sys.set_coroutine_origin_tracking_depth(before)
    assert "Coroutine created at" in str(caught[0].message)
    assert __file__ in str(caught[0].message)


@pytest.mark.parametrize("make", [Lock, Semaphore, Condition, one_key])
async def test_a_release_that_an_instance_has_is_used(make) -> None:
    for _ in range(3):  # the first lets the class be known
        primitive, calls = make(), []
        async with primitive:
            pass
        assert not primitive.locked()
        primitive.release = lambda calls=calls: calls.append("released")
        async with primitive:
            pass
        assert calls == ["released"]
        assert primitive.locked()


@pytest.mark.parametrize("make", [Lock, Semaphore])
async def test_a_release_that_the_class_is_given_later_is_used(make, monkeypatch: pytest.MonkeyPatch) -> None:
    primitive, calls = make(), []
    for _ in range(3):
        async with primitive:
            pass
    with monkeypatch.context() as patch:
        patch.setattr(make, "release", lambda self: calls.append(self))
        async with primitive:
            pass
        assert calls == [primitive]
        assert primitive.locked()
    primitive.release()
    for _ in range(3):
        async with primitive:
            pass
        assert not primitive.locked()
    with monkeypatch.context() as patch:
        patch.setattr(context_manager.ContextManager, "release", lambda self: calls.append(self), raising=False)
        async with primitive:
            pass
    assert not primitive.locked()
    assert calls == [primitive]


@pytest.mark.parametrize("make", [Lock, Semaphore, Condition, one_key])
async def test_what_async_with_calls_is_a_bound_method(make) -> None:
    primitive = make()
    enter, leave = primitive.__aenter__, primitive.__aexit__
    assert inspect.ismethod(enter)
    assert enter.__self__ is primitive
    assert enter.__func__ is type(primitive).__aenter__
    assert enter == primitive.__aenter__
    assert hash(enter) == hash(primitive.__aenter__)
    assert enter != leave
    assert enter != make().__aenter__
    assert repr(enter).startswith("<bound method ")
    names = list(inspect.signature(leave).parameters)
    assert names == ["exc_type", "exc", "tb"]
    asked = inspect if sys.version_info >= (3, 12) else asyncio  # which is deprecated from 3.14 on
    assert asked.iscoroutinefunction(enter)
    with pytest.raises(AttributeError):
        enter.nothing  # noqa: B018
    for arguments, keywords in [((None, None, None), {}), ((None, None), {"tb": None}), ((), dict.fromkeys(names))]:
        await enter()
        assert primitive.locked()
        await leave(*arguments, **keywords)
        assert not primitive.locked()
    with pytest.raises(TypeError):
        enter(1)
    with pytest.raises(TypeError):
        leave(None)
    with pytest.raises(TypeError):
        leave(None, None, None, None)
    assert copy.copy(enter) == enter
    assert copy.deepcopy(enter).__self__ is not primitive


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((make, name) for make in (Lock, Semaphore, Condition) for name in ("acquire", "locked", "__aenter__")),
        (Lock, "try_acquire"),
        (Condition, "wait"),
        (Event, "wait"),
        (lambda: Barrier(2), "wait"),
    ],
)
async def test_a_bound_method_is_one(make, name: str) -> None:
    primitive = make()
    method = getattr(primitive, name)
    assert inspect.ismethod(method)
    assert isinstance(method, types.MethodType)
    assert method == getattr(primitive, name)
    assert method != getattr(make(), name)
    assert repr(method) == f"<bound method {method.__qualname__} of {method.__self__!r}>"
    assert type(method)(method.__func__, method.__self__) == method
    weak, gone = weakref.WeakMethod(method), weakref.ref(method)
    assert weak() == method
    if type(method.__self__) is type(primitive):  # a Condition may have those of its lock
        assert copy.deepcopy(method).__self__ is not primitive
    kept = getattr(primitive, name) is method  # a Condition in Python keeps its lock's
    del method
    gc.collect()
    assert (gone() is None) is not kept
    assert weak() == getattr(primitive, name)
    with pytest.raises(TypeError):
        getattr(primitive, name)(1, 2, 3, 4)
    with pytest.raises(TypeError):
        getattr(primitive, name)(nothing=1)


async def test_a_method_that_is_bound_once_is_called_often() -> None:
    lock, event, condition = Lock(), Event(), Condition()
    acquire, wait, release = lock.acquire, event.wait, condition.release
    event.set()
    for _ in range(100):  # so that the interpreter takes its short ways, and spares are used again
        coroutine = acquire()
        assert await coroutine is True
        assert lock.locked()
        lock.release()
        assert await wait() is True
        assert await condition.acquire() is True
        release()
    assert lock.try_acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(acquire(), 0.001)
    with pytest.raises(RuntimeError):
        release()


def test_a_bound_method_that_its_primitive_keeps_is_collected_with_it() -> None:
    for name in ("__aenter__", "acquire"):
        lock = Lock()
        lock.method, gone = getattr(lock, name), weakref.ref(lock)
        del lock
        gc.collect()
        assert gone() is None


async def test_a_condition_that_has_lost_its_lock_says_so() -> None:
    """Nobody does that; the C code must not take it for granted all the same."""

    async def wait(condition: Condition) -> None:
        await condition.acquire()
        await condition.wait()

    cancelled, closed = Condition(), Condition()
    task = asyncio.create_task(wait(cancelled))
    coroutine = wait(closed)
    coroutine.send(None)
    await asyncio.sleep(0)
    del cancelled._grip, closed._grip
    task.cancel()
    with pytest.raises(AttributeError) as raised:
        await task
    assert isinstance(raised.value.__context__, asyncio.CancelledError)
    with pytest.raises(AttributeError) as raised:
        coroutine.close()
    assert isinstance(raised.value.__context__, GeneratorExit)


def test_a_waiter_that_cannot_be_awaited_leaves_the_line() -> None:
    class Unawaitable(asyncio.Future[Any]):
        def __await__(self) -> Generator[Any, Any, Any]:
            raise ValueError("not today")

    class OwnLoop(asyncio.SelectorEventLoop):
        def create_future(self) -> asyncio.Future[Any]:
            return Unawaitable(loop=self)

    async def main() -> None:
        lock = Lock()
        await lock.acquire()
        with pytest.raises(ValueError, match="not today"):
            await lock.acquire()
        lock.release()
        assert not lock.locked()

    with asyncio.Runner(loop_factory=OwnLoop) as runner:
        runner.run(main())


# Interpreters and threads


@needs_compiled
@pytest.mark.skipif(sys.version_info < (3, 12), reason="an interpreter with its own GIL is new in Python 3.12")
def test_in_an_interpreter_of_its_own() -> None:
    program = """
import os
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
inside = '''
import asyncio, holdfast
assert holdfast.accelerated
async def main():
    lock = holdfast.Lock()
    async with lock:
        waiter = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
    assert await waiter is True
asyncio.run(main())
'''
for _ in range(3):
    interpreter = interpreters.create()
    failure = interpreters.run_string(interpreter, inside)
    assert failure is None, failure
    interpreters.destroy(interpreter)
print("done", flush=True)
if sys.version_info < (3, 13):  # 3.12.1 itself crashes at its end after asyncio has run in another interpreter
    os._exit(0)
"""
    assert run(program, HOLDFAST_PURE_PYTHON="") == "done"


def test_misuse_by_threads_spoils_no_memory() -> None:
    """What they get is not defined; that the interpreter lives is."""
    lock, semaphore, event, condition = Lock(), Semaphore(3), Event(), Condition()

    def misuse() -> None:
        async def main() -> None:
            for _ in range(300):
                for primitive in (lock, semaphore, condition):
                    with contextlib.suppress(RuntimeError, TimeoutError):
                        async with asyncio.timeout(0.001), primitive:
                            await asyncio.sleep(0)
                # Another thread may unset it meanwhile, and then nobody can set it as long as this one waits.
                with contextlib.suppress(RuntimeError, TimeoutError):
                    async with asyncio.timeout(0.001):
                        event.set()
                        await event.wait()
                        event.clear()

        with contextlib.suppress(Exception):
            asyncio.run(main())

    threads = [threading.Thread(target=misuse) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND)
    assert not any(thread.is_alive() for thread in threads)


@needs_compiled
def test_the_compiled_twin_was_compiled_for_speed():
    """CFLAGS replaces the interpreter's flags; what was built for a look at warnings must not stay behind."""
    speedups = sys.modules["holdfast.tasks._speedups"]
    compiler = platform.python_compiler().lower()
    if not ("gcc" in compiler or "clang" in compiler):
        pytest.skip(f"{compiler} does not tell")
    assert speedups.OPTIMIZED == 1, "build it again, without CFLAGS or with -O3 in it: see docs/building.md"
