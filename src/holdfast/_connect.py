"""`holdfast.connect()`, which loads the cluster tier when it is first called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._refusals import refusing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncpg import Connection, Pool
    from redis.asyncio import Redis

    from .cluster.session import Session


@refusing
def connect(
    url: str | Redis | Pool | Callable[[], Awaitable[Connection]] | None = None,
    *,
    ttl: float | None = None,
    namespace: str = "default",
    name: str | None = None,
    reopen: bool = False,
    loop_may_block: float | None = None,
) -> Session:
    """Return a session, whose primitives are shared with other processes. Open it with `async with`.

    Code without an event loop writes `with holdfast.connect().sync as session:`.

    url: where the shared state is. `sqlite:///DIRECTORY`, with an absolute path, is for the processes of this machine;
        the directory is made if it is missing. `memory:` is for this process alone. `redis://`, `rediss://` and
        `unix://` are for a Redis or Valkey server, as redis-py reads them; `postgresql://` is for a PostgreSQL
        database, as asyncpg reads it; `etcd://HOST:PORT,HOST:PORT/`, and `etcds://` for TLS, are for the members of an
        etcd. A client of `redis.asyncio` or a pool of asyncpg's may be given instead; it remains the caller's to close.
        So may a function without arguments that returns a new connection of asyncpg's when it is awaited; the session
        closes those. By default the URL in HOLDFAST_URL, else a directory that belongs to the user.
    ttl: the lease, in seconds, 0.1 to 1e9. A session that cannot be renewed for so long, because its process is stopped
        or its event loop is blocked, is dead, and what it held goes to the next in line. By default 10 on a server. On
        one machine there is none by default: a session lives as long as its process, and a stopped holder keeps what
        it holds.
    namespace: sessions share primitives of the same name only within a namespace.
    name: the name of the session in reports; by default host and pid.
    reopen: whether a session that was lost opens again when it, or a primitive of it, is next used. What it held is
        lost all the same, and that is reported once. Through `sync`, such a session also opens by itself when it is
        first used, in each forked child anew.
    loop_may_block: seconds for which the session's event loop may be blocked, as by a call that does not await, and the
        session is renewed all the same, by a thread of its own. `math.inf`: for as long as the process lives. Without
        it, a session with a ttl is lost if its loop is blocked for longer than that. It takes a URL, and not a client.
        Without a ttl there is nothing to renew, and this changes nothing.

    Raises ValueError for a URL that is empty or that no engine knows, a ttl out of range, a `loop_may_block` of 0 or
    less or with a client, or a namespace or name that is no text of 1 to 200 characters; TypeError for a url that is
    none of these; EngineError for a directory on a system that is not POSIX; ImportError for a server without its
    extra, `redis`, `postgres` or `etcd`.
    Opening the session raises EngineError if the engine cannot be used.

    Cancellation: connect() does not wait. If opening the session is cancelled, the session is not open, and may be
    opened again. If closing it is cancelled, it ends all the same; see `Session.close()`.
    """
    from .cluster.connecting import connect as connect_session

    return connect_session(url, ttl, namespace, name, reopen, loop_may_block)
