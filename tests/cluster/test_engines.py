"""The engine contract, on each engine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.embedded.engine import EmbeddedEngine
from holdfast.cluster.engines.etcd.engine import EtcdEngine
from holdfast.cluster.engines.memory import MemoryEngine
from holdfast.cluster.engines.redis.engine import RedisEngine
from holdfast.testing.engine_suite import EngineSuite

from . import postgres
from .etcd_servers import BINARIES, NO_ETCD, shared_etcd
from .postgres import needs_postgres
from .servers import REDIS, shared


class TestMemory(EngineSuite):
    def engine(self, namespace, ttl=None):
        return MemoryEngine(namespace, ttl)


class TestEmbedded(EngineSuite):
    @pytest.fixture(autouse=True, scope="class")
    @staticmethod
    def directory(request):
        with tempfile.TemporaryDirectory() as directory:
            request.cls.path = Path(directory)
            yield

    def engine(self, namespace, ttl=None):
        return EmbeddedEngine(self.path, namespace, ttl)


class TestValkey(EngineSuite):
    def engine(self, namespace, ttl=None):
        return RedisEngine(shared().url, namespace, ttl)


@pytest.mark.skipif(REDIS is None, reason="there is no redis-server on PATH, as Debian's package has it")
class TestRedis(EngineSuite):
    def engine(self, namespace, ttl=None):
        return RedisEngine(shared("redis").url, namespace, ttl)


@needs_postgres
class TestPostgres(EngineSuite):
    def engine(self, namespace, ttl=None):
        from holdfast.cluster.engines.postgres.engine import PostgresEngine

        return PostgresEngine(postgres.shared().url, namespace, ttl)


@pytest.mark.skipif(BINARIES is None, reason=NO_ETCD)
class TestEtcd(EngineSuite):
    TTL = 2.0

    def engine(self, namespace, ttl=None):
        return EtcdEngine(shared_etcd().url, namespace, ttl)


class Forgetful(MemoryEngine):
    """Breaks promise 2: a renewal brings back the dead."""

    async def renew(self, *args):
        self._store.sessions.setdefault(self._id, self)
        self._renewed = monotonic()
        return await super().renew(*args)


class Careless(MemoryEngine):
    """Breaks promise 1: two changes at once find the same text."""

    async def apply(self, name, change, **options):
        found = await self.read(name)
        await asyncio.sleep(0)
        return await super().apply(name, lambda stored: change(stored._replace(text=found)), **options)


@pytest.mark.parametrize(
    ("engine", "test"),
    [
        (Forgetful, "test_a_session_that_was_not_renewed_is_dead_for_ever"),
        (Careless, "test_changes_at_the_same_time_are_made_one_after_the_other"),
    ],
)
def test_the_suite_finds_a_broken_promise(engine, test):
    class Suite(EngineSuite):
        def engine(self, namespace, ttl=None):
            return engine(namespace, ttl)

    with pytest.raises(AssertionError):
        getattr(Suite(), test)()


def test_the_suite_asks_how_an_engine_is_made():
    with pytest.raises(NotImplementedError, match="say how an engine is made"):
        EngineSuite().test_the_floor_only_rises()
