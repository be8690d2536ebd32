"""What `make third-party` says is so: a difference is found, however seldom, and the page has what was run."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.third_party import environments
from tests.third_party.environments import CONSTRAINTS, INSIDE, ROOT, Environment, NotRunError
from tests.third_party.libraries import LIBRARIES, Library
from tests.third_party.outcomes import AGAIN, AND_AGAIN, Comparison, Run, compare
from tests.third_party.report import BEGIN, END, PAGE, PYTHONS, kept_of, section

import holdfast

MADE = {"Lock": 1}
OUTCOMES = ["passed", "skipped", "xfailed", "xpassed", "failed", "error"]


def comparison(plain: Mapping[str, str], ours: Mapping[str, str], expected: Collection[str] = ()) -> Comparison:
    """Of a suite whose tests come to these outcomes, "passed failed" being first the one, then the other, and so on."""
    turns = {
        way: {test: itertools.cycle(outcomes.split()) for test, outcomes in tests.items()}
        for way, tests in [(False, plain), (True, ours)]
    }

    def run(way: bool, chosen: Collection[str] | None) -> Run:
        outcomes = {test: next(turn) for test, turn in turns[way].items() if chosen is None or test in chosen}
        return Run(outcomes, made=MADE if way else {})

    return compare(run, expected)


def test_the_same_is_green():
    outcomes = {"a": "passed", "b": "skipped", "c": "failed"}
    found = comparison(outcomes, outcomes)
    assert found.complaints == []
    assert not found.flaky


@pytest.mark.parametrize(("plain", "ours"), [*itertools.permutations(OUTCOMES, 2)])
def test_any_other_outcome_is_a_difference(plain, ours):
    found = comparison({"a": plain, "b": "passed"}, {"a": ours, "b": "passed"})
    assert found.complaints == [f"a: {plain} as it is, {ours} with holdfast"]


def test_a_test_that_is_not_there_is_a_difference():
    assert comparison({"a": "passed", "b": "passed"}, {"a": "passed"}).complaints == [
        "b: passed as it is, missing with holdfast"
    ]
    assert comparison({"a": "passed"}, {"a": "passed", "b": "passed"}).complaints == [
        "b: missing as it is, passed with holdfast"
    ]


def test_what_varies_as_it_is_is_flaky_and_told_by_name():
    found = comparison({"a": "passed failed", "b": "passed"}, {"a": "failed passed", "b": "passed"})
    assert found.complaints == []
    assert [flaky.test for flaky in found.flaky] == ["a"]


def test_what_varies_with_holdfast_alone_is_a_difference():
    seldom = " ".join(["failed", *["passed"] * (AGAIN + AND_AGAIN)])
    found = comparison({"a": "passed"}, {"a": seldom})
    runs = 1 + AGAIN + AND_AGAIN
    assert found.complaints == [
        f"a: passed as it is, passed ({runs - 1} of {runs}) and failed (1 of {runs}) with holdfast"
    ]


def test_what_varies_as_it_is_too_seldom_for_three_runs_gets_more():
    seldom = " ".join([*["passed"] * (AGAIN + 2), "failed"])
    found = comparison({"a": seldom}, {"a": "failed passed"})
    assert found.complaints == []
    assert [flaky.test for flaky in found.flaky] == ["a"]


def test_what_varies_as_it_is_and_comes_to_something_else_with_holdfast_is_a_difference():
    found = comparison({"a": "passed skipped"}, {"a": "failed passed"})
    assert not found.flaky
    assert len(found.complaints) == 1


def test_what_varies_as_it_is_and_never_passes_with_holdfast_is_a_difference():
    runs = 1 + AGAIN + AND_AGAIN
    found = comparison({"a": "passed failed"}, {"a": "failed"})
    assert not found.flaky
    assert found.complaints == [
        f"a: passed ({runs // 2} of {runs}) and failed ({runs // 2} of {runs}) as it is, failed with holdfast"
    ]
    found = comparison({"a": "failed passed", "b": "passed"}, {"a": "passed", "b": "passed"})
    assert found.complaints == []
    assert [flaky.test for flaky in found.flaky] == ["a"]


def test_a_test_that_is_not_there_in_one_run_alone_is_told_as_such():
    runs = iter(["", "a", *["a"] * 2 * (AGAIN + AND_AGAIN)])
    found = compare(lambda way, chosen: Run(dict.fromkeys(next(runs), "passed"), made=MADE))
    assert [flaky.plain[:2] for flaky in found.flaky] == [["missing", "passed"]]
    runs = iter(["a", "", *["a"] * 2 * (AGAIN + AND_AGAIN)])
    found = compare(lambda way, chosen: Run(dict.fromkeys(next(runs), "passed"), made=MADE))
    assert [different.with_holdfast[:2] for different in found.different] == [["missing", "passed"]]


def test_what_is_expected_to_differ_must_differ():
    assert comparison({"a": "passed"}, {"a": "failed"}, expected=["a"]).complaints == []
    assert comparison({"a": "passed"}, {"a": "passed"}, expected=["a"]).complaints == [
        "a: is expected to differ, and does not"
    ]


def test_a_run_that_proves_nothing_is_not_green():
    same = Run({"a": "passed"}, made=MADE)
    assert compare(lambda way, chosen: same).complaints == []
    assert compare(lambda way, chosen: replace(same, made={})).complaints == [
        "the suite made no primitive of holdfast's"
    ]
    assert compare(lambda way, chosen: replace(same, outcomes={"a": "error"})).complaints == [
        "no test of the suite passes as it is"
    ]


SUITE = """
import asyncio
import subprocess
import sys
from asyncio import BoundedSemaphore, Condition, Lock  # taken by name, as many libraries do

