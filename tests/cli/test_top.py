"""`holdfast top`: one look after another at all names."""

from __future__ import annotations

import json
import sys

import pytest

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
