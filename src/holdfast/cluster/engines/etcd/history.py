"""Whether a server still has what it had: a restored backup, or a wiped disk, takes its data back.

etcd does not tell. After `etcdutl snapshot restore`, and after a wipe, the ids of the cluster and of its members and
the term may be what they were, and revisions that sessions remember are given to other texts. So each namespace has an
incarnation, a random word, in its state. Each change compares the state. Whoever finds that the data went back draws
another incarnation, and raises the floor above every token that may have been given out, by the server's clock.

Data goes back only while all members are down. So a session looks for it on each new connection, before it asks for
anything else there. It went back if

 - there is no state;
 - the revision of the store is lower than one that this session has seen;
 - the log's index less the revision is below the mark, which is that difference at an earlier time. The difference
   never falls, as each revision takes an entry of the log. A restored server begins a new log and keeps the revision.

The last one needs no memory of the session's own, so one that begins after a restoration finds it as well. What nobody
can find is a copy of a member's whole data directory, log included, that was put in its place: see docs/deployment.md.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import FormatError

from .keys import Keys
from .knowledge import Knowledge, State
from .server import check_version
from .transactions import NOTHING, Kept, get, in_range, outcome, put, revision_is, revision_of, transaction

Ask = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Asks one member, on one connection."""
TXN = "/v3/kv/txn"
RANGE = "/v3/kv/range"
_STATUS = "/v3/maintenance/status"
_SECOND = 1.1
"""Seconds within which the date in a member's answers has changed, and the time is known more exactly."""
_CERTAIN = 0.1
"""Seconds that are exact enough: no server is restored twice within them."""


async def find(ask: Ask, keys: Keys, known: Knowledge, name: str) -> None:
    """Look whether the data went back, and learn the incarnation; draw another one if it did.

    name: of the server, for messages. Raises what `ask` raises; EngineError if the server cannot be used.
    """
    seen = known.revision
    read = await ask(RANGE, get(keys.state)["requestRange"])
    status = await ask(_STATUS, {})
    check_version(str(status.get("version", "0")), name)
    kept = (in_range(read) or [NOTHING])[0]
    revision = revision_of(read)
    state = _decoded(kept, keys)
    if state is not None:
        index = int(status.get("raftAppliedIndex", 0))
        is_known = state.incarnation == known.state.incarnation
        went_back = (is_known and revision < seen) or (
            _member(status) == _member(read) and index - revision < state.mark
        )
        if not went_back:
            known.begin(state, revision)
            return
    await _begin_anew(ask, keys, known, kept, status)


async def _begin_anew(ask: Ask, keys: Keys, known: Knowledge, kept: Kept, status: Mapping[str, Any]) -> None:
    """Replace the state that was found, unless somebody else has done so meanwhile."""
    before = _decoded(kept, keys)
    if before is not None:  # it may have gone back a moment ago as well, and floors are to rise
        with_patience = monotonic() + _SECOND
        while known.clock.uncertainty > _CERTAIN and monotonic() < with_patience:
            await asyncio.sleep(_CERTAIN / 4)
            await ask(_STATUS, {})
    read = await ask(RANGE, get(keys.state)["requestRange"])
    mark = int(status.get("raftAppliedIndex", 0)) - revision_of(read)  # it is not more than the difference now
    floor = max(math.ceil(known.clock.latest() * 1_000_000), 0 if before is None else before.floor)
    new = State.new(floor, mark)
    made = outcome(
        await ask(
            TXN,
            transaction([revision_is(keys.state, kept.revision)], [put(keys.state, new.encode())], [get(keys.state)]),
        )
    )
    state = new if made.succeeded else _decoded(made.one(0), keys)
    if state is None:  # somebody has removed it again
        state = new._replace(incarnation="")
    known.begin(state, made.revision)


def _decoded(kept: Kept, keys: Keys) -> State | None:
    if not kept.revision:
        return None
    state = State.decode(kept.value)
    if state is None:
        raise FormatError(f"what etcd keeps under {keys.state.decode()!r} is not holdfast's. Nothing was changed")
    return state


def _member(answer: Mapping[str, Any]) -> str:
    return str(answer.get("header", {}).get("member_id", ""))