import pytest

IN_A_CHILD = "import asyncio; asyncio.Barrier(2); print(asyncio.Lock.__module__)"


class Own(Lock):
    pass


def test_only_with_asyncio():
    assert Lock().__class__.__module__ == "asyncio.locks"


def test_only_with_asyncio_in_a_child():
    done = subprocess.run([sys.executable, "-c", IN_A_CHILD], capture_output=True, text=True, check=True)
    assert done.stdout == "asyncio.locks\\n"


@pytest.mark.parametrize("address", [object()], ids=repr)
def test_with_either(address):
    async def main():
        async with Own(), BoundedSemaphore(2), Condition(Lock()):
            pass

    asyncio.run(main())


def test_without_a_primitive():
    pass


@pytest.fixture
def broken():
    yield
    raise ValueError


def test_whose_teardown_fails(broken):
    pass


@pytest.mark.skip
def test_skipped():
    raise ValueError


@pytest.mark.xfail
def test_xfailed():
    raise ValueError


@pytest.mark.xfail
def test_xpassed():
    pass


def test_left_out():
    raise ValueError
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    # It uses holdfast as it is here. `make third-party` makes a wheel of its own, and fails without the compiled twin.
    monkeypatch.setattr(environments, "PURE", not holdfast.accelerated)
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    (tmp_path / "pytest.ini").touch()  # or pytest takes the options of a project that the temporary directory lies in
    library = Library(
        name="suite",
        version="1",
        sha256="",
        requires=(),
        tests=("test_suite.py",),
        deselected={"test_suite.py::test_left_out": "to show that it is left out"},
        options=("-p", "pytest_timeout"),
        environment={
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPATH": os.pathsep.join([str(INSIDE), str(ROOT / "src")]),
        },
    )
    return Environment(library, tmp_path, tmp_path, Path(sys.executable))


def test_a_suite_that_passes_only_with_asyncios_own_classes(suite):
    found = compare(suite.run, again=1)
    assert found.complaints == [
        f"test_suite.py::{test}: passed as it is, failed with holdfast"
        for test in ("test_only_with_asyncio", "test_only_with_asyncio_in_a_child")
    ]
    assert all("asyncio.locks" in different.reason for different in found.different)
    outcomes = found.with_holdfast.outcomes
    assert {test.removeprefix("test_suite.py::"): outcome for test, outcome in outcomes.items()} == {
        "test_only_with_asyncio": "failed",
        "test_only_with_asyncio_in_a_child": "failed",
        "test_with_either[<object object at 0x…>]": "passed",
        "test_without_a_primitive": "passed",
        "test_whose_teardown_fails": "error",
        "test_skipped": "skipped",
        "test_xfailed": "xfailed",
        "test_xpassed": "xpassed",
    }
    # A Lock of one test, two of another one, of a subclass and for a Condition; and the Barrier of the child.
    assert found.with_holdfast.made == {"Barrier": 1, "BoundedSemaphore": 1, "Condition": 1, "Lock": 3}
    assert found.with_holdfast.made_in_children == 1
    assert found.with_holdfast.with_primitives == 2
    assert found.plain.made == {}


def test_a_suite_that_cannot_be_run_is_told(suite):
    with pytest.raises(NotRunError, match=r"ended without its results, see .*plain\.log"):
        replace(suite, library=replace(suite.library, tests=("--no-such-option",))).run(False)


def test_the_page_has_what_was_run():
    page = PAGE.read_text(encoding="utf-8")
    assert page.partition(BEGIN)[2].partition(END)[0].strip() == section().strip()


def test_each_library_was_run_and_is_the_same_on_both_pythons():
    names = {library.name for library in LIBRARIES}
    assert len(names) >= 10
    for python in PYTHONS:
        kept = kept_of(python)
        assert {*kept} == names
        assert {name: row["complaints"] for name, row in kept.items() if not row["same"]} == {}
        assert all(sum(row["made"].values()) > 0 for row in kept.values())


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
def test_each_library_has_its_versions_and_reasons(library):
    assert "==" in (CONSTRAINTS / f"{library.name}.txt").read_text(encoding="utf-8")
    assert all({**library.deselected, **library.expected}.values())
