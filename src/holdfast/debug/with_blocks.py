"""Which `with` and `async with` blocks a frame is in, as its code and its place in it tell.

CPython has a table in each code object: where an exception goes from each instruction. Inside a block it goes to the
block's handler, which begins with two instructions that nothing else has. From there it goes to the handler of the
block around it, and so on.
"""

from __future__ import annotations

import dis
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

_HANDLER = dis.opmap.get("PUSH_EXC_INFO"), dis.opmap.get("WITH_EXCEPT_START")


_BY_ENTER, _BY_EXIT = 1, 2
"""What the number of GET_AWAITABLE says of where the awaited object comes from."""


def _numbers_of(*names: str) -> frozenset[int]:
    return frozenset(dis.opmap[name] for name in names if name in dis.opmap)


_GET_AWAITABLE = dis.opmap["GET_AWAITABLE"]
_CACHE = _numbers_of("CACHE")
_CALLING = _numbers_of("CACHE", "CALL")
_AWAITING = _numbers_of(
    "CACHE", "RESUME", "YIELD_VALUE", "SEND", "LOAD_CONST", "LOAD_COMMON_CONSTANT", "PUSH_NULL", "EXTENDED_ARG", "NOP"
)
"""The instructions of an `await` after GET_AWAITABLE, up to where it is suspended."""


class Range(NamedTuple):
    """A row of the table: from which instructions an exception goes to which one. All are offsets in bytes."""

    start: int
    end: int
    target: int


class Block(NamedTuple):
    """A block that a frame is in."""

    line: int
    start: int
    """The offset of the first instruction inside it."""


def blocks(code: types.CodeType, offset: int) -> list[Block]:
    """The blocks around an instruction, from the outside in. The block that it is just entering is not among them."""
    table = _table(code)
    found: list[Block] = []
    seen: set[int] = set()
    place = offset
    while (row := _row(table, place)) is not None and row.target not in seen:
        place = row.target
        seen.add(place)
        if (code.co_code[place], code.co_code[place + 2]) == _HANDLER:
            start = min(each.start for each in table if each.target == place)
            found.append(Block(_lines(code).get(place) or code.co_firstlineno, start))
    found.reverse()
    return found


def more_exits(code: types.CodeType, offset: int) -> int:
    """How many more exits than those of blocks() a frame has on its stack, that is suspended there: 0 or 1.

    It has that of a block which it is just entering, and that of one which it leaves by an exception.
    """
    awaited, before = _awaited(code, offset)
    if awaited == _BY_EXIT:
        return int(before == dis.opmap["WITH_EXCEPT_START"])
    return int(awaited == _BY_ENTER)


def enters(code: types.CodeType, offset: int) -> bool:
    """Whether a frame is just entering a block there: it awaits `__aenter__`, or is in a call of `__enter__`."""
    before = _skip(code.co_code, offset, _CALLING)
    if code.co_code[before] == dis.opmap.get("BEFORE_WITH"):
        return True
    if code.co_code[before] == dis.opmap.get("LOAD_SPECIAL") and before != offset:
        return True
    return _awaited(code, offset)[0] == _BY_ENTER


def _awaited(code: types.CodeType, offset: int) -> tuple[int, int]:
    """What a frame awaits, as GET_AWAITABLE has it, and the instruction before that."""
    instructions = code.co_code
    place = _skip(instructions, offset, _AWAITING)
    if instructions[place] != _GET_AWAITABLE:
        return 0, 0
    return instructions[place + 1], instructions[_skip(instructions, max(0, place - 2), _CACHE)]


def _skip(instructions: bytes, offset: int, left_out: frozenset[int]) -> int:
    """The last instruction at or before an offset that is none of these."""
    while offset > 0 and instructions[offset] in left_out:
        offset -= 2
    return offset


def _row(table: tuple[Range, ...], offset: int) -> Range | None:
    for row in table:
        if row.start <= offset < row.end:
            return row
    return None


@lru_cache(maxsize=4096)
def _lines(code: types.CodeType) -> dict[int, int]:
    """The line of each instruction, by its offset."""
    lines: dict[int, int] = {}
    for start, end, line in code.co_lines():
        if line is not None:
            lines.update(dict.fromkeys(range(start, end, 2), line))
    return lines


@lru_cache(maxsize=4096)
def _table(code: types.CodeType) -> tuple[Range, ...]:
    """The table of a code object. Objects/exception_handling_notes.txt of CPython describes its bytes."""
    rows = []
    numbers = _numbers(getattr(code, "co_exceptiontable", b""))
    for start in numbers:
        length, target, _ = next(numbers), next(numbers), next(numbers)
        rows.append(Range(2 * start, 2 * (start + length), 2 * target))
    return tuple(rows)


def _numbers(table: bytes) -> Iterator[int]:
    number = 0
    for byte in table:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0
