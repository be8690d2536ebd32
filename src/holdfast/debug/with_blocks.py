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
