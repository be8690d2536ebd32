"""Sessions on each engine, for tests of what must hold on all of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import redis.asyncio

import holdfast
from holdfast.cluster import Session
from holdfast.cluster.engines.memory import MemoryEngine

from . import postgres
from .etcd_servers import BINARIES, NO_ETCD, shared_etcd
from .running import run_bounded
from .servers import shared

SERVERS = "valkey", "postgres", "etcd"
ENGINES = "memory", "embedded", *SERVERS
DEAR = "postgres", "etcd"
"""Engines whose tests take long. What rests on the contract of engines is tried on them outside CI; that they keep the
contract, and the conformance suite, everywhere."""
TTL = 5.0
"""Seconds, on the server: a process that stands still for a second or two on a busy machine does not lose its lease."""
_numbers = count(1)


def url_of(engine: str, directory: object) -> str:
    """Skips the test if there is no server of this kind here."""
    if engine == "memory":
        return "memory:"
    if engine == "embedded":
        return f"sqlite://{directory}/locks"
    if engine == "postgres":
        return postgres.shared().url
    if engine == "etcd":
        if BINARIES is None:
            pytest.skip(NO_ETCD)
        return shared_etcd().url
    return shared().url


class Place:
    """Where sessions meet: a namespace of its own on one of the engines."""

    def __init__(self, engine: str, directory: object) -> None:
        self.engine = engine
        self.directory = directory
        self.namespace = f"place {os.getpid()} {next(_numbers)}"
        self.url = url_of(engine, directory)

    @property
    def is_server(self) -> bool:
        """Whether each request takes a round trip, and a session has a ttl."""
        return self.engine in SERVERS

    def connect(self, **options: Any) -> Session:
        return holdfast.connect(self.url, **self.options(**options))

    def options(self, **options: Any) -> dict[str, Any]:
        return {"namespace": self.namespace, "ttl": TTL if self.is_server else None, **options}

    async def opened(self, **options: Any) -> Session:
        """A session that the test itself closes, or loses."""
        session = self.connect(**options)
        await session.__aenter__()
        return session

    async def by_hand(self, change: Callable[[str | None], str | None], name: str = "x") -> None:
        """Change the record of a name behind the backs of all sessions; None removes it. On a server what is changed is
        all that is kept under the key."""
        if self.engine == "memory":
            store = MemoryEngine(self.namespace)._store
            text = change(store.texts.pop(name, None))
            if text is not None:
                store.texts[name] = text
        elif self.engine == "embedded":
            with contextlib.closing(sqlite3.connect(f"{self.directory}/locks/state.db")) as database, database:
                found = database.execute("SELECT text FROM texts WHERE name = ?", (name,)).fetchone()
                text = change(found[0] if found else None)
                if text is None:
                    database.execute("DELETE FROM texts WHERE name = ?", (name,))
                else:
                    database.execute("UPDATE texts SET text = ? WHERE name = ?", (text, name))
        elif self.engine == "postgres":
            await postgres.change_by_hand(self.url, self.namespace, name, change)
        elif self.engine == "etcd":
            shared_etcd().change(f"holdfast/{self.namespace}/record/{name}", change)
        else:
            key = f"holdfast:{{{self.namespace}}}:record:{name}"
            async with redis.asyncio.Redis.from_url(self.url, decode_responses=True) as client:
                text = change(await client.get(key))
                await (client.delete(key) if text is None else client.set(key, text))


@pytest.fixture(
    params=["memory", "embedded", "valkey", *(pytest.param(each, marks=pytest.mark.campaign) for each in DEAR)]
)
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Place:
    """A place of its own on each of the engines, for the tests of a module that imports this."""
    return Place(request.param, tmp_path)


@pytest.fixture
def memory(tmp_path: Any) -> Place:
    """One in this process."""
    return Place("memory", tmp_path)


@pytest.fixture(autouse=True)
def run():
    """How the tests of a module that imports this are run."""

    return run_bounded


async def settle(*sessions: Session) -> None:
    """More than enough for every task to go as far as it gets with an engine that answers at once.

    sessions: those whose requests have been answered by then, however long a server takes.
    """
    for _ in range(60):
        await asyncio.sleep(0.001)
    for session in sessions:
        while any(register.at_rest is None for register in session._life.registers.in_use.values()):
            await asyncio.sleep(0.001)


async def die(session: Session) -> None:
    """As if its process had ended: nobody is told, and the session itself does nothing more."""
    await session.engine.close()
    session._life.end_in_child()
