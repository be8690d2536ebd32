"""A record that somebody removes, or replaces by an older one, while it is used: by hand, by a cleaner, by FLUSHDB.

Nothing is granted by a record that does not know of the request, tokens never go back, and a task that has lost
something is told with the next renewal.
"""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio
from interpreters import BOUND, RARELY

from holdfast.cluster import LeaseLost, SessionLost
from holdfast.cluster.session_life import leases, renewal

from .engines import Place, run, settle
from .engines import place as place
from .worker import until_waiting

__all__ = ["run"]  # the fixture

LEASED = {
    "lock": lambda session: session.lock("x"),
    "semaphore": lambda session: session.semaphore("x", 2),
    "bounded semaphore": lambda session: session.bounded_semaphore("x", 2),
}
WAITING = {
    "lock": lambda session: session.lock("x").acquire(),
    "semaphore": lambda session: session.semaphore("x", 0).acquire(),
    "event": lambda session: session.event("x").wait(),
    "barrier": lambda session: session.barrier("x", 3).wait(),
}
leased = pytest.mark.parametrize("make", LEASED.values(), ids=LEASED.keys())
waits = pytest.mark.parametrize("wait", WAITING.values(), ids=WAITING.keys())


@pytest.fixture(autouse=True)
def look_soon(monkeypatch):
    monkeypatch.setattr(renewal, "LOOK_AGAIN", 1.0)


def removed(text):
    return None


def before(engine, name, act):
    """Have `act` done right before the next change of the name."""
    apply = engine.apply

    async def late(changed, *args, **options):
        if changed == name:
            engine.apply = apply
            await asyncio.sleep(0)  # from now on in a task, which `act` may need; see `Engine.begins_at_once`
            await act()
        return await apply(changed, *args, **options)

    engine.apply = late


def counted_renewals(session):
    """A list that gets an entry for each renewal that the session begins from now on."""
    renew, begun = session.engine.renew, []

    async def counted(*args):
        begun.append(args)
        return await renew(*args)

    session.engine.renew = counted
    return begun


async def renewed(session):
    """Have it renewed now, and wait until it has acted on what it has seen."""
    renewal = session._life.renewal
    renewal.at_once()
    while renewal.task is None:
        await asyncio.sleep(0)
    await asyncio.wait([renewal.task])
    await settle(session)


async def look_all_the_time(session):
    """Have it renewed, and with that look around, whatever its ttl is."""
    while True:
        session._life.renewal.at_once()
        await asyncio.sleep(0.01)


@leased
async def test_a_holder_is_told_within_a_renewal(place, make):
    async with place.connect() as one, place.connect() as two:
        renewals = []
        with pytest.raises(LeaseLost, match="removed or replaced"):  # noqa: PT012
            async with make(one) as grant:
                await place.by_hand(removed)
                async with make(two) as other:
                    assert other.token > grant.token or make is not LEASED["lock"]
                renewals = counted_renewals(one)
                await asyncio.sleep(BOUND)
        assert len(renewals) <= 1
        for session in (one, two):  # which go on themselves
            async with make(session):
                pass


@leased
async def test_a_holder_is_told_though_nobody_has_used_the_name_since(place, make):
    async with place.connect() as one:
        grant = await make(one).acquire()
        await place.by_hand(removed)
        async with asyncio.timeout(BOUND):
            await grant.lost.wait()


@leased
@pytest.mark.parametrize("is_used", [False, True])
async def test_a_release_of_what_was_lost_says_so_and_gives_nothing(place, make, is_used):
    async with place.connect() as one, place.connect() as two:
        first, second = make(one), make(two)
        await first.acquire()
        await place.by_hand(removed)
        if is_used:
            await second.acquire()
        with pytest.raises(LeaseLost, match="removed or replaced"):
            await first.release()
        held = (await two.inspect("x")).holders
        assert [holding.session.id for holding in held] == ([two.id] if is_used else [])
        if make is not LEASED["lock"]:
            assert (await two.inspect("x")).state["free"] == 2 - is_used, "a permit was made of nothing"


