"""`holdfast top`: one look after another at all names."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from interpreters import BOUND
from rich.console import Console

from holdfast.cli.overview import ORDERS, Row, Screen

from .running import HOLD, run, started, until_waiting

if sys.platform == "linux":
    from .test_terminal import Terminal


def looks(*arguments):
    result = run("top", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return [{row["name"]: row for row in json.loads(line)} for line in result.stdout.splitlines()]


def test_who_holds_who_waits_and_for_how_long():
    with started("lock", "deploy", *HOLD) as holder, started("semaphore", "api", "3", *HOLD) as other:
        assert holder.stdout.readline() == other.stdout.readline() == "in\n"
        with started("lock", "deploy", *HOLD):
            until_waiting("deploy")
            first, second = looks("--times", "2", "--every", "0.1")
    assert first.keys() == second.keys() == {"deploy", "api"}
    deploy, api = second["deploy"], second["api"]
    assert (deploy["kind"], deploy["waiting"], len(deploy["holders"])) == ("lock", 1, 1)
    assert 0.1 <= deploy["longest_wait"] <= deploy["held"] < 100
    assert deploy["held"] > first["deploy"]["held"]
    assert (first["deploy"]["grants_per_second"], deploy["grants_per_second"]) == (None, 0)
    assert (api["kind"], api["held"], api["longest_wait"]) == ("semaphore of 3", None, None)


def test_what_is_shown_and_in_which_order():
    assert run("lock", "idle", "--", sys.executable, "-c", "").returncode == 0
    with started("lock", "orders/1", *HOLD) as one, started("lock", "orders/2", *HOLD) as two:
        assert one.stdout.readline() == two.stdout.readline() == "in\n"
        with started("lock", "orders/2", *HOLD):
            until_waiting("orders/2")
            assert [*looks()[0]] == ["orders/2", "orders/1"]
            assert [*looks("--sort", "name", "--all")[0]] == ["idle", "orders/1", "orders/2"]
            assert [*looks("--match", "*/1")[0]] == ["orders/1"]
            table = run("top").stdout.splitlines()
    assert table[0].split() == ["name", "kind", "held", "by", "for", "waiting", "longest", "grants/s"]
    assert [line.split()[0] for line in table[1:3]] == ["orders/2", "orders/1"]
    assert table[3].strip() == "3 names, 1 of them not shown"


def test_bad_input():
    assert "is not one of" in run("top", "--sort", "age").stderr
    assert run("top", "--times", "0").returncode == 2
    assert run("top", "--every", "-1").returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_in_a_terminal_it_goes_on_until_ctrl_c(tmp_path):
    with started("lock", "deploy", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        terminal = Terminal(sys.executable, "-m", "holdfast", "top", "--every", "0.05", cwd=tmp_path)
        for _ in range(3):
            terminal.until("deploy")
        terminal.type("\x03")
        assert terminal.wait() == 130


def rows(width, *rows, deadlocks=0, silent=0):
    """The lines of a terminal of this width."""
    screen = Screen(live=False)
    screen._console = Console(width=width, force_terminal=True, color_system=None, highlight=False, markup=False)
    with screen._console.capture() as captured:
        screen.show([*rows], len(rows), deadlocks, silent)
    return [line.rstrip() for line in captured.get().splitlines()]


def row(name, holders, **others):
    some = {"kind": "lock", "held": 3.0, "waiting": 1, "longest_wait": 2.0, "dead": 0, "token": 1}
    return Row(name, holders=holders, **{**some, "grants_per_second": 0.5, "deadlock": False, **others})


def test_what_is_wrong_can_be_read_in_a_narrow_terminal():
    long = "a-host-with-a-long-name.example.org:123456"
    lines = rows(
        80,
        row("account/bob", (long,), deadlock=True),
        row("jobs", (long,), kind="bounded semaphore of 10", closed=("closed: deploy 7",)),
        row("a name that is much too long for the half of such a line", ("web1",), dead=2),
        deadlocks=1,
        silent=2,
    )
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].startswith("account/bob")
    assert " in a deadlock" in lines[1]
    assert " closed: deploy" in lines[2]
    assert " 2 dead" in lines[3]
    assert lines[4] == "3 names; 1 deadlock: see holdfast deadlocks; 2 sessions silent"


def test_what_is_short_is_not_cut():
    lines = rows(80, row("jobs", ("web1",), kind="bounded semaphore of 10"))
    assert "bounded semaphore of 10" in lines[1]


def test_a_name_in_a_deadlock_stands_before_busier_ones():
    first, second = row("x", ("a",), deadlock=True), row("y", ("b",), waiting=100)
    assert sorted([second, first], key=ORDERS["waiting"]) == [first, second]


def test_a_reader_that_has_gone_ends_it_as_any_program():
    program = "import sys; from holdfast.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "top", "--times", "100", "--every", "0"], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(BOUND) == 141
