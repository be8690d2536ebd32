"""The Lock in one process, over both engines. Processes come in test_processes.py."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, LeaseLost, SessionLost
from holdfast.cluster.records.lock import LockRecord

from .running import in_child, run_bounded


@pytest.fixture(params=["memory", "embedded"])
def url(request, tmp_path):
    return f"sqlite://{tmp_path}/locks" if request.param == "embedded" else f"memory:{tmp_path}"


def connect(url: str, **options):
    """A namespace for each test, as `memory:` has nothing else to tell them apart."""
    options.setdefault("namespace", url)
    return holdfast.connect("memory:" if url.startswith("memory:") else url, **options)


async def opened(url: str, **options):
    """A session that the test itself closes, or loses."""
    session = connect(url, **options)
    await session.__aenter__()
    return session


async def start_body(session, *names):
    """A task that is in the `async with` body of these locks."""
    entered = asyncio.Event()

    async def body():
        async with contextlib.AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(session.lock(name))
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(body())
    await entered.wait()
    return task


def run(test, *args):
    run_bounded(test(*args))


def lose(session):
    session._life.lose(SessionLost("evicted, for the test"))


async def settle():
    """More than enough for every task to go as far as it gets, with an engine that answers at once."""
    for _ in range(50):
        await asyncio.sleep(0.0005)


def test_one_at_a_time_in_the_order_of_asking(url):
    async def main():
        inside, order, most, tokens = 0, [], 0, []

        async def use(lock, who):
            nonlocal inside, most
            async with lock as grant:
                inside += 1
                most = max(most, inside)
                order.append(who)
                tokens.append(grant.token)
                await asyncio.sleep(0)
                inside -= 1

        async with connect(url) as one, connect(url) as two:
            locks = [one.lock("x"), two.lock("x")]
            tasks = []
            for who in range(20):
                tasks.append(asyncio.create_task(use(locks[who % 2], who)))
                await settle()  # so that it has reached the record
            await asyncio.gather(*tasks)
        assert most == 1
        assert order == list(range(20))
        assert tokens == sorted(tokens)

    run(main)


def test_contenders_are_served_in_order_and_not_by_who_polls_first(url):
    async def main():
        order = []

        async def use(lock, who):
            async with lock:
                order.append(who)

        async with connect(url) as one, connect(url) as two:
            async with one.lock("x"):
                tasks = []
                for who in range(10):
                    tasks.append(asyncio.create_task(use((one, two)[who % 2].lock("x"), who)))
                    await settle()
            await asyncio.gather(*tasks)
        assert order == list(range(10))

    run(main)


@pytest.mark.parametrize("moment", range(12))
def test_a_cancelled_acquire_leaves_nothing_behind(url, moment):
    """At whatever step of the loop it is cancelled, be it on its way, queued, or granted."""

    async def main():
        async with connect(url) as one, connect(url) as two:
            mine, other = one.lock("x"), two.lock("x")
            await other.acquire()
            task = asyncio.create_task(mine.acquire())
            for _ in range(moment):
                await asyncio.sleep(0)
            if moment % 2:
                await other.release()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if not moment % 2:
                await other.release()
            async with asyncio.timeout(BOUND):
                await other.acquire()
                await other.release()
                await settle()
                assert not await mine.locked()

    run(main)


def test_a_cancelled_release_still_releases(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            lock = one.lock("x")
            await lock.acquire()
            task = asyncio.create_task(lock.release())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            async with asyncio.timeout(BOUND), two.lock("x"):
                assert True

    run(main)


def test_a_timeout_around_it_is_safe(url):
    async def main():
        async with connect(url) as one, connect(url) as two:
            async with one.lock("x"):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02), two.lock("x"):
                        pass
            async with asyncio.timeout(BOUND), two.lock("x"):
                pass

    run(main)


def test_two_objects_of_one_name_in_one_session_are_two_contenders(url):
    async def main():
        async with connect(url) as session:
            async with session.lock("x"):
                second = asyncio.create_task(session.lock("x").acquire())
                await settle()
                assert not second.done()
            assert await second

    run(main)


def test_names_and_namespaces_are_apart(url):
    async def main():
        async with connect(url) as session, connect(url, namespace="another") as other:
            for lock in (session.lock("x"), session.lock("X"), session.lock("ü" * 200), other.lock("x")):
                await lock.acquire()
            assert await session.lock("x").locked()
            assert not await session.lock("y").locked()

    run(main)


def test_closing_a_session_gives_back_what_it_holds_and_ends_what_waits(url):
    async def main():
        async with connect(url) as two:
            one = await opened(url)
            grant = await one.lock("x").acquire()
            waiting = asyncio.create_task(one.lock("x").acquire())
            next_one = asyncio.create_task(two.lock("x").acquire())
            await settle()
            await one.close()
            assert grant.lost.is_set()
            with pytest.raises(LeaseLost):
                grant.check()
            with pytest.raises(SessionLost, match=r"^session '.*' \w+ was closed$"):
                await waiting
            async with asyncio.timeout(BOUND):
                assert (await next_one).token > grant.token
            with pytest.raises(SessionLost):
                await one.lock("x").acquire()

    run(main)


def test_the_body_is_cancelled_when_the_lease_is_lost(url):
    async def main():
        session = await opened(url)
        task = await start_body(session, "outer", "inner")
        await session.close()
        with pytest.raises(LeaseLost, match="outer"):
            await task
        assert not task.cancelled()
        assert task.cancelling() == 0

    run(main)


def test_a_grant_is_not_believed_if_the_session_ends_before_its_task_runs(url):
    async def main():
        async with connect(url) as other:
            session = await opened(url)
            await other.lock("x").acquire()
            task = asyncio.create_task(session.lock("x").acquire())
            await settle()
            register = session._life.register("x", LockRecord())
            register.on_wake("1 99 1")  # its future has the token, and its task has not run
            session._life.lose(SessionLost("evicted"))
            with pytest.raises(SessionLost):
                await task
            await session.close()

    run(main)


def test_a_foreign_cancellation_wins_over_a_lost_lease(url):
    async def main():
        session = await opened(url)
        task = await start_body(session, "x")
        task.cancel()
        await session.close()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main)


def test_what_the_body_raises_itself_passes(url):
    async def main():
        async def body(session, then):
            async with session.lock("x"):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)
                then()

        for then, error in ((lambda: 1 / 0, ZeroDivisionError), (lambda: None, LeaseLost)):
            session = await opened(url)
            task = asyncio.create_task(body(session, then))
            await settle()
            await session.close()
            with pytest.raises(error):
                await task
            assert task.cancelling() == 0

    run(main)


def test_misuse(url, monkeypatch):
    async def main():
        with pytest.raises(RuntimeError, match=r"async with holdfast\.connect"):
            await connect(url).lock("x").acquire()
        async with connect(url) as session:
            lock = session.lock("x")
            with pytest.raises(RuntimeError, match="is not acquired"):
                await lock.release()
            for name in ("", "x" * 201, 3):
                with pytest.raises(ValueError, match="1 to 200 characters"):
                    session.lock(name)
            with pytest.raises(RuntimeError, match="released inside"):
                async with lock:
                    await lock.release()
            with pytest.raises(RuntimeError, match="opened before"):
                await session.__aenter__()
            with pytest.raises(RuntimeError, match="connect\\(\\) in each loop"):
                await asyncio.to_thread(asyncio.run, lock.acquire())

    run(main)


def test_urls(monkeypatch, tmp_path):
    with pytest.raises(
        ValueError, match="unknown URL scheme in 'mysql://x'; known are sqlite:///DIRECTORY, memory:, redis://HOST"
    ):
        holdfast.connect("mysql://x")
    with pytest.raises(ValueError, match="three slashes"):
        holdfast.connect("sqlite://locks")
    with pytest.raises(ValueError, match="the URL is empty; leave it out, or give None"):
        holdfast.connect("")
    (tmp_path / "file").touch()

    async def main():
        with pytest.raises(EngineError, match="cannot use the directory"):
            async with holdfast.connect(f"sqlite://{tmp_path}/file"):
                pass
        monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/from-environment")
        async with holdfast.connect():
            assert (tmp_path / "from-environment" / "state.db").exists()

    run(main)


def test_the_directory_is_removed(tmp_path):
    """Its session cannot be seen to live any more, so it does not."""

    async def main():
        session = holdfast.connect(f"sqlite://{tmp_path}/locks")
        await session.__aenter__()
        lock = session.lock("x")
        grant = await lock.acquire()
        for file in (tmp_path / "locks" / "s").iterdir():
            file.unlink()
        with pytest.raises(SessionLost, match="has been removed"):
            await session.lock("y").acquire()
        assert grant.lost.is_set()
        with pytest.raises(LeaseLost):
            await lock.release()

    run(main)


def test_a_child_after_fork_is_refused_and_its_parent_unharmed(url):
    async def main():
        async with connect(url) as session:

            def is_refused():
                with pytest.raises(RuntimeError, match="after a fork"):
                    session._check()
                return True

            async with session.lock("x"):
                assert in_child(is_refused)
            assert not await session.lock("x").locked()

    run(main)
