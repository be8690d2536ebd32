"""How `holdfast.connect()` finds the engine that a URL means, and makes a session with it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast
from urllib.parse import unquote, urlsplit

from .engines.contract import Engine
from .errors import EngineError
from .names import checked
from .session import Session
from .session_life.identity import default_label
from .values_in_messages import shown

if TYPE_CHECKING:
    from asyncpg import Connection, Pool
    from redis.asyncio import Redis

    Client: TypeAlias = Redis | Pool | Callable[[], Awaitable[Connection]]
    """What a user may have of a server's library; see `holdfast.connect()`."""

_POSTGRES = "postgresql", "postgres", "postgresql+asyncpg"
"""Schemes of PostgreSQL's URLs: libpq's two, and SQLAlchemy's for asyncpg."""
SHORTEST_TTL, LONGEST_TTL = 0.1, 1e9
"""Seconds. No server can calculate with much longer times."""


def connect(
    url: str | Client | None,
    ttl: float | None,
    namespace: str,
    name: str | None,
    reopen: bool = False,
    loop_may_block: float | None = None,
) -> Session:
    """See `holdfast.connect()`."""
    url = url_in_use(url) if url is None or isinstance(url, str) else url
    if ttl is not None and not (_is_number(ttl) and SHORTEST_TTL <= ttl <= LONGEST_TTL):
        raise ValueError(
            f"ttl must be a number of seconds, {SHORTEST_TTL} to {LONGEST_TTL:g}, or None, not {shown(ttl)}"
        )
    if loop_may_block is not None and not (_is_number(loop_may_block) and loop_may_block > 0):
        raise ValueError(
            "loop_may_block must be a number of seconds above 0, which may be math.inf, or None, not "
            f"{shown(loop_may_block)}"
        )
    if loop_may_block is not None and url is not None and not isinstance(url, str):
        raise ValueError(
            "loop_may_block needs a URL, by which the thread that renews the session connects on its own: a client or "
            "a pool belongs to your event loop, and a function that connects is called only there"
        )
    label = checked(name, "a session's name") if name is not None and name != "" else default_label(os.getpid())
    anew = partial(_engine, url, ttl, checked(namespace, "a namespace"))
    return Session(anew(), label, anew if reopen else None, loop_may_block)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def url_in_use(url: str | None) -> str | None:
    """The URL that was given, else that of HOLDFAST_URL; None for the user's directory.

    Raises ValueError for an empty one. It mostly comes of a setting that is missing, and the locks of the default would
    exclude nobody elsewhere.
    """
    if url == "":
        raise ValueError(
            "the URL is empty; leave it out, or give None, for what HOLDFAST_URL says, or else a directory of yours"
        )
    return url or os.environ.get("HOLDFAST_URL") or None


def _engine(url: str | Client | None, ttl: float | None, namespace: str) -> Engine:
    if url is not None and not isinstance(url, str):
        package = type(url).__module__.partition(".")[0]
        if package == "asyncpg":
            return _postgres_engine(cast("Pool", url), ttl, namespace)
        if package != "redis" and not hasattr(url, "connection_pool"):
            if callable(url):
                return _postgres_engine(url, ttl, namespace)
            raise TypeError(
                "connect() needs a URL, a text like 'sqlite:///var/lib/locks', or a client of redis.asyncio, or a "
                "pool of asyncpg's, or an async function that returns a new connection of asyncpg's, or None, not "
                f"{shown(url)}"
            )
        return _redis_engine(cast("Redis", url), ttl, namespace)
    if (url or "").startswith(("etcd:", "etcds:")):  # of several hosts, which urlsplit() does not know
        return _etcd_engine(url or "", ttl, namespace)
    try:
        parts = urlsplit(url or "sqlite:")
    except ValueError:  # which may have a password in its message
        raise ValueError(
            "the URL has a '[', a ']' or another sign that cannot stand in the name of a host; an address of IPv6 is "
            "written as in redis://[::1]:6379, and in a password '[' is %5B and ']' is %5D"
        ) from None
    if parts.scheme in ("redis", "rediss", "unix"):
        return _redis_engine(url or "", ttl, namespace)
    if parts.scheme in _POSTGRES:
        return _postgres_engine(url or "", ttl, namespace)
    if parts.scheme == "memory":
        if parts.netloc or parts.path or parts.query or parts.fragment:
            raise ValueError(
                f"{shown(url)} has something after 'memory:', where nothing belongs; use namespace= to keep "
                "programs apart"
            )
        from .engines.memory import MemoryEngine

        return MemoryEngine(namespace, ttl)
    if parts.scheme == "sqlite":
        if parts.netloc:
            raise ValueError(
                f"{shown(url)} names a host; write the directory after three slashes: sqlite:///var/lib/locks"
            )
        if parts.query or parts.fragment:
            raise ValueError(f"{shown(url)} has a '?' or '#'; in the name of a directory write %3F or %23")
        path = unquote(parts.path)
        if path and (not path.startswith("/") or not path.strip("/") or "\0" in path):
            raise ValueError(
                f"{shown(url)} names no directory by its absolute path, which is the same for all processes; "
                "write it after three slashes: sqlite:///var/lib/locks"
            )
        return _embedded_engine(path, namespace, ttl)
    if not parts.scheme:
        raise ValueError(f"{shown(url)} is no URL; a directory is written with three slashes: sqlite:///var/lib/locks")
    if parts.scheme.startswith(("postgresql+", "postgres+")):
        raise ValueError(
            f"{parts.scheme}:// is for SQLAlchemy with another driver; holdfast uses asyncpg: write postgresql://, and "
            "asyncpg's options after '?'"
        )
    known = f"{parts.scheme}://..." if "@" in parts.netloc else url  # there may be a password in it
    raise ValueError(
        f"unknown URL scheme in {shown(known)}; known are sqlite:///DIRECTORY, memory:, redis://HOST, rediss://HOST, "
        "unix://SOCKET, postgresql://HOST/DATABASE, etcd://HOST and etcds://HOST"
    )


def _embedded_engine(path: str, namespace: str, ttl: float | None) -> Engine:
    from .engines.embedded.requirements import lacking

    if lacks := lacking():
        raise EngineError(
            "sqlite:///DIRECTORY, which is the default, is for POSIX systems such as Linux and macOS: this one lacks "
            f"{lacks}. Use redis://HOST, or memory: within one process"
        )
    from .engines.embedded.directory import default_directory
    from .engines.embedded.engine import EmbeddedEngine

    return EmbeddedEngine(Path(path) if path else default_directory(), namespace, ttl)


def _redis_engine(server: str | Redis, ttl: float | None, namespace: str) -> Engine:
    try:
        from .engines.redis.engine import RedisEngine
    except ImportError as exc:
        raise ImportError("Redis and Valkey need an extra: install holdfast with its extra 'redis'") from exc
    return RedisEngine(server, namespace, ttl)


def _postgres_engine(
    server: str | Pool | Callable[[], Awaitable[Connection]], ttl: float | None, namespace: str
) -> Engine:
    try:
        from .engines.postgres.engine import PostgresEngine
    except ImportError as exc:
        raise ImportError("PostgreSQL needs an extra: install holdfast with its extra 'postgres'") from exc
    return PostgresEngine(server, namespace, ttl)


def _etcd_engine(url: str, ttl: float | None, namespace: str) -> Engine:
    try:
        from .engines.etcd.engine import EtcdEngine
    except ImportError as exc:
        raise ImportError("etcd needs an extra: install holdfast with its extra 'etcd'") from exc
    return EtcdEngine(url, namespace, ttl)
