"""Behind the primitives: background tasks that are cancelled, sessions that are watched, an engine that goes wrong."""

from __future__ import annotations

import asyncio
from itertools import count

import pytest
from interpreters import BOUND, RARELY, collect_in_pypy

import holdfast
from holdfast.cluster import EngineError, FormatError, NameConflict, SessionLost
from holdfast.cluster.engines.embedded.engine import EmbeddedEngine
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.records.event import EventRecord
from holdfast.cluster.records.stored import encode
from holdfast.cluster.session import Session
from holdfast.cluster.session_life import known_record, renewal

from .test_lock import connect, opened, run, settle, url
from .worker import until_waiting

__all__ = ["url"]  # the fixture

_namespaces = (f"register {number}" for number in count())


@pytest.fixture
def nobody_looks(monkeypatch):
    """For itself: a task that waits is told, or waits for ever."""
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)


class Distant(MemoryEngine):
    """A request and its answer take an iteration each."""

    async def apply(self, *args, **options):
        await asyncio.sleep(0)
        result = await super().apply(*args, **options)
        await asyncio.sleep(0)
        return result


def cancel_all(but=()):
    """As programs do that end all that they have begun."""
    for task in asyncio.all_tasks() - {asyncio.current_task(), *but}:
        task.cancel()


@pytest.mark.parametrize("iterations", range(8))
def test_who_waits_is_served_though_all_background_tasks_were_cancelled(iterations, nobody_looks):
    async def main():
        namespace = next(_namespaces)
        async with Session(Distant(namespace), "one") as one, Session(Distant(namespace), "two") as two:
            for _ in range(3):
                async with one.lock("x"):
                    waiter = asyncio.create_task(two.lock("x").acquire())
                    for _ in range(iterations):
                        await asyncio.sleep(0)
                    cancel_all(but=[waiter])
                releasing = asyncio.create_task(release(await waiter, two))
                for _ in range(iterations):
                    await asyncio.sleep(0)
                cancel_all(but=[releasing])
                await releasing

    async def release(grant, session):
        async with asyncio.timeout(BOUND):
            await session.lock("x")._register.end(grant.token)

    run(main)


def test_a_session_is_renewed_though_all_background_tasks_are_cancelled_all_the_time():
    async def main():
        class Slow(MemoryEngine):
            async def renew(self, *args):
                await asyncio.sleep(0.01)
                return await super().renew(*args)

        async with Session(Slow(next(_namespaces), 0.3), "one") as session, session.lock("x") as grant:
            for n in range(50):
                await asyncio.sleep(0.02)
                if n % 5:
                    cancel_all()
            grant.check()

    run(main)


def test_a_lost_session_ends_for_the_others_though_its_end_was_cancelled(url):
    async def main():
        async with connect(url) as other:
            session = await opened(url)
            await session.lock("x").acquire()
            session._life.lose(SessionLost("for the test"))
            cancel_all()
            async with asyncio.timeout(BOUND):
                await other.lock("x").acquire()

    run(main)


def test_who_moves_up_in_the_line_watches_the_holder(url, nobody_looks):
    """The one before has left: it was the one that would have noticed the holder's death."""

    async def main():
        async with connect(url) as two, connect(url) as three:
            one = await opened(url, ttl=0.5)
            await one.lock("x").acquire()
            before = asyncio.create_task(two.lock("x").acquire())
            await settle()
            behind = asyncio.create_task(three.lock("x").acquire())
            await settle()
            before.cancel()
            await settle()
            one.engine.renew = never
            async with asyncio.timeout(BOUND):
                await behind

    run(main)


def test_who_was_notified_watches_the_holder(url, nobody_looks):
    async def main():
        async with connect(url) as two:
            condition = two.condition("x")

            async def wait():
                async with condition:
                    await condition.wait()

            waiter = asyncio.create_task(wait())
            await settle()
            one = await opened(url, ttl=0.5)
            notifier = one.condition("x")
            await notifier.acquire()
            await notifier.notify()
            one.engine.renew = never
            async with asyncio.timeout(BOUND):
                await waiter

    run(main)


def test_an_arrival_of_the_dead_does_not_count(url):
    """Also if no session has noticed the death yet: one that arrives looks first."""

    async def main():
        async with connect(url) as two, connect(url) as three:
            one = await opened(url)
            gone = asyncio.create_task(one.barrier("b", 2).wait())
            await settle()
            await one.engine.close()  # as if its process had died
            arrived = asyncio.create_task(two.barrier("b", 2).wait())
            await settle()
            assert not arrived.done()
            assert await three.barrier("b", 2).wait() == 1
            assert await arrived == 0
            gone.cancel()
            with pytest.raises((SessionLost, asyncio.CancelledError)):
                await gone

    run(main)


async def never(*args):
    raise EngineError("no answer")


