"""The lease of a session: etcd keeps it for its ttl, and deletes what goes with it when it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.cluster.errors import EngineError

from .link import Link

_GRANT, _KEEP_ALIVE, _REVOKE = "/v3/lease/grant", "/v3/lease/keepalive", "/v3/lease/revoke"


async def grant(link: Link, lease: int, ttl: int) -> float:
    """Begin a lease, and return its ttl in seconds: etcd makes it longer if it is too short. Raises EngineError."""
    answer = await link.ask(_GRANT, {"ID": str(lease), "TTL": str(ttl)})
    granted = _ttl(answer)
    if granted < ttl:
        raise EngineError(f"{link.server} has granted a lease of {granted} s in place of {ttl} s")
    return float(granted)


async def alive_again(link: Link) -> bool:
    """Renew the lease; return whether etcd says that it was there. Raises EngineError.

    That answer alone is not believed: some versions of etcd gave it for a lease that had been revoked. So whoever asks
    has to look at the session's own key as well, afterwards.
    """
    answer = await link.ask(_KEEP_ALIVE, {"ID": str(link.lease)}, is_urgent=True)
    return _ttl(answer.get("result", {})) > 0


async def revoke(link: Link) -> None:
    """End the lease. Raises EngineError."""
    await link.ask(_REVOKE, {"ID": str(link.lease)})


def _ttl(answer: Mapping[str, Any]) -> int:
    return int(answer.get("TTL", 0))
