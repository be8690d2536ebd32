"""What users of other libraries write, and the one line that says what to write here."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from pathlib import Path
from unittest.mock import AsyncMock, create_autospec

import pytest

import holdfast
from holdfast.cluster import LeaseLost, NameConflict

from .test_lock import connect, run, url

__all__ = ["url"]  # the fixture

LONG = "n" * 200


def message(call, kind=TypeError):
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return str(caught.value)


async def awaited(call, kind=TypeError):
    with pytest.raises(kind) as caught:
        await call()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("option", ["timeout", "blocking_timeout"])
@pytest.mark.parametrize("method", ["lock", "semaphore", "bounded_semaphore", "event", "condition", "barrier"])
def test_a_timeout_where_something_is_made(method, option):
    session = holdfast.connect("memory:")
    arguments = ("x", 2) if method == "barrier" else ("x",)
    said = message(lambda: getattr(session, method)(*arguments, **{option: 1}))
    assert "async with asyncio.timeout(SECONDS):" in said
    assert option in said
    assert ("connect(..., ttl=SECONDS)" in said) == (option == "timeout"), "as redis-py's lock(timeout=) is the expiry"
    getattr(session, method)(*arguments)


@pytest.mark.parametrize("option", ["timeout", "blocking_timeout"])
def test_a_timeout_where_it_is_waited(url, option):
    async def main():
        async with connect(url) as session:
            lock, condition = session.lock("x"), session.condition("x")
            for method in (
                *(lock.acquire, lock.try_acquire, session.semaphore("s").acquire, condition.acquire),
                *(condition.wait, condition.wait_for, session.event("e").wait, session.barrier("b", 2).wait),
            ):
                said = await awaited(lambda method=method: method(**{option: 1}))
                assert "async with asyncio.timeout(SECONDS):" in said
                assert "ttl" not in said
            assert "try_acquire()" in await awaited(lambda: lock.acquire(blocking=False))
            assert not await lock.locked()

    run(main)


def test_a_timeout_of_connect():
    assert "async with asyncio.timeout(SECONDS):" in message(lambda: holdfast.connect("memory:", timeout=1))


def test_what_nobody_has_is_refused_as_ever():
    session = holdfast.connect("memory:")
    assert "unexpected keyword argument 'colour'" in message(lambda: holdfast.connect("memory:", colour=1))
    assert "unexpected keyword argument 'colour'" in message(lambda: session.lock("x", colour=1))


def test_a_refusing_function_looks_like_itself():
    names = [*inspect.signature(holdfast.connect).parameters]
    assert names == ["url", "ttl", "namespace", "name", "reopen", "loop_may_block"]
    lock = holdfast.connect("memory:").lock("x")
    assert str(inspect.signature(lock.acquire)) == "() -> 'Grant'"
    asked = inspect if sys.version_info >= (3, 12) else asyncio  # before, only mocks can be told
    assert asked.iscoroutinefunction(lock.acquire)
    assert isinstance(create_autospec(lock).acquire, AsyncMock)
    assert not inspect.iscoroutinefunction(holdfast.connect)


def test_with_in_place_of_async_with():
    session = holdfast.connect("memory:")
    for manager in (session, session.lock("x"), session.semaphore("s"), session.condition("c")):

        def enter(manager=manager):
            with manager:
                pass

        assert "'async with'" in message(enter)


def test_await_in_place_of_async_with():
    session = holdfast.connect("memory:")

    async def main():
        async def wait_for(thing):
            await thing

        assert "async with holdfast.connect()" in await awaited(lambda: wait_for(session))
        assert "await its acquire()" in await awaited(lambda: wait_for(session.lock("x")))
        assert "await its acquire()" in await awaited(lambda: wait_for(session.semaphore("x2")))

    run(main)


def test_a_client_that_blocks():
    redis = pytest.importorskip("redis")
    client = redis.Redis(host="a-host", password="secret")
    said = message(lambda: holdfast.connect(client))
    assert "redis.asyncio" in said
    assert "a-host" not in said
    assert "secret" not in said


class NoClient:
    connection_pool = None

    def __repr__(self):
        return "secret" * 100


def test_what_is_no_client_is_not_repeated():
    for wrong in (NoClient(), [NoClient()], {"url": "secret"}):
        assert "secret" not in message(lambda wrong=wrong: holdfast.connect(wrong))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("http://localhost:6379", "redis://HOST"),
        ("https://example.org/" + "a" * 300, "redis://HOST"),
        ("/var/lib/locks", "sqlite:///var/lib/locks"),
        ("locks", "sqlite:///var/lib/locks"),
        ("/" + "a" * 300, "sqlite:///var/lib/locks"),
        ("sqlite://" + "a" * 300, "three slashes"),
    ],
)
def test_a_url_that_is_none(wrong, right):
    assert right in message(lambda: holdfast.connect(wrong), ValueError)


@pytest.mark.parametrize("what", ["n" * 300, "n" * 100_000, "", 7, None, b"n" * 300, ["n"] * 300])
def test_a_name_that_is_none(what):
    session = holdfast.connect("memory:")
    said = message(lambda: session.lock(what), ValueError)
    assert "a text of 1 to 200 characters" in said
    assert len(said) < 160


def test_a_ttl_that_is_none():
    for wrong in (10**400, "n" * 300, [1] * 300):
        message(lambda wrong=wrong: holdfast.connect("memory:", ttl=wrong), ValueError)


def test_long_names_are_shortened(url):
    async def main():
        async with connect(url, name="s" * 200) as session, connect(url) as other:
            await session.lock(LONG).acquire()
            for made in (session, session.lock(LONG), session.lock(LONG)._held, session.condition(LONG)):
                assert len(repr(made)) < 400
            said = [
                await awaited(other.semaphore(LONG, 2).acquire, NameConflict),
                await awaited(session.lock(LONG).release, RuntimeError),
                message(lambda: session.semaphore(LONG, 2), NameConflict),
            ]
            lock = session.lock("x" * 200)
            grant = await lock.acquire()
            await lock.release()
            said.append(message(grant.check, LeaseLost))
            assert not any("n" * 61 in each or "x" * 61 in each or "s" * 61 in each for each in said)

    run(main)


def test_what_it_raises_is_importable_from_the_package_itself():
    from holdfast import cluster

    for name in ("LeaseLost", "SessionLost", "NameConflict", "EngineError"):
        assert getattr(holdfast, name) is getattr(cluster, name)
        assert name in dir(holdfast)
        assert name in holdfast.__all__
    with pytest.raises(AttributeError, match="has no attribute 'LeaseFound'"):
        holdfast.LeaseFound  # noqa: B018


def test_they_are_loaded_when_somebody_asks_for_them():
    program = (
        "import sys, holdfast; assert not any('cluster' in name for name in sys.modules);"
        "from holdfast import LeaseLost; assert 'holdfast.cluster' in sys.modules; assert 'redis' not in sys.modules"
    )
    path = str(Path(holdfast.__file__).parents[1])
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {program}"], check=True)


def test_the_examples_of_the_messages_work():
    async def main():
        async with holdfast.connect("memory:") as session:
            async with asyncio.timeout(60):
                async with session.lock("x"):
                    pass

    run(main)
