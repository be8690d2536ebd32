"""A record in which something has another shape than holdfast gives it was not written by holdfast."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.cluster import FormatError
from holdfast.cluster.records.additions import added
from holdfast.cluster.records.answers import answer_to
from holdfast.cluster.records.any_kind import KINDS, decode_any
from holdfast.cluster.records.barrier import BarrierRecord, Place
from holdfast.cluster.records.closing import Close
from holdfast.cluster.records.event import EventRecord
from holdfast.cluster.records.json_text import FORMAT
from holdfast.cluster.records.lock import Acquire, Holder, LockRecord, Room
from holdfast.cluster.records.rate_limiter import RateLimiterRecord
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.run import Run
from holdfast.cluster.records.rw_lock import RWLockRecord, Writer
from holdfast.cluster.records.semaphore import Refused, SemaphoreRecord
from holdfast.cluster.records.step import Batch, step
from holdfast.cluster.records.stored import KNOWN, decode, encode

from .test_lock import connect, run, url

__all__ = ["url"]  # the fixture

LOCK, EVENT, BARRIER = LockRecord(), EventRecord(), BarrierRecord(parties=2)
RW_LOCK = RWLockRecord()
RATE_LIMITER = RateLimiterRecord(rate=3, per=1.5, burst=4)
SEMAPHORE = SemaphoreRecord(value=2, free=2)
NAN, INFINITY = float("nan"), float("inf")
WRONG: list[tuple[Record, str, Any]] = [
    *((LOCK, "by", wrong) for wrong in (None, 7, [])),
    *((LOCK, "changed", wrong) for wrong in (None, "1", True, -1, NAN, INFINITY, 1e300)),
    *((LOCK, "tokens", wrong) for wrong in ("a", None, 1.5, -1, True)),
    *((LOCK, "holder", wrong) for wrong in ("a", [], ["a", "1"], ["a", 1, 2], ["a", 1, "2", 0, 1], [1, 1, 1, 0, 1])),
    *(
        (LOCK, "holder", wrong)
        for wrong in (["a", 1, 1, INFINITY, 1], ["a", 1, 1, 0], *(["a", 1, 1, 0, n] for n in (0, -1, "1", 10**9)))
    ),
    *((SEMAPHORE, "free", wrong) for wrong in ("a", None, 1.0, True)),
    *((SEMAPHORE, "values", wrong) for wrong in (None, 1, ["1"], [-1])),
    *((SEMAPHORE, "permits", wrong) for wrong in ([], {"a": "1"}, {"a": -1}, {"a": None})),
    *((RW_LOCK, "tokens", wrong) for wrong in ("a", None, 1.5, -1, True)),
    *((RW_LOCK, "writer", wrong) for wrong in ("a", [], ["a", 1], ["a", "1", 0, 1], [1, 1, 0, 1], ["a", 1, 0, NAN])),
    *((RW_LOCK, "readers", wrong) for wrong in ([], None, {"a": 0}, {"a": "1"}, {"a": -1}, {"\xe4": 1})),
    *((RATE_LIMITER, "full_at", wrong) for wrong in ("a", None, 1.5, -1, True)),
    *((EVENT, "is_set", wrong) for wrong in (0, "yes", None, [])),
    *((BARRIER, "broken", wrong) for wrong in (1, "no", None)),
    *((BARRIER, "places", wrong) for wrong in ({}, [1], [["a", 1]], [["a", 1, "1"]], [["a", None, 1]])),
]


def test_the_kinds_that_are_known_are_those_that_have_a_class():
    assert {kind.KIND for kind in KINDS} <= {*KNOWN}
    for word in KNOWN:
        possible = word, f"{word} of 3", f"{word} of 3 per 1.5 s, 4 at most"
        [initial] = [made for kind in KINDS for text in possible if (made := kind.of_kind(text))]
        assert decode_any(encode(initial), "x") == initial
        assert initial.kind in possible


def stored(record: Record, **changes: Any) -> str:
    """The record, with something else in some of its fields, or in its head."""
    head, *rows = encode(record).split("\n")
    document, state = json.loads(head), json.loads(rows[-1])
    names = ["changed", *record.SHAPES]
    for name, value in changes.items():
        if name in names:
            state[2 + names.index(name)] = value
        else:
            document[name] = value
    return "\n".join([json.dumps(document), *rows[:-1], "\t" + json.dumps(state)])


@pytest.mark.parametrize(
    "record",
    [
        LockRecord(
            made_by="\xe4",
            answers={"a": answer_to(0, ()), "b": answer_to(2, (1, 0, -1, -1))},
            line=(Run("b", (0, 1), 1764118000.5), Run("c", (3, 9, 11, 12))),
            changed=1764118000.5,
            tokens=7,
            holder=Holder("a", 1, 7, 1764118000),
            rooms={each: Room.of(each, (Run("b", (1, 2)),)) for each in ("\xe4", "\n", "c")},
        ),
        SemaphoreRecord(value=0, free=-21, values=(30, 7), permits={"a": 1, "b": 20}, line=(Run("c", (1, 2)),)),
        RWLockRecord(tokens=7, readers={"a": 2, "b": 1}, line=(Run("b", (3, 4), 1.0, 2), Run("a", (5, 7), 2.0))),
        RWLockRecord(tokens=300_007, writer=Writer("a", 2, 300_005, 17.5), line=(Run("a", (3, 4), 1.0, 2),)),
        RATE_LIMITER.but(full_at=1764118000_000000, line=(Run("b", (3, 4), 1.0, 4), Run("a", (5, 7), 2.0))),
        EventRecord(is_set=True),
        BarrierRecord(parties=2, broken=True, places=(Place("a", 1, 1), Place("b", 1, 2))),
    ],
)
def test_a_record_fits(record):
    assert decode_any(encode(record), "x") == record
    assert decode(encode(record), "x", record, known=record) == record


@pytest.mark.parametrize(
    "record",
    [LockRecord(tokens=7), LockRecord(tokens=7, holder=Holder('"\\', 1, 2**80, 0.001, 3)), SEMAPHORE, EVENT, BARRIER],
)
@pytest.mark.parametrize("changed", [0.0, 1764118000, 1764118000.123])
def test_what_is_written_by_hand_is_what_the_standard_library_would_write(record, changed):
    record = record.but(made_by='"\xe4\n', changed=changed)
    base = {"from": record.base()} if record.base() else {}
    head = {"format": FORMAT, "kind": record.kind, "by": record.made_by, **base}
    state = [0, 0, record.changed, *record.state().values()]
    rows = [json.dumps(each, separators=(",", ":")) for each in (head, state)]
    assert encode(record) == "\n\t".join(rows)


@pytest.mark.parametrize(("record", "field", "wrong"), WRONG)
def test_a_record_with_something_else_in_a_field_is_refused(record, field, wrong):
    text = stored(record, **{field: wrong})
    for read in (lambda: decode(text, "x", record), lambda: decode_any(text, "x")):
        with pytest.raises(FormatError, match=r"the record of 'x' is not one of holdfast's.*Nothing was changed"):
            read()


@pytest.mark.parametrize(
    "text", [" {head}", "{head} ", "{head}\r\n", "{head}{head}", "{head},\n", "\n{head}", "{broken}"]
)
def test_a_head_with_something_around_it_is_refused(text):
    head, *rows = encode(LOCK).split("\n")
    text = "\n".join([text.format(head=head, broken=head.replace('"kind"', '\n"kind"')), *rows])
    for read in (lambda: decode(text, "x", LOCK), lambda: decode_any(text, "x")):
        with pytest.raises(FormatError, match="Nothing was changed"):
            read()


@pytest.mark.parametrize("record", [LOCK, RW_LOCK, SEMAPHORE, RATE_LIMITER, EVENT, BARRIER])
def test_a_record_that_lacks_a_field_is_refused(record):
    assert decode(encode(record), "x", record) == record
    head, *rows = encode(record).split("\n")
    fields = json.loads(rows[-1])
    for wrong in (*(fields[:index] + fields[index + 1 :] for index in range(len(fields))), [*fields, 1], [], {}, 7):
        with pytest.raises(FormatError, match="Nothing was changed"):
            decode("\n".join([head, *rows[:-1], "\t" + json.dumps(wrong)]), "x", record)
    for wrong in (head, "\n".join([head, *rows[:-1]]), "\n".join([head, *rows[:-1], "\t["])):
        with pytest.raises(FormatError, match="Nothing was changed"):
            decode(wrong, "x", record)


LINE = LockRecord(
    tokens=1,
    holder=Holder("a", 1, 1),
    line=(Run("b", (1, 3, 4, 5), 1764118000.5), Run("c", (7, 8), 0.0)),
    answers={"b": answer_to(3, (0, 0, 1)), "c": answer_to(0, ())},
)


@pytest.mark.parametrize(
    "row",
    [
        *("", "b", "b\t0.0", "b\t0.0\t1\t2", "b\t0.0\t1\t2\t3", "b\t1\t2", "b\tx\t1\t2", "b\t0.0\t1\tx", "b 0.0 1 2"),
        *("b\tnan\t1\t2", "b\tinf\t1\t2", "b\t-1.0\t1\t2", "b\t0\t1\t2", "b\t1e3\t1\t2"),
        *(
            "b\t0.0\t2\t2",
            "b\t0.0\t-1\t2",
            "b\t0.0\t1\t3\t2\t4",
            "b\t0.0\t1\t2\t2\t4",
            "b\t0.0\t01\t2",
            "b\t0.0\t1_0\t12",
        ),
        *("\u00e4\t0.0\t1\t2", "b\0\t0.0\t1\t2", "b\t0.0\t1\t" + "9" * 5000, '["b",[1,2],0]'),
    ],
)
def test_another_row_in_the_line_is_refused(row):
    *rest, _, state = encode(LINE).split("\n")
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode("\n".join([*rest, row, state]), "x", LOCK)


@pytest.mark.parametrize(
    "row",
    [
        *("", "b", "b\tx", "b\t-1", "b\t1\t1\t1", "b\t1\t1\t0", "b\t1\t1\t1000000000", "b\t1\t1\tx", "b\t1\t+1\t1"),
        *("\u00e4\t1", "b\0\t1", "b\t01", "b\t1\t1.0\t1", '["b",1]'),
    ],
)
def test_another_row_in_the_answers_is_refused(row):
    head, _, *rest = encode(LINE).split("\n")
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode("\n".join([head, row, *rest]), "x", LOCK)


@pytest.mark.parametrize(
    "how_many", [[None, None], [2], [2, 2, 0], [2, 3], [3, 2], [1, 1], [-1, 5], [2.0, 2], [True, 3]]
)
def test_another_number_of_rows_is_refused(how_many):
    assert decode(encode(LINE), "x", LOCK) == LINE
    *rest, state = encode(LINE).split("\n")
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode("\n".join([*rest, "\t" + json.dumps([*how_many, *json.loads(state)[2:]])]), "x", LOCK)


NOW = 1764118000_000000
HELD = LockRecord(tokens=1, holder=Holder("a", 1, 1))
JOINING = Batch("d", 3, (Acquire(4), Acquire(5), Acquire(7)))


def test_what_is_added_to_a_record_fits():
    assert added(HELD, JOINING) == "\t3\ta:4,6\ta:7"
    record = decode(f"{encode(HELD)}\n{NOW} d{added(HELD, JOINING)}", "x", LOCK)
    assert record.line == (Run("d", (4, 6, 7, 8), NOW / 1_000_000),)


@pytest.mark.parametrize(
    "line",
    [
        *("", "d", "\u00e4\t", "d\tx", "d\t-1", "d\t01", "\t1\ta:1", "[" * 100_000),
        *("d\t1\t", "d\t1\ta", "d\t1\ta:", "d\t1\ta:x", "d\t1\ta:2,1", "d\t1\ta:1,2,3", "d\t1\ta:[1]", "d\t1\ta:true"),
        *("d\t1\trelease:1", "d\t1\ta:1,1e3", "d\t1\ta:1,100000000002", "d\t1\ta:1\t", "d\t1\ta:" + "[" * 100_000),
    ],
)
@pytest.mark.parametrize("when", [f"{NOW} ", "", "1.5 ", "-1 ", "9" * 30 + " ", "x "])
def test_something_else_behind_a_record_is_refused(when, line):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode(f"{encode(HELD)}\n{when}{line}", "x", LOCK)


@pytest.mark.parametrize("when", ["", "1.5 ", "-1 ", "9" * 30 + " ", "x "])
def test_what_was_added_at_no_time_is_refused(when):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode(f"{encode(HELD)}\n{when}d{added(HELD, JOINING)}", "x", LOCK)


@pytest.mark.parametrize(
    ("record", "row"),
    [
        *((SEMAPHORE, row) for row in ("resize:", "resize:-1", 'resize:"3"', "resize:1,2", "set:")),
        *((SEMAPHORE, row) for row in ("acquire many:1", "acquire many:1,0", "acquire many:-1,2", "give back many:")),
        *((RATE_LIMITER, row) for row in ("take:1", "take:1,0", "put back:1,1,-1", "put back:1,1", "claim:")),
        *((BARRIER, row) for row in ("trip:", 'trip:"a"', 'trip:["\\u00e4"]', "abort:1", "arrive:x")),
        *((EVENT, row) for row in ("set:1", "wait:2,2", "wait:", "withdraw:true,2", "release:")),
    ],
)
def test_an_operation_of_another_shape_behind_a_record_is_refused(record, row):
    decode(f"{encode(record)}\n{NOW} a\t1", "x", record)
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode(f"{encode(record)}\n{NOW} a\t1\t{row}", "x", record)


MANY = SemaphoreRecord(value=3, free=1, permits={"a": 2}, line=(Run("b", (1, 3), 1.0, 2),), bounded=True)


def test_several_permits_at_once_fit():
    for record in (MANY, MANY.but(refused=(Refused("a", 3, 2), Refused("b", 7, 2))), MANY.but(line=LINE.line)):
        assert decode_any(encode(record), "x") == record
    assert "b\t1.0\t2\t1\t3\n" in encode(MANY)


@pytest.mark.parametrize(
    "row", ["b\t1.0\t0\t1\t3", "b\t1.0\t-2\t1\t3", "b\t1.0\t1\t1\t3", "b\t1.0\t2\t3\t1", "b\t1.0\t2\t1\t3\t5"]
)
def test_another_row_of_several_permits_is_refused(row):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode_any(encode(MANY).replace("b\t1.0\t2\t1\t3", row), "x")


def test_only_a_semaphore_has_tickets_that_ask_for_several():
    """A barrier would look for a place that is not there."""
    for record in (LOCK, EVENT, BARRIER, RW_LOCK.but(line=(Run("b", (1, 3), 1.0, 3),))):
        with pytest.raises(FormatError, match="Nothing was changed"):
            decode_any(encode(record if record.line else record.but(line=MANY.line)), "x")


@pytest.mark.parametrize(
    "row",
    [
        '{"refused":[]}',
        '{"refused":[["a",3]]}',
        '{"refused":[["a",3,-1]]}',
        '{"refused":[["a",3,1]],"more":1}',
        '{"refused":7}',
    ],
)
@pytest.mark.parametrize("record", [MANY, EVENT])
def test_another_refusal_is_refused(record, row):
    for text in (f"{encode(record)}\n{row}", f'{encode(record)}\n{row}\n{{"refused":[["a",3,1]]}}'):
        with pytest.raises(FormatError, match="Nothing was changed"):
            decode_any(text, "x")


@pytest.mark.parametrize("row", ["{}", '{"c":1}', '{"c":[]}', '{"c":[["a",[1,"2"],0]]}', '{"c":', "{" * 100_000])
@pytest.mark.parametrize("record", [HELD, EVENT])
def test_another_part_of_a_record_is_refused(record, row):
    with pytest.raises(FormatError, match="Nothing was changed"):
        decode(f"{encode(record)}\n{row}", "x", record)


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
        (LOCK, "tokens", lambda session: session.condition("x").acquire()),
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
            await session.engine.apply("x", lambda _: (text, None))
            for _ in range(2):
                with pytest.raises(FormatError, match="Nothing was changed"):
                    await use(session)
            assert await session.tidy(0) == 0
            assert await session.engine.read("x") == text
            grant.check()
            async with session.lock("another"):
                pass

    run(main)


def test_a_token_that_is_too_high_for_an_engine_harms_nobody(url):
    async def main():
        async with connect(url) as session:
            await session.engine.apply("x", lambda _: (stored(LOCK, tokens=10**30), None))
            assert await session.tidy(0) == 1
            for _ in range(3):
                async with session.lock("x"):
                    pass

    run(main)


CLOSED = step(LOCK, Batch("a", 1, (Acquire(1), Acquire(2), Close("", "why"), Close("closed", None))))


@pytest.mark.parametrize(
    "record", [CLOSED.record, CLOSED.record.but(closings={}), CLOSED.record.but(turned_away=())], ids=repr
)
def test_what_is_closed_is_stored_as_it_is(record):
    assert record != LOCK
    assert decode_any(encode(record), "x") == record
    with_rooms = record.but(rooms={"closed": Room.of("closed", (Run("a", (3, 4), 1.5),))})
    assert decode_any(encode(with_rooms), "x") == with_rooms, "its row looks like that of a condition of this name"


@pytest.mark.parametrize(
    "wrong",
    [
        {"is": {}},
        {"is": [], "away": []},
        {"is": {}, "away": {}},
        {"is": {"": ["why", "a"]}, "away": []},
        {"is": {"": [7, "a", 1.5]}, "away": []},
        {"is": {"": ["why", None, 1.5]}, "away": []},
        {"is": {"": ["why", "a", NAN]}, "away": []},
        {"is": {}, "away": [["", "why", []]]},
        {"is": {}, "away": [["", 7, [["a", [1, 2]]]]]},
        {"is": {}, "away": [["", "why", [["a", [2, 1]]]]]},
        {"is": {}, "away": [["", "why", [["a", 1, 2]]]]},
        {"is": {}, "away": [], "more": 1},
    ],
    ids=repr,
)
def test_what_is_closed_has_its_shape(wrong):
    row = json.dumps({"closed": wrong}, separators=(",", ":"))
    for text in (f"{encode(LOCK)}\n{row}", f"{encode(EVENT)}\n{row}", f"{encode(CLOSED.record)}\n{row}"):
        with pytest.raises(FormatError, match="not one of holdfast's"):
            decode_any(text, "x")
