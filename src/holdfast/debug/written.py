"""Which context managers a running frame is inside of, as its `with` statements name them.

The stack of a frame that runs cannot be looked at, and a thread always runs: its innermost frame is in some call. But
the line of the block says what was entered. `with self.lock.sync:` names variables and attributes, which still have
their values. Where one was changed inside the block, the answer is wrong. So it is sure only where all names are
variables of the function that it gives no other value inside the block, and attributes are those of our classes. Where
the line calls something, there is none.

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
from holdfast.threads.rw_lock import SyncSide
from holdfast.threads.sync_view import SyncView
from holdfast.threads.task_tier import KeyedLock, KeyLock

from .doubts import Doubt
from .stacks import EXITS, Manager, is_users, place_of
from .with_blocks import Block, blocks

_OURS = Primitive, RWLock, Side, KeyedLock, KeyLock, AllKeys
_FIXED = "sync", "reader", "writer"
"""Attributes of ours that always have the same value."""
_ENTERS = "BEFORE_WITH", "BEFORE_ASYNC_WITH"
_CODE_OF_EXITS = {f"{name} ({name})" for name in EXITS} | {*EXITS}
_SUBSCRIPTS = "BINARY_SUBSCR", "BINARY_OP"


class _UnknownError(Exception):
    """The expression calls something, or is not there any more."""


def managers_of_running(frames: list[types.FrameType]) -> Iterator[Manager]:
    """The context managers whose blocks these frames are in, as far as they can be told."""
    for depth, frame in enumerate(frames):
        if is_users(frame):
            for block in blocks(frame.f_code, frame.f_lasti):
                try:
                    manager, is_sure = _entered(frame, block)
                except _UnknownError:
                    continue
                doubt = None if is_sure else Doubt.NAME
                yield Manager(manager, place_of(frame, block.line), True, None, doubt, depth, frame)


def _entered(frame: types.FrameType, block: Block) -> tuple[Any, bool]:
    """The value of the expression of a block, and whether it is sure that it had this value when it was entered."""
    expression = _expression(frame.f_code, block.start)
    changed = {
        each.argval
        for each in _instructions(frame.f_code)
        if each.offset >= block.start and each.opname.startswith(("STORE_FAST", "DELETE_FAST"))
    }
    names = {name for each in changed for name in (each if type(each) is tuple else (each,))}
    return _value(frame, expression, names)


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


def _value(frame: types.FrameType, expression: list[dis.Instruction], changed: set[str]) -> tuple[Any, bool]:
    """changed: the variables that get other values inside the block."""
    stack: list[Any] = []
    is_sure = True
    variables = frame.f_locals
    for instruction in expression:
        name, argument = instruction.opname, instruction.argval
        if name == "LOAD_ATTR":
            is_sure = is_sure and argument in _FIXED and issubclass(type(stack[-1]), (*_OURS, SyncView, SyncSide))
            stack.append(attribute_of(stack.pop(), argument))
        elif name in _SUBSCRIPTS:
            key = stack.pop()
            is_sure = is_sure and issubclass(type(stack[-1]), (KeyedLock, tuple))
            stack.append(_item(stack.pop(), key))
        elif name in ("LOAD_CONST", "LOAD_SMALL_INT"):
            stack.append(argument)
        elif argument in variables:
            is_sure = is_sure and name.startswith("LOAD_FAST") and argument not in changed
            stack.append(variables[argument])
        elif argument in frame.f_globals and name in ("LOAD_GLOBAL", "LOAD_NAME"):
            is_sure = False
            stack.append(frame.f_globals[argument])
        else:
            raise _UnknownError
    return stack.pop(), is_sure


def attribute_of(value: Any, name: str) -> Any:
    """An attribute of an object; None if it has none. Nothing of the program is called."""
    if issubclass(type(value), _OURS):
        return getattr(value, name, None)
    found = inspect.getattr_static(value, name, None)
    if type(found) is types.MemberDescriptorType:
        return found.__get__(value, type(value)) if not issubclass(type(value), type) else None
    return found


def _item(value: Any, key: Any) -> Any:
    if issubclass(type(value), KeyedLock) or any(type(value) is each for each in (dict, list, tuple)):
        try:
            return value[key]
        except Exception as exc:  # there is no such item, or the key is an object whose hash has raised
            raise _UnknownError from exc
    raise _UnknownError
