"""The server that a session is to use: which it is, what messages call it, and how a connection is made ready.

It is given as a URL, which asyncpg reads, as a pool of asyncpg's, or as a function that connects.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from holdfast.cluster.engines.far_link import Unreachable
from holdfast.cluster.errors import EngineError
from holdfast.cluster.values_in_messages import shown

if TYPE_CHECKING:
    from asyncpg import Connection, Pool

SCHEMA = "holdfast"
"""The schema in which everything is, by default."""
SHORTEST_POLL, LONGEST_POLL = 0.01, 60.0
"""Seconds."""
OLDEST = 13
"""The first version of PostgreSQL that has everything that is used here."""
ISOLATION = "read committed"
"""Of all transactions: each statement of a function is to see what has been committed when it begins."""
DURABLE = "on", "off", "local", "remote_write", "remote_apply"
"""What `synchronous_commit` may be."""
_SHARE_OF_POOL = 0.9
"""Of the time that connecting may take: the part in which a pool has to give a connection."""
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_FORM = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"


class Server(Protocol):
    """A way to a server."""

    name: str
    """What messages call it; without a password."""
    schema: str
    synchronous_commit: str | None
    """None: as the server, the database or the user has it."""

    most_connections: int
    """How many connections a session may take at a time."""
    poll: float | None
    """Seconds between two looks of a session that waits and cannot be woken; None: it is woken."""

    async def connect(self, limit: float) -> Connection:
        """A new connection. limit: seconds. Raises what asyncpg raises."""

    async def let_go(self, connection: Connection) -> None:
        """Of a connection, which may be broken. Raises what asyncpg raises; then it may still be open."""


class _OwnConnections:
    """A way to a server whose connections are the session's, and are closed when it lets go of them."""

    most_connections = 4

    async def let_go(self, connection: Connection) -> None:
        if not connection.is_closed():
            await connection.close()


class ServerOfUrl(_OwnConnections):
    """One that is reached by a URL."""

    def __init__(self, url: str) -> None:
        """Raises ValueError if the URL is wrong."""
        self._dsn, ours = _read(url)
        self.schema = _schema(ours.get("schema", SCHEMA))
        self.synchronous_commit = _durable(ours.get("synchronous_commit"))
        self.poll = _seconds(ours.get("poll"))
        if self.poll is not None and self.synchronous_commit is not None:
            raise ValueError(
                "with poll= the settings of a connection are not holdfast's to make: leave out synchronous_commit=, "
                "and set it for the user, as in ALTER ROLE app SET synchronous_commit = on"
            )
        parts = urlsplit(self._dsn)
        where = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host") or "localhost"
        database = unquote(parts.path).strip("/")
        self.name = f"the server at {where}" + (f", database {database}" if database else "")

    async def connect(self, limit: float) -> Connection:
        if self.poll is not None:  # what a pooler gives to the next transaction knows no statement of this one
            return await asyncpg.connect(self._dsn, timeout=limit, statement_cache_size=0)
        # A statement that is prepared anew every five minutes would take another round trip now and then.
        return await asyncpg.connect(self._dsn, timeout=limit, max_cached_statement_lifetime=0)


class ServerOfFunction(_OwnConnections):
    """One that a function of the caller's connects to."""

    synchronous_commit: str | None = None
    poll: float | None = None

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self.schema = SCHEMA
        self.name = "the server of the function"

    async def connect(self, limit: float) -> Connection:
        connection: object = self._connect()
        if inspect.isawaitable(connection):
            async with asyncio.timeout(limit):
                connection = await connection
        if not isinstance(connection, asyncpg.Connection):
            raise EngineError(
                "the function that was given to connect() must return a new connection of asyncpg's, as "
                f"asyncpg.connect() does, not {shown(connection)}"
            )
        return connection


class ServerOfPool:
    """The one of a pool, which stays the caller's."""

    most_connections = 1  # there may be no others

    synchronous_commit: str | None = None
    poll: float | None = None

    def __init__(self, pool: Pool) -> None:
        """Raises TypeError for anything but a pool of asyncpg's."""
        if not isinstance(pool, asyncpg.Pool):
            raise TypeError(
                f"connect() needs a pool of asyncpg's, as create_pool() makes it, or a URL, not {shown(pool)}"
            )
        self._pool = pool
        self.schema = SCHEMA
        self.name = "the server of the pool"

    async def connect(self, limit: float) -> Connection:
        # A little less than the whole limit, so that the pool is what gives up, and not who has called this.
        limit *= _SHARE_OF_POOL
        try:
            connection: Connection = await self._pool.acquire(timeout=limit)
        except TimeoutError:
            most = self._pool.get_max_size()
            if self._pool.get_size() < most or self._pool.get_idle_size():  # there was one, and the server was late
                raise
            raise Unreachable(
                f"the pool has given no connection within {limit:.3g} s: all {most} that it may have are taken. A "
                "session keeps one while it is open: make the pool with a larger max_size, or give connect() a URL"
            ) from None
        return connection

    async def let_go(self, connection: Connection) -> None:
        await self._pool.release(connection)


