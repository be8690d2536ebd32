"""The door to the cluster tier, which is loaded when somebody goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from .cluster.session import Session


def connect(
    url: str | Redis | None = None, *, ttl: float | None = None, namespace: str = "default", name: str | None = None
) -> Session:
    """Return a session, to be opened with `async with`, in which primitives are shared with other processes.

    url: where the state is: `sqlite:///DIRECTORY` for the processes of this machine (the directory is made if it is
        missing; the path is absolute), `memory:` for this process alone, `redis://`, `rediss://` or `unix://` for a
        server of Redis or Valkey, as redis-py reads them; or a client of `redis.asyncio`, which stays the caller's. By
        default what HOLDFAST_URL says, else a directory of the user's.
    ttl: seconds, 0.1 to 1e9, after which the session is dead if it could not be renewed, as when its process is
        stopped or its event loop is blocked: what it holds then goes to the next. By default the engine's: for those
        of one machine none, so a session lives as long as its process, and a stopped holder keeps what it has; on a
        server 10.
    namespace: sessions share what they name only within a namespace.
    name: what the session is called in reports; by default host and pid.

    Raises ValueError for a URL that no engine knows, or a ttl that is none; EngineError for a directory where the
    system is not POSIX.
    Opening raises EngineError if the engine cannot be used.
    """
    from .cluster.session import connect as connect_session

    return connect_session(url, ttl, namespace, name)