@waits
async def test_nobody_who_waits_is_let_through(place, wait):
    async with place.connect() as one, place.connect() as two:
        held = await one.lock("x").acquire() if wait is WAITING["lock"] else None
        waiter = asyncio.create_task(wait(two))
        await until_waiting(one, "x")
        await place.by_hand(removed)
        async with asyncio.timeout(BOUND):
            with pytest.raises(SessionLost, match="removed or replaced"):
                await waiter
            if held:
                await held.lost.wait()


@waits
async def test_nobody_who_is_told_to_look_is_let_through(place, wait, monkeypatch):
    async with place.connect() as one, place.connect() as two:
        if wait is WAITING["lock"]:
            await one.lock("x").acquire()
        waiter = asyncio.create_task(wait(two))
        await until_waiting(one, "x")
        await place.by_hand(removed)
        one.engine.wake(two.id, "x", "0 0 0")
        async with asyncio.timeout(BOUND):
            with pytest.raises(SessionLost, match="removed or replaced"):
                await waiter


@waits
async def test_who_waits_where_another_begins_anew_is_let_through_by_nobody(place, wait):
    """Also if its session itself asks for something there, which the new record then knows of."""
    async with place.connect() as one, place.connect() as two:
        if wait is WAITING["lock"]:
            await one.lock("x").acquire()
        waiter = asyncio.create_task(wait(two))
        await until_waiting(one, "x")
        await place.by_hand(removed)
        third = asyncio.create_task(wait(one))
        await settle(one)
        fourth = asyncio.create_task(wait(two))
        async with asyncio.timeout(BOUND):
            with pytest.raises(SessionLost, match="removed or replaced"):
                await waiter
        await settle(one, two)
        assert third.done() == (wait is WAITING["lock"])
        assert not fourth.done(), "it waits in the new one"
        for task in (third, fourth):
            task.cancel()


@leased
async def test_a_record_that_is_removed_while_a_change_is_under_way(place, make):
    async with place.connect() as one:
        first, other = make(one), make(one)
        grant = await first.acquire()
        before(one.engine, "x", lambda: place.by_hand(removed))
        async with asyncio.timeout(BOUND):
            later = await other.acquire()  # as its holder is gone
            assert grant.lost.is_set()
        assert later.token > grant.token
        with pytest.raises(LeaseLost):
            await first.release()
        await other.release()
        assert (await one.inspect("x")).holders == ()


@leased
async def test_a_record_that_is_removed_while_a_release_is_under_way(place, make):
    async with place.connect() as one, place.connect() as two:
        first = make(one)
        await first.acquire()

        async def remove_and_take():
            await place.by_hand(removed)
            await make(two).acquire()

        before(one.engine, "x", remove_and_take)
        with pytest.raises(LeaseLost, match="removed or replaced"):
            await first.release()
        assert [holding.session.id for holding in (await two.inspect("x")).holders] == [two.id]


async def test_tokens_never_go_back(place):
    tokens = []
    async with place.connect() as one, place.connect() as two:
        for _ in range(20):
            for session in (one, two, two):
                lock = session.lock("x")
                tokens.append((await lock.acquire()).token)
                await lock.release()
            await place.by_hand(removed)
    assert tokens == sorted({*tokens})


async def test_a_removed_record_in_which_nothing_was_at_stake_is_made_anew_without_a_word(place):
    async with place.connect() as one, place.connect() as two:
        for session in (one, two, one, two):
            async with session.lock("x"), session.semaphore("s", 1):
                pass
            await session.event("e").set()
            for name in "xse":
                await place.by_hand(removed, name)
        assert not await one.event("e").is_set()


async def test_a_holder_of_what_an_older_record_does_not_know_is_told(place):
    texts = []
    async with place.connect() as one, place.connect() as two:
        async with one.lock("x"):
            pass
        await place.by_hand(lambda text: texts.append(text) or text)
        grant = await one.lock("x").acquire()
        await place.by_hand(lambda text: texts[0])
        async with asyncio.timeout(BOUND):
            await grant.lost.wait()
            await settle(one)
            async with two.lock("x") as later:
                assert later.token > grant.token
            async with one.lock("x") as last:
                assert last.token > later.token