def settings(server: Server, patience: float) -> Mapping[str, str]:
    """What each connection is set to. patience: seconds that a statement may take, at most."""
    keepalive = str(max(1, round(patience)))
    wanted = {
        "search_path": "pg_catalog",
        "default_transaction_isolation": ISOLATION,
        "default_transaction_read_only": "off",
        # A statement that waits for so long ends there before it is given up here, where it costs the connection.
        "statement_timeout": str(max(1, round(patience * 800))),
        "lock_timeout": "0",
        "transaction_timeout": "0",
        "idle_session_timeout": "0",
        "idle_in_transaction_session_timeout": "0",
        # So the server learns that a machine has vanished. A connection by a socket of Unix has no use for it.
        "tcp_keepalives_idle": keepalive,
        "tcp_keepalives_interval": keepalive,
        "tcp_keepalives_count": "3",
        "jit": "off",
    }
    if server.synchronous_commit is not None:
        wanted["synchronous_commit"] = server.synchronous_commit
    return wanted


def setting_up(server: Server, patience: float) -> str:
    """The statement that sets a connection to what is needed."""
    pairs = ", ".join(f"('{name}', '{value}')" for name, value in settings(server, patience).items())  # without quotes
    return (
        f"SELECT set_config(name, value, false) FROM (VALUES {pairs}) AS wanted (name, value) "
        "WHERE current_setting(name, true) IS NOT NULL"
    )


async def check(connection: Connection, name: str) -> bool:
    """Return whether there is something between us and the server, such as a pooler.

    Raises EngineError if the server cannot be relied on; what asyncpg raises.
    """
    version, is_standby, pid = await connection.fetchrow(
        "SELECT current_setting('server_version_num')::integer, pg_is_in_recovery(), pg_backend_pid()"
    )
    if version < OLDEST * 10_000:
        raise EngineError(f"{name} is PostgreSQL {version // 10_000}; holdfast needs PostgreSQL {OLDEST} or later")
    if is_standby:
        raise Standby(
            f"{name} is a standby, which changes nothing: connect to the primary. If the URL has several hosts, "
            "target_session_attrs=primary after '?' finds it"
        )
    return bool(pid != connection.get_server_pid())


async def check_isolation(connection: Connection, name: str) -> None:
    """Of a connection whose settings are not ours to make. Raises EngineError; what asyncpg raises."""
    (isolation,) = await connection.fetchrow("SELECT current_setting('transaction_isolation')")
    if isolation != ISOLATION:
        raise EngineError(
            f"{name} begins transactions as {isolation.upper()}, and holdfast needs READ COMMITTED: say ALTER ROLE "
            f"app SET default_transaction_isolation = '{ISOLATION}', with the name of this user"
        )


class Standby(EngineError):  # noqa: N818  # see errors.py
    """The server is a standby. It may be promoted."""


def _read(url: str) -> tuple[str, dict[str, str]]:
    """The URL in the form that asyncpg knows, and the options of ours that it has.

    Raises ValueError; no message shows what may be a part of the password.
    """
    scheme, colon, rest = url.partition(":")
    if scheme in ("postgres", "postgresql+asyncpg"):  # libpq's other spelling, and SQLAlchemy's
        scheme = "postgresql"
    parts = urlsplit(f"{scheme}{colon}{rest}")
    try:
        ports = [host.rpartition(":")[2] for host in parts.netloc.rpartition("@")[2].split(",") if ":" in host]
        wrong_port = not all(port.endswith("]") or not port or 0 < int(port) < 65536 for port in ports)
    except ValueError:
        wrong_port = True
    given = parse_qsl(parts.query, keep_blank_values=True)
    if not rest.startswith("//"):
        wrong = "no '//' before the host"
    elif parts.fragment:
        wrong = "a '#', which is not allowed"
    elif wrong_port:
        wrong = "a wrong port, after the host and ':'"
    elif "/" in parts.path.strip("/"):
        wrong = "more than the name of a database after the host"
    elif any(key == "ssl" for key, _ in given):
        wrong = "SQLAlchemy's option 'ssl', which is 'sslmode' here, as in ?sslmode=require"
    else:
        ours = {key: value for key, value in given if key in ("schema", "synchronous_commit", "poll")}
        query = urlencode([(key, value) for key, value in given if key not in ours])
        return parts._replace(query=query).geturl().replace("postgresql:///?", "postgresql://?"), ours
    raise ValueError(f"the URL has {wrong}; write {_FORM}, and %23, %2F and %3F for '#', '/' and '?' in a password")


def _schema(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a schema is named by at most 40 small letters, digits and '_', without a digit in front, not "
            f"{shown(name)}"
        )
    return name


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not SHORTEST_POLL <= seconds <= LONGEST_POLL:
        raise ValueError(
            f"poll= is a number of seconds between two looks, {SHORTEST_POLL:g} to {LONGEST_POLL:g}, not {shown(text)}"
        )
    return seconds


def _durable(word: str | None) -> str | None:
    if word is not None and word not in DURABLE:
        raise ValueError(f"synchronous_commit is one of {', '.join(DURABLE)}, not {shown(word)}")
    return word
