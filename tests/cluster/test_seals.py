"""A wake-up of the embedded engine is believed if it has a fresh seal: then nothing is read before the task is in."""

from __future__ import annotations

import asyncio
import json
import socket
import time

import pytest
from interpreters import RARELY

import holdfast
from holdfast.cluster import SessionLost
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.embedded import doorbell

from .engines import run  # noqa: F401
from .worker import until_waiting


@pytest.fixture
def url(tmp_path):
    return f"sqlite://{tmp_path}/locks"


def count_reads(session):
    """The names that the session reads from now on."""
    read, names = session.engine.read, []

    def counted(name):
        names.append(name)
        return read(name)

    session.engine.read = counted
    return names


async def hand_over(one, two, before_release=lambda: None):
    """The token that the second session gets from the first, and what it has read for that."""
    async with one.lock("x"):
        waiting = asyncio.create_task(two.lock("x").acquire())
        await until_waiting(one, "x")
        read = count_reads(two)
        before_release()
    grant = await waiting
    seen = [*read]
    await two.lock("x").locked()
    assert grant.token > 1
    grant.check()
    return seen


async def test_a_fresh_seal_is_believed(url, monkeypatch):
    monkeypatch.setattr(doorbell, "FRESH", RARELY)
    async with holdfast.connect(url) as one, holdfast.connect(url) as two:
        assert await hand_over(one, two) == []


@pytest.mark.parametrize("fresh", [0, -1])
async def test_with_an_old_one_the_record_is_read(url, monkeypatch, fresh):
    monkeypatch.setattr(doorbell, "FRESH", fresh)
    async with holdfast.connect(url) as one, holdfast.connect(url) as two:
        assert await hand_over(one, two) == ["x"]


async def test_a_seal_is_as_old_as_the_request_for_the_change(url, monkeypatch):
    """The process may have been stopped between the change and the wake-up."""
    monkeypatch.setattr(doorbell, "FRESH", 0.05)
    async with holdfast.connect(url) as one, holdfast.connect(url) as two:
        transact = one.engine._database.transact

        async def slowly(function):
            result = await transact(function)
            time.sleep(0.06)  # stopped
            return result

        def stop():
            one.engine._database.transact = slowly

        assert await hand_over(one, two, stop) == ["x"]


async def send(session, message):
    """And have it received: a socket takes no more than some."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as somebody:
        packet = json.dumps(["default", "x", message]).encode()
        somebody.sendto(packet, session.engine._files.socket_path(session.id))
    await asyncio.sleep(0.001)


async def test_what_a_seal_needs(url, monkeypatch):
    monkeypatch.setattr(doorbell, "FRESH", 60)
    async with holdfast.connect(url) as one, holdfast.connect(url) as two, one.lock("x"):
        waiting = asyncio.create_task(two.lock("x").acquire())
        await until_waiting(one, "x")
        word, now = two.engine._bell.word, monotonic()
        assert len(word) == 32
        for at in (now + 60, now - 61, float("nan"), float("inf"), "", "x", "9" * 5000):
            await send(two, f"1 99 1\t{at} {word}")
        for seal in ("", "\t", f"\t{now!r}", f"\t{now!r} ", f"\t{now!r} {word}0", f"\t{now!r} {word} ", f"\t{word}"):
            await send(two, f"1 99 1{seal}")
        async with two.lock("another"):  # it has heard all of them
            await asyncio.sleep(0.1)
        assert not waiting.done()
        await send(two, f"1 99 1\t{now!r} {word}")
        assert (await waiting).token == 99
        two._life.lose(SessionLost("what it believes to hold was never granted"))


@pytest.mark.parametrize("gone", ["state.db", "state.db-wal", "s/{id}.lock"])
async def test_who_has_lost_its_files_believes_nobody(url, tmp_path, monkeypatch, gone):
    monkeypatch.setattr(doorbell, "FRESH", RARELY)
    async with holdfast.connect(url) as one, holdfast.connect(url) as two:
        await one.lock("x").acquire()
        waiting = asyncio.create_task(two.lock("x").acquire())
        await until_waiting(one, "x")
        read = count_reads(two)
        (tmp_path / "locks" / gone.format(id=two.id)).unlink()
        await send(two, f"1 99 1\t{monotonic()!r} {two.engine._bell.word}")
        while not read:
            await asyncio.sleep(0.001)
        if gone.startswith("state"):
            with pytest.raises(SessionLost, match="has been removed or replaced"):
                await waiting
        else:
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])


async def test_the_word_is_that_of_the_database(url, tmp_path):
    async with holdfast.connect(url) as one, holdfast.connect(url, namespace="another") as two:
        assert one.engine._bell.word == two.engine._bell.word
    async with holdfast.connect(url) as again, holdfast.connect(f"sqlite://{tmp_path}/others") as other:
        assert again.engine._bell.word == one.engine._bell.word != other.engine._bell.word