async def test_what_an_older_record_says_is_held_here_is_let_go_by_who_uses_it(place):
    """It has been released since: nobody would ever release it again."""
    texts = []
    async with place.connect() as one:
        async with one.lock("x"):
            await place.by_hand(lambda text: texts.append(text) or text)
        await one.lock("x").locked()
        await place.by_hand(lambda text: texts[0])
        async with asyncio.timeout(BOUND):
            async with one.lock("x"):
                pass


@leased
async def test_who_is_granted_something_while_it_looks_is_not_told_that_it_is_lost(place, make):
    """The record that it reads is older than the wake-up, which came first."""
    if place.engine == "embedded":
        pytest.skip("its wake-ups are not believed: each has the record read anew")
    async with place.connect() as one, place.connect() as two:
        held = [make(one), make(one)]
        for each in held[: 1 if make is LEASED["lock"] else 2]:
            await each.acquire()
        if not two.engine.vouches:
            pytest.skip("a wake-up grants nothing there, so none comes before what is read")
        waiting = make(two)
        waiter = asyncio.create_task(waiting.acquire())
        await until_waiting(one, "x")
        read = two.engine.read

        async def late(name):
            text = await read(name)
            two.engine.read = read
            await held[0].release()
            grants.append(await waiter)
            return text

        grants = []
        two.engine.read = late
        waiting._register.doubt()
        while not grants or waiting._register._pump:
            await asyncio.sleep(0.001)
        assert not grants[0].lost.is_set()
        await waiting.release()


async def test_names_are_looked_at_in_turn(place, monkeypatch):
    monkeypatch.setattr(leases, "LOOKED_AT", 4)
    monkeypatch.setattr(renewal, "CHECKED", RARELY)
    async with place.connect(ttl=RARELY if place.is_server else None) as one:
        grants = {name: await one.lock(name).acquire() for name in map(str, range(11))}
        for name, grant in grants.items():
            await place.by_hand(removed, name)
            for _ in range(3):  # which look at more than there are
                if not grant.lost.is_set():
                    await renewed(one)
            assert grant.lost.is_set()
            assert [other for other in grants.values() if other.lost.is_set()][-1] is grant


async def test_a_holder_of_many_names_is_not_told_of_those_that_are_there(place):
    """Others join, leave, are granted and release meanwhile."""
    async with place.connect() as one, place.connect() as two:
        looking = asyncio.create_task(look_all_the_time(one))
        grants = [await one.lock(str(n)).acquire() for n in range(10)]
        grants.append(await one.semaphore("s", 2).acquire())

        async def disturb(n):
            for _ in range(15):
                waiter = asyncio.create_task(two.lock(str(n)).acquire())
                await asyncio.sleep(0.01)
                waiter.cancel()
                async with two.semaphore("s", 2):
                    await asyncio.sleep(0)

        await asyncio.gather(*map(disturb, range(10)))
        looking.cancel()
        assert not [grant for grant in grants if grant.lost.is_set()]


async def test_tokens_never_go_back_though_the_time_of_the_server_is_not_known_well(tmp_path):
    """A session knows it from the last answer, which may have been on its way for long."""
    place = Place("valkey", tmp_path)
    async with place.connect() as one, place.connect() as two:
        grant = await one.lock("x").acquire()
        await place.by_hand(removed)
        micros, at = two.engine._known.time
        two.engine._known.time = micros - 3_600_000_000, at
        assert (await two.lock("x").acquire()).token > grant.token


@pytest.mark.parametrize("what", ["record", "record and name", "name", "everything"])
async def test_on_a_server(tmp_path, what):
    place = Place("valkey", tmp_path)
    key = f"holdfast:{{{place.namespace}}}"
    async with redis.asyncio.Redis.from_url(place.url) as client:

        async def remove():
            if what in ("record", "record and name"):
                await client.delete(f"{key}:record:x")
            if what in ("name", "record and name"):
                await client.zrem(f"{key}:names", "x")
            if what == "everything":
                await client.delete(*await client.keys(f"holdfast:?{place.namespace}?*"))

        one = await place.opened()
        grant = await one.lock("x").acquire()
        await remove()
        async with place.connect() as two:
            if what == "name":
                assert await two.lock("x").try_acquire() is None
                await one.lock("y").acquire()
                grant.check()
            else:
                assert (await two.lock("x").acquire()).token > grant.token
                async with asyncio.timeout(BOUND):
                    await grant.lost.wait()
        await one.close()
