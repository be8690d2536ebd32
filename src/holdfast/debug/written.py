"""Which context managers a running frame is inside of, as its `with` statements name them.

The stack of a frame that runs cannot be looked at, and a thread always runs: its innermost frame is in some call. But
the line of the block says what was entered. `with self.lock.sync:` names variables and attributes, which still have
their values. Where one was changed inside the block, the answer is wrong. Where the line calls something, there is
none.

What must hold: nothing of the program is called. So attributes are read from objects' own dicts and slots, and
properties only of classes of ours.
"""

from __future__ import annotations

import dis
import inspect
import types
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from holdfast.tasks.keyed_lock import AllKeys
from holdfast.tasks.primitive import Primitive
from holdfast.tasks.rw_lock import RWLock, Side
from holdfast.threads.task_tier import KeyedLock, KeyLock

from .stacks import EXITS, Manager, is_users, place_of, releases
from .with_blocks import Block, blocks

_OURS = Primitive, RWLock, Side, KeyedLock, KeyLock, AllKeys
_ENTERS = "BEFORE_WITH", "BEFORE_ASYNC_WITH"
_CODE_OF_EXITS = {f"{name} ({name})" for name in EXITS} | {*EXITS}
_SUBSCRIPTS = "BINARY_SUBSCR", "BINARY_OP"


class _UnknownError(Exception):
    """The expression calls something, or is not there any more."""


def managers_of_running(frames: list[types.FrameType]) -> Iterator[Manager]:
    """The context managers whose blocks these frames are in, as far as they can be told."""
    for frame in frames:
        if is_users(frame):
            for block in blocks(frame.f_code, frame.f_lasti):
                try:
                    manager = _entered(frame, block)
                except _UnknownError:
                    continue
                yield Manager(manager, place_of(frame, block.line), True, None, releases(frame))


def _entered(frame: types.FrameType, block: Block) -> Any:
    """The value of the expression of a block."""
    return _value(frame, _expression(frame.f_code, block.start))


@lru_cache(maxsize=1024)
def _instructions(code: types.CodeType) -> list[dis.Instruction]:
    left_out = "CACHE", "COPY", "EXTENDED_ARG", "PRECALL", "PUSH_NULL", "NOP", "SWAP"
    return [each for each in dis.get_instructions(code) if each.opname not in left_out]


def _expression(code: types.CodeType, start: int) -> list[dis.Instruction]:
    """The instructions of the expression whose block starts there. Raises _UnknownError if it is not a plain one."""
    before = [each for each in _instructions(code) if each.offset < start]
    while before and not _enters(before.pop()):
        pass
    needed = 1
    expression = []
    while needed:
        if not before:
            raise _UnknownError
        instruction = before.pop()
        expression.append(instruction)
        name = instruction.opname
        if name.startswith("LOAD_") and name not in ("LOAD_ATTR", "LOAD_METHOD"):
            needed -= 1
        elif name in _SUBSCRIPTS:
            needed += 1
        elif name != "LOAD_ATTR":
            raise _UnknownError
    expression.reverse()
    return expression


def _enters(instruction: dis.Instruction) -> bool:
    return instruction.opname in _ENTERS or (
        instruction.opname == "LOAD_SPECIAL" and instruction.argrepr in _CODE_OF_EXITS
    )


def _value(frame: types.FrameType, expression: list[dis.Instruction]) -> Any:
    stack: list[Any] = []
    variables = frame.f_locals
    for instruction in expression:
        name, argument = instruction.opname, instruction.argval
        if name == "LOAD_ATTR":
            stack.append(_attribute(stack.pop(), argument))
        elif name in _SUBSCRIPTS:
            key = stack.pop()
            stack.append(_item(stack.pop(), key))
        elif name in ("LOAD_CONST", "LOAD_SMALL_INT"):
            stack.append(argument)
        elif argument in variables:
            stack.append(variables[argument])
        elif argument in frame.f_globals and name in ("LOAD_GLOBAL", "LOAD_NAME"):
            stack.append(frame.f_globals[argument])
        else:
            raise _UnknownError
    return stack.pop()


def _attribute(value: Any, name: str) -> Any:
    if issubclass(type(value), _OURS):
        return getattr(value, name, None)
    found = inspect.getattr_static(value, name, None)
    if type(found) is types.MemberDescriptorType:
        return found.__get__(value, type(value)) if not issubclass(type(value), type) else None
    return found


def _item(value: Any, key: Any) -> Any:
    if issubclass(type(value), KeyedLock) or type(value) in (dict, list, tuple):
        try:
            return value[key]
        except (LookupError, TypeError):
            pass
    raise _UnknownError
