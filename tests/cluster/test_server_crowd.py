"""Whatever is done to some processes, to a server and to what is between them, the merged history stays right."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time

import pytest
import redis.asyncio
from interpreters import BOUND

from holdfast.cluster.session_life.exchange import CONFIRMED

from .crowd import Crowd, entered
from .history import stale
from .proxy import Proxy
from .servers import Server, shared
from .test_crowd import STOPS, a_holder_is_killed, a_waiter_is_killed, holder
from .test_faults import run
from .test_server_faults import DURABLE, TTL
from .worker import WorkerError

__all__ = ["run"]  # the fixture

LONG = 30.0
"""Seconds: the ttl of the sessions that are to outlive what happens."""
LIVES = {"ttl": LONG, "victims_ttl": TTL}


@pytest.fixture
def server():
    with Server(*DURABLE) as server:
        yield server


# Processes


async def a_process_is_killed_between_request_and_reply(crowd):
    """The server makes him wait, in the middle of the others, and he is dead by then."""
    async with Proxy(shared().port) as proxy:
        victim = await crowd.another(proxy.url)
        proxy.deaf_from = b"added\n"  # as the script says that has made it wait
        victim.begin("await session.lock('x').acquire()")
        async with asyncio.timeout(BOUND):
            while not proxy.is_deaf:
                await asyncio.sleep(0.005)
        await crowd.kill(victim)


HARMS = {
    "a holder is killed": a_holder_is_killed,
    "a waiter is killed": a_waiter_is_killed,
    "a process is killed between request and reply": a_process_is_killed_between_request_and_reply,
}


@pytest.mark.parametrize("harm", HARMS)
async def test_the_history_stays_right_when(harm, tmp_path):
    async with Crowd(shared().url, tmp_path, namespace=harm, **LIVES) as crowd:
        await HARMS[harm](crowd)
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_is_stopped_for_longer_than_its_ttl(fenced, tmp_path):
    async with Crowd(shared().url, tmp_path, fenced=fenced, namespace=f"stopped {fenced}", **LIVES) as crowd:
        victim, held = await holder(crowd, STOPS)
        await victim.until_stopped()
        crowd.idle_since[victim.pid] = time.monotonic()
        await crowd.more_turns(1)
        victim.go_on()
        with pytest.raises(WorkerError, match="StaleToken" if fenced else "LeaseLost"):
            await held
        await crowd.end()
        token = entered(victim)[0][0]
        assert stale(crowd.written()) == ([] if fenced else [token])
        assert await crowd.wrong() == ([] if fenced else [f"a write with the old token {token} was accepted"])


# The server


async def test_the_server_is_stopped_and_goes_on(server, tmp_path):
    async with Crowd(server.url, tmp_path, ttl=LONG) as crowd:
        server.stop()
        await asyncio.sleep(1)
        server.go_on()
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


async def test_the_server_is_stopped_for_longer_than_the_ttl(server, tmp_path):
    """All have lost what they had; sessions that come later find it free."""
    async with Crowd(server.url, tmp_path, ttl=TTL) as crowd:
        server.stop()
        await until_all_have_lost(crowd)
        server.go_on()
        await crowd.join()
        await crowd.end()
        assert not await crowd.wrong()


async def test_the_server_comes_back_with_its_data(server, tmp_path):
    async with Crowd(server.url, tmp_path, ttl=LONG) as crowd:
        for _ in range(3):
            server.kill()
            await asyncio.sleep(0.2)
            server.start()
            await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


async def test_the_server_comes_back_without_its_data(server, tmp_path):
    async with Crowd(server.url, tmp_path, ttl=LONG) as crowd:
        server.kill()
        server.lose_data()
        server.start()
        await until_all_have_lost(crowd)
        await crowd.join()
        await crowd.end()
        assert not await crowd.wrong()


async def test_a_lagging_replica_is_promoted(server, tmp_path):
    """A session that holds what the replica does not know of has lost it; tokens rise, and no old one is accepted."""
    with Server() as replica:
        async with (
            redis.asyncio.Redis(port=replica.port) as there,
            Proxy(server.port) as proxy,
            Proxy(server.port) as stream,
            Crowd(proxy.url, tmp_path, ttl=LONG) as crowd,
        ):
            await there.execute_command("REPLICAOF", "127.0.0.1", stream.port)
            async with asyncio.timeout(BOUND):
                while not await there.exists("holdfast:{default}:record:x"):
                    await asyncio.sleep(0.01)
            stream.is_deaf = True  # it lags from here on
            await crowd.more_turns()
            server.kill()
            await there.execute_command("REPLICAOF", "NO", "ONE")
            await asyncio.sleep(2 * CONFIRMED)  # from now on no session lets a task in without asking
            crowd.lost_at = time.monotonic()
            proxy.target = replica.port
            proxy.cut()
            await asyncio.sleep(1)
            await crowd.join()
            await crowd.end()
            assert not await crowd.wrong()


async def until_all_have_lost(crowd):
    async with asyncio.timeout(BOUND):
        while len(crowd.lost()) < len(crowd.workers):
            await asyncio.sleep(0.01)


# What is between them


async def test_connections_are_killed_all_the_time(server, tmp_path):
    async with Crowd(server.url, tmp_path, ttl=LONG) as crowd, redis.asyncio.Redis(port=server.port) as admin:
        for _ in range(20):
            await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await asyncio.sleep(0.05)
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


async def test_one_answer_in_ten_is_lost(tmp_path):
    async with (
        Proxy(shared().port) as proxy,
        Crowd(proxy.url, tmp_path, ttl=LONG, namespace="lost answers") as crowd,
    ):
        lost = 0
        while lost < 15:
            proxy.requests, proxy.cut_at, before = 0, 10, proxy.cuts
            async with asyncio.timeout(BOUND):
                while proxy.cuts == before:
                    await asyncio.sleep(0.005)
            lost += 1
        proxy.cut_at = None
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


async def test_wake_ups_are_dropped(tmp_path):
    """On their way, as the server sends them; each one that waits looks for itself."""
    async with (
        Proxy(shared().port) as proxy,
        Crowd(proxy.url, tmp_path, ttl=TTL, namespace="dropped") as crowd,
    ):
        proxy.drops_messages = True
        await crowd.more_turns(1)
        await crowd.end()
        assert not await crowd.wrong()
        assert not crowd.lost()


@pytest.mark.parametrize("side", ["is_deaf", "is_mute"])
async def test_one_side_is_cut_off_from_the_server(side, tmp_path):
    async with (
        Proxy(shared().port) as proxy,
        Crowd(shared().url, tmp_path, namespace=f"one {side}", **LIVES) as crowd,
    ):
        victim = await crowd.another(proxy.url)
        held = victim.begin(crowd.prelude + "await turn(lambda: asyncio.sleep(60))")
        await victim.event()
        setattr(proxy, side, True)
        with pytest.raises(WorkerError, match="LeaseLost"):
            await held
        crowd.idle_since[victim.pid] = time.monotonic()  # and yet nobody has been let in
        await crowd.more_turns()
        await crowd.end()
        assert not await crowd.wrong()
        assert [*crowd.lost()] == []


class Cable:
    """A network namespace that one cable connects with this machine. Use it with `with`."""

    NOBODY = "02:00:00:00:00:fe"

    def __init__(self):
        self.namespace = f"holdfast{os.getpid()}"
        self.near, self.far = f"hfa{os.getpid()}"[:15], f"hfb{os.getpid()}"[:15]
        third, fourth = divmod(os.getpid() % (256 * 64), 64)  # a network of its own: tests run beside each other
        self.here, self.yonder = f"10.77.{third}.{fourth * 4 + 1}", f"10.77.{third}.{fourth * 4 + 2}"

    def __enter__(self):
        if os.geteuid():
            pytest.skip("only root may make a network namespace")
        try:
            ip("netns", "add", self.namespace)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip("network namespaces are not to be had here")
        try:
            ip("link", "add", self.near, "type", "veth", "peer", "name", self.far, "netns", self.namespace)
            ip("addr", "add", f"{self.here}/30", "dev", self.near)
            ip("link", "set", self.near, "up")
            self.there("addr", "add", f"{self.yonder}/30", "dev", self.far)
            self.there("link", "set", self.far, "up")
        except subprocess.CalledProcessError:
            self.__exit__()
            pytest.skip("a virtual cable is not to be had here")
        return self

    def __exit__(self, *exc):
        subprocess.run(["ip", "link", "del", self.near], capture_output=True)  # it may not have come so far
        ip("netns", "del", self.namespace)

    def there(self, *arguments):
        ip("-n", self.namespace, *arguments)

    @property
    def prefix(self):
        """What runs a command there."""
        return ["ip", "netns", "exec", self.namespace]

    def cut(self, side):
        """Let nothing come through: on both sides, or to one only, whose packets go to an address that nobody has."""
        match side:
            case "both":
                ip("link", "set", self.near, "down")
            case "answers":
                ip("neigh", "replace", self.yonder, "lladdr", self.NOBODY, "dev", self.near, "nud", "permanent")
            case "requests":
                self.there("neigh", "replace", self.here, "lladdr", self.NOBODY, "dev", self.far, "nud", "permanent")


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.mark.parametrize("side", ["both", "answers", "requests"])
async def test_the_network_is_cut(side, tmp_path):
    """Without a word from the kernel: nobody is told that a connection has ended."""
    with Cable() as cable, Server("--bind", f"127.0.0.1 {cable.here}", "--protected-mode", "no") as server:
        async with Crowd(server.url, tmp_path, **LIVES) as crowd:
            victim = await crowd.another(f"redis://{cable.here}:{server.port}", under=cable.prefix)
            held = victim.begin(crowd.prelude + "await turn(lambda: asyncio.sleep(60))")
            async with asyncio.timeout(BOUND):
                await victim.event()
            cable.cut(side)
            with pytest.raises(WorkerError, match="LeaseLost"):
                async with asyncio.timeout(BOUND):
                    await held
            crowd.idle_since[victim.pid] = time.monotonic()
            await crowd.more_turns()
            await crowd.end()
            assert not await crowd.wrong()
