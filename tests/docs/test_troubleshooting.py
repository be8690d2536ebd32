"""docs/troubleshooting.md has every message that users can meet, and none that is not there any more."""

from __future__ import annotations

import ast
import asyncio
import gc
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import holdfast

ROOT = Path(__file__).parents[2]
SOURCE = Path(holdfast.__file__).parent
OF_THEIR_OWN = {"testing", "demo", "suite"}
"""What docs/testing.md explains, what shows itself, and the tests of an engine."""
RAISES = re.compile(r"(Error|Lost|Conflict|Warning|Token|Failure|Unreachable)$|^(warn|complain|fail)$")
NOT_FOR_USERS = [
    "module … has no attribute",  # as of every module
    "cannot reuse already awaited coroutine",  # as of every coroutine
    "no JSON for",  # a mistake of ours
    "it has not been told of this connection",  # these are tried again, and end up behind "cannot be reached"
    "there is no answer",
    "the connection was lost",
    "the session was closed",
    "… has ended a watch",
    "… has raised the floor",
    "no answer in time",
    "… is no answer",
    "there is no length",  # of a wake-up that is not holdfast's, which is passed over
    "it is cut off",
    "a signal handler has raised where an answer was read",  # behind it: another connection is made
    "session … …",  # what follows is explained: "was evicted by"
]
OF_PYTHON = "coroutine 'Lock.release' was never awaited"
HOLE = "…"


def literal(node: ast.AST | None, constants: dict[str, str]) -> str | None:
    """The text that an expression gives, with a hole for each part that differs; None if all of it does."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(literal(part, constants) or HOLE for part in parts)
        case ast.FormattedValue(value=value):
            return literal(value, constants) if isinstance(value, ast.Name) else None
        case ast.BinOp(left=left, right=right):
            return (literal(left, constants) or HOLE) + (literal(right, constants) or HOLE)
        case ast.Name(id=name):
            return constants.get(name)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")):
            return re.sub(r"\{[^}]*\}", HOLE, constants[name]) if name in constants else None
    return None


def trees() -> Iterator[tuple[ast.Module, dict[str, str]]]:
    for path in sorted(SOURCE.rglob("*.py")):
        if not OF_THEIR_OWN & {*path.relative_to(SOURCE).parts}:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            constants = {
                target.id: node.value.value
                for node in tree.body
                if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
                for target in node.targets
                if isinstance(target, ast.Name) and isinstance(node.value.value, str)
            }
            yield tree, constants


def messages() -> set[str]:
    """Of what is raised, warned of, or written to stderr."""
    found = set()
    for tree, constants in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and RAISES.search(called(node)):
                for argument in node.args:
                    for branch in (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,):
                        text = literal(branch, constants)
                        if text is not None and re.search(r"\w", text):
                            found.add(text)
    return found


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def texts() -> set[str]:
    """All that stands in the source: a message may be made in several steps."""
    return {
        text
        for tree, constants in trees()
        for node in ast.walk(tree)
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and (text := literal(node, constants)) is not None
    }


def entries() -> list[str]:
    """What the page explains: the code in each line that has its explanation, `: …`, below it."""
    lines = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8").splitlines()
    explained = [line for line, below in pairwise(lines) if below.startswith(": ")]
    return [entry for line in explained for entry in re.findall(r"`([^`]+)`", line)]


def fits(entry: str, text: str) -> bool:
    """Whether the text begins so. A hole stands for anything; one at the beginning for holes of the text alone."""
    pieces = [re.escape(piece) for piece in entry.split(HOLE)]
    beginning = rf"[{HOLE}\s'\"]*" if entry.startswith(HOLE) else ""
    if len(pieces) > 1 and not pieces[0]:
        pieces[1] = pieces[1].removeprefix(re.escape(" "))
        del pieces[0]
    return re.match(beginning + ".*".join(pieces), text, re.DOTALL) is not None


def test_every_message_is_explained() -> None:
    explained = [*entries(), *NOT_FOR_USERS]
    missing = [text for text in messages() if not any(fits(entry, text) for entry in explained)]
    assert not missing, "\n".join(sorted(missing))


def test_no_message_is_explained_that_is_not_there() -> None:
    there = {*texts(), OF_PYTHON}
    stale = [entry for entry in entries() if not any(fits(entry, text) for text in there)]
    assert not stale, "\n".join(stale)


def forget(release: Callable[[], object]) -> None:
    """Call it, and do not await what it returns."""
    release()
    gc.collect()


def test_python_says_what_the_page_says_of_it() -> None:
    async def main() -> None:
        async with holdfast.connect("memory:") as session:
            lock = session.lock("x")
            await lock.acquire()
            with pytest.warns(RuntimeWarning, match=f"^{OF_PYTHON}$"):
                forget(lock.release)
            assert await lock.locked()

    asyncio.run(main())


def test_nothing_is_left_out_that_is_not_there() -> None:
    there = messages()
    assert not [entry for entry in NOT_FOR_USERS if not any(fits(entry, text) for text in there)]


def test_there_are_many() -> None:
    assert len(messages()) > 90
    assert len(entries()) > 100
