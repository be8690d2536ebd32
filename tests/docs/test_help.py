"""help() of a public class: each method that users call stands under a class that they know, and is explained."""

from __future__ import annotations

import asyncio
import inspect
import os
import pydoc
import re
import subprocess
import sys
import textwrap
from abc import ABC
from collections.abc import Iterator
from typing import Any, Generic, Protocol

import pytest

import holdfast

from .reference import public_classes

SUITE = "holdfast.testing.engine_suite.EngineSuite"
"""Its tests stand under the part of the contract that they test."""
CLASSES = {name: cls for name, cls in public_classes().items() if name != SUITE}


def is_ours(value: Any) -> bool:
    """Whether it is not what Python adds, as to a dataclass or a Protocol."""
    return str(getattr(value, "__module__", None)).partition(".")[0] == "holdfast"


def shown(cls: type) -> Iterator[tuple[str, type, Any]]:
    """What help() shows of a class and is ours: the name, the class under which it stands, and the value."""
    for name, _, home, value in inspect.classify_class_attrs(cls):
        if pydoc.visiblename(name, obj=cls) and home.__module__.partition(".")[0] == "holdfast":
            yield name, home, value


@pytest.mark.parametrize("name", CLASSES)
def test_what_users_call_stands_under_a_class_that_they_know(name: str) -> None:
    known = {f"{cls.__module__}.{cls.__qualname__}" for cls in CLASSES.values()}
    private = {
        f"{home.__module__}.{home.__qualname__}: {method}"
        for method, home, _ in shown(CLASSES[name])
        if not method.startswith("_") and f"{home.__module__}.{home.__qualname__}" not in known
    }
    assert not private


@pytest.mark.parametrize("name", CLASSES)
def test_special_methods_are_explained(name: str) -> None:
    silent = {
        method
        for method, _, value in shown(CLASSES[name])
        if method.startswith("__") and is_ours(value) and not inspect.getdoc(value)
    }
    assert not silent


@pytest.mark.parametrize("name", CLASSES)
def test_a_constructor_is_not_explained_by_that_of_a_private_class(name: str) -> None:
    cls = CLASSES[name]
    text = inspect.getdoc(cls.__init__) or ""
    own = inspect.getdoc(inspect.getattr_static(cls, "__init__")) or ""
    first = text.partition("\n")[0]
    assert text == own
    assert not first.startswith("initial:")


GENERIC = {"AllKeys", "KeyLock", "KeyedLock", "Once", "SyncKeyLock", "SyncOnce"}
"""Classes whose parameter users may write: `KeyedLock[str]`."""


def test_no_machinery_of_python_is_in_the_way() -> None:
    """typing.Generic and abc.ABC would add a line to the resolution order, and attributes of their own."""
    for name, cls in CLASSES.items():
        for base in cls.__mro__ if cls.__name__ not in GENERIC else ():
            if base.__module__.partition(".")[0] == "holdfast" and Protocol not in base.__bases__:
                assert not {Generic, ABC} & {*base.__bases__}, name


PRINT = """
import inspect, pydoc, holdfast
for name in ("Barrier", "BoundedSemaphore", "Condition", "Event", "KeyedLock", "Lock", "RWLock", "Semaphore"):
    cls = getattr(holdfast, name)
    for attribute, _, home, value in inspect.classify_class_attrs(cls):
        if pydoc.visiblename(attribute, obj=cls) and callable(value) and attribute != "__new__":
            print(name, attribute, inspect.getdoc(value).replace(chr(10), " "))
"""
COPYING = re.compile(r"\w+ __[gs]etstate__ ")
"""In C there are fields, so the compiled twin has methods for this."""


@pytest.mark.skipif(not holdfast.accelerated, reason="there is no compiled twin here")
def test_both_twins_say_the_same() -> None:
    texts = []
    for pure in ("", "1"):
        environment = os.environ | {"HOLDFAST_PURE_PYTHON": pure}
        command = [sys.executable, "-c", PRINT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
        texts.append([line for line in done.stdout.splitlines() if not COPYING.match(line)])
    assert texts[0] == texts[1]
    assert len(texts[0]) > 50


EXAMPLES = {
    name: textwrap.dedent(found[1])
    for name, cls in CLASSES.items()
    if (found := re.search(r"^Example::\n\n((?: .*\n|\n)+)", inspect.getdoc(cls) or "", re.MULTILINE))
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(name: str) -> None:
    names: dict[str, Any] = {"asyncio": asyncio, "holdfast": holdfast}
    exec("async def example():\n" + textwrap.indent(EXAMPLES[name], "    "), names)
    asyncio.run(names["example"]())


def test_each_primitive_of_one_loop_has_an_example() -> None:
    assert {f"holdfast.{kind}" for kind in ("Lock", "Event", "Condition", "Semaphore", "Barrier")} <= {*EXAMPLES}