def test_an_error_that_nobody_has_foreseen_ends_the_session_and_not_in_silence():
    async def main():
        class Broken(MemoryEngine):
            broken = False

            async def apply(self, *args, **options):
                if self.broken:
                    raise ZeroDivisionError("a bug")
                return await super().apply(*args, **options)

        complaints = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
        engine = Broken(next(_namespaces))
        async with Session(engine, "one") as session:
            async with session.lock("x"):
                pass
            grant = await session.lock("held").acquire()
            engine.broken = True
            async with asyncio.timeout(BOUND):
                with pytest.raises(SessionLost, match=r"failed: ZeroDivisionError\('a bug'\)"):
                    await session.lock("x").acquire()
            assert grant.lost.is_set()
        await settle()
        collect_in_pypy()
        assert [type(context["exception"]) for context in complaints] == [ZeroDivisionError]

    run(main)


@pytest.mark.parametrize("text", ["", "not JSON", "[]", "null", "1", '"lock"', "{}", '{"format": 3}', '{"format": 4}'])
def test_a_text_that_is_no_record_is_refused_and_left_alone(url, text):
    async def main():
        async with connect(url) as session:
            await session.engine.apply("x", lambda stored: (text, None))
            async with asyncio.timeout(BOUND):
                for call in (session.lock("x").acquire, session.lock("x").try_acquire, session.lock("x").locked):
                    with pytest.raises(FormatError, match="othing was changed"):
                        await call()
                with pytest.raises(FormatError):
                    await session.inspect("x")
            assert await session.engine.read("x") == text
            await session.tidy(0)
            assert await session.engine.read("x") == text
            async with session.lock("another"):
                pass

    run(main)


@pytest.mark.parametrize("namespace", ["", 7, None, "n" * 201])
def test_a_namespace_is_a_text(namespace):
    with pytest.raises(ValueError, match="a namespace is a text of 1 to 200 characters"):
        holdfast.connect("memory:", namespace=namespace)


def test_what_has_no_encoding_is_no_name():
    async def main():
        async with connect("memory:") as session:
            with pytest.raises(ValueError, match="must have an encoding in UTF-8"):
                session.lock("\ud800")

    run(main)


def test_a_namespace_of_several_lines(url, nobody_looks):
    async def main():
        namespace = f"{url}\nb"
        async with connect(url, namespace=namespace) as one, connect(url, namespace=namespace) as two:
            async with one.lock("x\ny"):
                waiter = asyncio.create_task(two.lock("x\ny").acquire())
                await settle()
            async with asyncio.timeout(BOUND):
                await waiter

    run(main)


def test_thousands_of_wake_ups_for_a_session_in_the_same_loop(tmp_path, monkeypatch):
    """Its socket takes about ten. If each of the others is tried again by itself, the loop does nothing else."""

    async def main():
        directory = f"sqlite://{tmp_path}/locks"
        looks, came = [], []
        monkeypatch.setattr(EmbeddedEngine, "_is_dead", lambda engine, session: looks.append(session))
        async with holdfast.connect(directory) as one, holdfast.connect(directory) as two:
            monkeypatch.setattr(two.engine._bell, "_on_wake", lambda name, message: came.append(message))
            for number in range(3000):
                one.engine.wake(two.id, "x", str(number))
            while len(came) < 3000:
                await asyncio.sleep(0.001)
        assert came == [str(number) for number in range(3000)]
        assert len(looks) < 3000

    run(main)


def test_what_nobody_else_has_changed_is_not_read_anew(url, monkeypatch):
    async def main():
        async with connect(url) as one, connect(url) as two:
            tokens = []
            async with one.lock("x") as grant:
                tokens.append(grant.token)
            with monkeypatch.context() as patch:
                patch.setattr(known_record, "decode", None)
                async with one.lock("x") as grant:
                    tokens.append(grant.token)
            async with two.lock("x") as grant:
                tokens.append(grant.token)
            async with one.lock("x") as grant:
                tokens.append(grant.token)
            assert tokens == [*range(tokens[0], tokens[0] + 4)]

    run(main)


@pytest.mark.parametrize("is_woken", [False, True])
@pytest.mark.parametrize("text", ["not JSON", encode(EventRecord())])
def test_who_waits_where_something_else_is_in_the_place_of_the_record_is_told(url, monkeypatch, text, is_woken):
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY if is_woken else 0.05)

    async def main():
        async with connect(url) as one, connect(url) as two:
            await one.lock("x").acquire()
            tasks = [asyncio.create_task(two.lock("x").acquire()) for _ in range(2)]
            await until_waiting(one, "x", 2)
            await one.engine.apply("x", lambda stored: (text, None))
            if is_woken:
                one.engine.wake(two.id, "x", "0 0 0")
            for task in tasks:
                async with asyncio.timeout(BOUND):
                    with pytest.raises((FormatError, NameConflict), match="othing was changed"):
                        await task
            async with two.lock("another"):
                pass

    run(main)
