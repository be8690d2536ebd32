"""The server that a session is to use: which it is, what messages call it, and whether it can be relied on.

It is given as a URL or as a client of redis-py. Either way, a pool of redis-py's connections comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from redis import ConnectionPool as BlockingClientsPool
from redis.asyncio import ConnectionPool, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from holdfast.cluster.errors import EngineError
from holdfast.cluster.values_in_messages import shown

from .connection import greet

if TYPE_CHECKING:
    from redis.asyncio import Redis

_OLDEST = 6, 2
"""The first version of Redis that has everything that is used here."""


def pool_for_url(url: str, connect_timeout: float) -> Any:
    """A pool for a URL, in the form that redis-py reads. connect_timeout: seconds.

    Raises ValueError if the URL is wrong.
    """
    _check_url(url)
    pool: Any = ConnectionPool.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=connect_timeout,
        socket_timeout=None,  # each request has its own, in `connection`
        redis_connect_func=greet,
        protocol=2,
        **({} if url.startswith("unix:") else {"socket_keepalive": True}),
    )
    options = pool.connection_kwargs
    if issubclass(pool.connection_class, UnixDomainSocketConnection) and not options.get("path"):
        raise ValueError("the URL names no socket; write its path after three slashes: unix:///run/redis.sock")
    try:
        pool.make_connection()  # does not connect, but is the first to look at the options
    except TypeError as exc:
        raise ValueError(f"the URL has an option after '?' that redis-py does not know: {exc}") from exc
    return pool


def pool_of_client(client: Redis) -> Any:
    """The pool of a client, which stays the client's.

    Raises TypeError for anything but a client of redis.asyncio for one server.
    """
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, ConnectionPool):
        return pool
    blocks = isinstance(client, BlockingClientsPool) or isinstance(pool, BlockingClientsPool)
    given = "one of redis, which blocks; write redis.asyncio.Redis(...)" if blocks else shown(client)
    raise TypeError(
        "connect() needs a client of redis.asyncio for one server, as Redis(...) or what "
        f"Sentinel(...).master_for() returns, or a URL, not {given}"
    )


def name_of(pool: Any) -> str:
    """What messages call the server; without a password."""
    options = pool.connection_kwargs
    if service := getattr(pool, "service_name", None):
        return f"the server that Sentinel names for {service!r}, database {options.get('db') or 0}"
    where = options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
    return f"the server at {where}, database {options.get('db') or 0}"


def check(info: bytes, name: str) -> None:
    """Raise EngineError if the server cannot be relied on. info: the answer of `scripts.FACTS`."""
    facts: Mapping[str, str] = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
    version = facts.get("redis_version", "0")
    policy = facts.get("maxmemory_policy", "noeviction")
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        raise EngineError(f"{name} is Redis {version}; holdfast needs Redis 6.2 or Valkey 8, or later")
    if policy != "noeviction":
        raise EngineError(
            f"{name} has maxmemory-policy {policy}: it may forget who holds a lock. Set it to noeviction, or use "
            "another server"
        )
    if facts.get("cluster_enabled") == "1":
        raise EngineError(
            f"{name} belongs to a Redis Cluster, which holdfast does not support: use a server of its own, or "
            "one that Sentinel looks after"
        )
    if facts.get("role") in ("slave", "replica"):
        raise EngineError(f"{name} is a replica; connect to the primary, or through redis-py's Sentinel")


def _check_url(url: str) -> None:
    """Raise ValueError for what redis-py would ignore. No message shows what may be a part of the password."""
    parts = urlsplit(url)
    database = unquote(parts.path).strip("/")
    try:
        parts.port  # noqa: B018  # raises if it is not a number
    except ValueError:
        wrong = "a wrong port, after the host and ':'"
    else:
        if parts.scheme != "unix" and not url.partition(":")[2].startswith("//"):
            wrong = "no '//' before the host"
        elif parts.fragment:
            wrong = "a '#', which is not allowed"
        elif parts.scheme != "unix" and database and not (database.isascii() and database.isdigit()):
            wrong = "a database that is not a number, after the host and '/'"
        else:
            return
    raise ValueError(
        f"the URL has {wrong}; write redis://HOST:PORT/NUMBER, and %23, %2F and %3F for '#', '/' and '?' in a password"
    ) from None
