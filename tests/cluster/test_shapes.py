"""A record in which something has another shape than holdfast gives it was not written by holdfast."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.cluster import FormatError
from holdfast.cluster.barrier_record import BarrierRecord, Place
from holdfast.cluster.event_record import EventRecord
from holdfast.cluster.inspection import decode_any
from holdfast.cluster.lock_record import Holder, LockRecord
from holdfast.cluster.record import Answer, Record, Run, decode, encode
from holdfast.cluster.semaphore_record import SemaphoreRecord

from .test_lock import connect, run, url

__all__ = ["url"]  # the fixture

LOCK, EVENT, BARRIER = LockRecord(), EventRecord(), BarrierRecord(parties=2)
SEMAPHORE = SemaphoreRecord(value=2, free=2)
NAN, INFINITY = float("nan"), float("inf")
WRONG: list[tuple[Record, str, Any]] = [
    *((LOCK, "made_by", wrong) for wrong in (None, 7, [])),
    *((LOCK, "answers", wrong) for wrong in ([], {"a": 1}, {"a": [1]}, {"a": ["1", []]}, {"a": [-1, []]})),
    *((LOCK, "answers", wrong) for wrong in ({"a": [1, ["1"]]}, {"a": [1, [True]]}, {"a": [1, {}]}, {"a\0b": [1, []]})),
    *((LOCK, "line", wrong) for wrong in (None, {}, [1], [["a", 1]], [["a", 1, 2, 3]], [[1, 1, 2]], [["a", "1", 2]])),
    *((LOCK, "line", wrong) for wrong in ([["a", 2, 2]], [["a", -1, 2]], [["a", 1, 2.0]], [["\u00e4", 1, 2]])),
    *((LOCK, "changed", wrong) for wrong in (None, "1", True, -1, NAN, INFINITY, 1e300)),
    *((LOCK, "tokens", wrong) for wrong in ("a", None, 1.5, -1, True)),
    *((LOCK, "holder", wrong) for wrong in ("a", [], ["a", 1], ["a", 1, "2", 0], [1, 1, 1, 0], ["a", 1, 1, INFINITY])),
    *((LOCK, "conditions", wrong) for wrong in ([], {"c": 1}, {"c": [["a", 1, "2"]]})),
    *((SEMAPHORE, "free", wrong) for wrong in ("a", None, 1.0, -1)),
    *((SEMAPHORE, "permits", wrong) for wrong in ([], {"a": "1"}, {"a": -1}, {"a": None})),
    *((EVENT, "is_set", wrong) for wrong in (0, "yes", None, [])),
    *((BARRIER, "broken", wrong) for wrong in (1, "no", None)),
    *((BARRIER, "places", wrong) for wrong in ({}, [1], [["a", 1]], [["a", 1, "1"]], [["a", None, 1]])),
]


def stored(record: Record, **changes: Any) -> str:
    return json.dumps(json.loads(encode(record)) | changes)


@pytest.mark.parametrize(
    "record",
    [
        LockRecord(
            made_by="\xe4",
            answers={"a": Answer(0, ()), "b": Answer(2, (1, 0, -1))},
            line=(Run("b", 0, 1), Run("c", 3, 9)),
            changed=1764118000.5,
            tokens=7,
            holder=Holder("a", 1, 7, 1764118000),
            conditions={"\xe4": (Run("b", 1, 2),)},
        ),
        SemaphoreRecord(value=0, free=0, permits={"a": 1, "b": 20}, line=(Run("c", 1, 2),)),
        EventRecord(is_set=True),
        BarrierRecord(parties=2, broken=True, places=(Place("a", 1, 1), Place("b", 1, 2))),
    ],
)
def test_a_record_fits(record):
    assert decode_any(encode(record), "x") == record
    joined = decode(f'{encode(record)}\n["d",3,[[4,6],[7,8]]]\n["e",1,[]]', "x", record)
    assert joined.line == (*record.line, Run("d", 4, 6), Run("d", 7, 8))


@pytest.mark.parametrize(("record", "field", "wrong"), WRONG)
def test_a_record_with_something_else_in_a_field_is_refused(record, field, wrong):
    text = stored(record, **{field: wrong})
    for read in (lambda: decode(text, "x", record), lambda: decode_any(text, "x")):
        with pytest.raises(FormatError, match=r"the record of 'x' is not one of holdfast's.*Nothing was changed"):
            read()


@pytest.mark.parametrize("record", [LOCK, SEMAPHORE, EVENT, BARRIER])
def test_a_record_that_lacks_a_field_is_refused(record):
    assert decode(encode(record), "x", record) == record
    document = json.loads(encode(record))
    for field in document.keys() - {"format", "kind"}:
        text = json.dumps({name: value for name, value in document.items() if name != field})
        with pytest.raises(FormatError, match="Nothing was changed"):
            decode(text, "x", record)


@pytest.mark.parametrize(
    "line",
    [
        *("", "x", "[]", "7", "[" * 100_000),
        *('["a","1",[[1,2]]]', '["a",1,[[2,1]]]', '["a",1,[1]]', '["a",1,{}]', "[7,1,[]]"),
    ],
)
def test_something_else_behind_a_record_is_refused(line):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode(f"{encode(LOCK)}\n{line}", "x", LOCK)


@pytest.mark.parametrize(
    "kind", ["lock of 3", "event of 1", "semaphore of 02", "bounded semaphores of 2", "barrier of 1_0"]
)
def test_a_kind_that_is_only_nearly_one_is_refused(kind):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode_any(stored(LOCK, kind=kind), "x")


def test_what_is_nested_too_deeply_is_refused():
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode_any("[" * 100_000, "x")


@pytest.mark.parametrize(
    ("record", "field", "use"),
    [
        (LOCK, "tokens", lambda session: session.lock("x").acquire()),
        (LOCK, "tokens", lambda session: session.lock("x").try_acquire()),
        (LOCK, "conditions", lambda session: session.condition("x").acquire()),
        (SEMAPHORE, "free", lambda session: session.semaphore("x", 2).acquire()),
        (EVENT, "is_set", lambda session: session.event("x").wait()),
        (EVENT, "is_set", lambda session: session.event("x").set()),
        (BARRIER, "places", lambda session: session.barrier("x", 2).wait()),
        (LOCK, "kind", lambda session: session.inspect("x")),
    ],
)
def test_the_session_goes_on_with_other_names(url, record, field, use):
    async def main():
        text = stored(record, **{field: "lock of 3" if field == "kind" else "a"})
        async with connect(url) as session, session.lock("mine") as grant:
            await session._engine.apply("x", lambda _: (text, None))
            for _ in range(2):
                with pytest.raises(FormatError, match="Nothing was changed"):
                    await use(session)
            assert await session.tidy(0) == 0
            assert await session._engine.read("x") == text
            grant.check()
            async with session.lock("another"):
                pass

    run(main)


def test_a_token_that_is_too_high_for_an_engine_harms_nobody(url):
    async def main():
        async with connect(url) as session:
            await session._engine.apply("x", lambda _: (stored(LOCK, tokens=10**30), None))
            assert await session.tidy(0) == 1
            for _ in range(3):
                async with session.lock("x"):
                    pass

    run(main)
