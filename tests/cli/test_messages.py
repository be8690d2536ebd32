"""What holdfast says, and with which exit code, when it is not as the user has hoped."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import time
import warnings

import pytest
from tests.cluster.servers import shared

import holdfast.cli
import holdfast.cli.waits
from holdfast.cluster.records.any_kind import decode_any

from .running import BOUND, HOLD, HOLDFAST, run, shown, started, told, until

# Not in time


def test_who_waits_in_vain_is_told_for_what_and_whose_it_is():
    with started("lock", "sync", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        for seconds, within in (("0.2", "within 0.2 s"), ("0", "at once")):
            result = told("lock", "sync", "--timeout", seconds, "--", "true")
            assert result.returncode == 124
            assert result.stderr.startswith(f"holdfast: 'sync' was not free {within}; held by ")
            assert f":{holder.pid} " in result.stderr
            assert shlex.quote(HOLD[1])[:40] in result.stderr, "what it runs, which may be cut short"
            assert f"since {time.strftime('%Y-')}" in result.stderr
            assert result.stderr.count("\n") == 1


def test_of_many_holders_some_are_named():
    permits = 5
    with contextlib.ExitStack() as stack:
        for _ in range(permits):
            holder = stack.enter_context(started("semaphore", "s", str(permits), *HOLD))
            assert holder.stdout.readline() == "in\n"
        result = told("semaphore", "s", str(permits), "--timeout", "0", "--", "true")
    assert result.returncode == 124
    assert result.stderr.count(", by ") == 2
    assert "and by 2 more" in result.stderr


def test_events_and_barriers_say_what_they_lack():
    result = run("event", "wait", "db-ready", "--timeout", "0.1")
    assert (result.returncode, result.stderr) == (124, "holdfast: the event 'db-ready' was not set within 0.1 s\n")
    with started("barrier", "b", "3"):
        until(lambda: (one := shown("b")) and one["waiters"], "the first one")
        result = run("barrier", "b", "3", "--timeout", "0.1")
    assert result.returncode == 124
    assert result.stderr == "holdfast: not all have come to the barrier 'b' within 0.1 s\n"


def test_a_long_name_is_not_repeated():
    name = "n" * 200
    with started("lock", name, *HOLD) as holder:
        holder.stdout.readline()
        result = run("lock", name, "--timeout", "0", "--", "true")
    assert result.returncode == 124
    assert f"'{'n' * 57}...' was not free" in result.stderr


def test_the_question_whose_it_is_delays_nobody(monkeypatch):
    """And whatever it meets, the exit is the same."""

    class Session:
        async def inspect(self, name):
            await asyncio.sleep(3600)

    class Failing:
        async def inspect(self, name):
            raise ZeroDivisionError

    import asyncio

    monkeypatch.setattr(holdfast.cli.waits, "MOMENT", 0.01)
    for session in (Session(), Failing()):
        said = asyncio.run(holdfast.cli.waits.what_it_waited_for(session, "lock", "x", 5.0))
        assert said == "'x' was not free within 5 s"


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_leaves_the_exit_code(quiet):
    with started("lock", "x", *HOLD) as holder, started("semaphore", "s", "1", *HOLD) as other:
        assert [holder.stdout.readline(), other.stdout.readline()] == ["in\n", "in\n"]
        for arguments in (
            ["lock", "x", quiet, "--timeout", "0", "--", "true"],
            ["semaphore", "s", "1", quiet, "--timeout", "0.1", "--", "true"],
            ["event", "wait", "e", quiet, "--timeout", "0"],
            ["barrier", "b", "2", quiet, "--timeout", "0"],
        ):
            result = run(*arguments)
            assert (result.returncode, result.stdout, result.stderr) == (124, "", "")
        failing = run("lock", "x", quiet, "--url", "redis://127.0.0.1:1", "--", "true")
        assert failing.returncode == 125
        assert "cannot be reached" in failing.stderr


@pytest.mark.parametrize("option", ["-q", "--quiet", "-h", "--timeout", "--"])
def test_what_stands_behind_cmd_is_cmds_own(option):
    """Also without '--' in front of it."""
    assert run("lock", "x", "echo", option).stdout == f"{option}\n"
    assert run("semaphore", "s", "2", "--timeout", "60", "echo", option).stdout == f"{option}\n"


# Letters that cannot be printed

ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}
NO_UTF_8 = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize("environment", [ASCII, NO_UTF_8], ids=["PYTHONIOENCODING", "LC_ALL"])
def test_a_name_that_stdout_cannot_print(environment):
    for name in ("plain", "zürich", "🔒"):
        assert run("event", "set", name).returncode == 0
    listed = run("ls", env={**environment, **_url()})
    assert listed.returncode == 125
    assert listed.stderr.count("\n") == 1
    assert "PYTHONIOENCODING=utf-8" in listed.stderr
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["name", "plain", "z\\xfcrich", "\\U0001f512"]
    one = run("show", "zürich", env={**environment, **_url()})
    assert (one.returncode, one.stderr) == (125, listed.stderr)
    assert "z\\xfcrich" in one.stdout
    assert run("show", "plain", env={**environment, **_url()}).returncode == 0
    as_json = run("ls", "--json", env={**environment, **_url()})
    assert (as_json.returncode, as_json.stderr) == (0, "")
    assert [one["name"] for one in json.loads(as_json.stdout)] == ["plain", "zürich", "🔒"]


def _url():
    return {"HOLDFAST_URL": os.environ["HOLDFAST_URL"]}


def test_a_name_is_the_same_whatever_the_locale():
    environment = {**NO_UTF_8, **_url()}
    result = run("lock", "zürich", "--namespace", "süd", "--", "printenv", "HOLDFAST_NAME", env=environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "zürich\n", "")
    assert shown("zürich") is None
    assert json.loads(run("show", "zürich", "--namespace", "süd", "--json").stdout)["state"]["locked"] is False


def test_a_name_that_is_no_text():
    command = [*map(os.fsencode, HOLDFAST), b"lock", b"\xff", b"--", b"true"]
    result = subprocess.run(command, capture_output=True, timeout=BOUND, check=False)
    assert result.returncode == 2
    assert b"must have an encoding in UTF-8" in result.stderr
    assert result.stderr.count(b"\n") == 1


# Damaged records

DAMAGED = [
    "",
    "no JSON",
    "[]",
    "null",
    "\0",
    '{"format": 4, "kind": "lock"}',
    '{"format": 4, "kind": "semaphore of many"}',
    '{"format": 4, "kind": "barrier"}',
    '{"format": 4, "kind": "lock of 3"}',
    '{"format": 4, "kind": []}',
    '{"format": 9, "kind": "\\ud800"}',
    "[" * 100_000,
    '{"format": 4, "kind": "event", "by": ""}\n\t[0,0,NaN,true]',
]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(text, id=str(number), marks=[pytest.mark.campaign] * (number % 3 > 0))
        for number, text in enumerate(DAMAGED)
    ],
)
def test_a_damaged_record_is_said_to_be_one_and_the_others_are_listed(directory, text):
    for name in ("alpha", "damaged", "omega"):
        run("event", "set", name)
    with contextlib.closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as database:
        database.execute("UPDATE texts SET text = ? WHERE name = 'damaged'", (text,))
    for command in (["show", "damaged"], ["event", "wait", "damaged"], ["lock", "damaged", "--", "true"]):
        result = run(*command)
        assert (result.returncode, result.stdout) == (125, ""), result
        assert "'damaged'" in result.stderr
        assert result.stderr.count("\n") == 1
    for more in ([], ["--json"]):
        listed = run("ls", *more)
        assert listed.returncode == 125
        assert "the record of 'damaged'" in listed.stderr
        assert listed.stderr.count("\n") == 1
        assert "alpha" in listed.stdout
        assert "omega" in listed.stdout


def test_what_cannot_be_printed_of_a_record_on_utf_8_is_shown_as_python_writes_it(directory):
    run("event", "set", "x")
    with contextlib.closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as database:
        (text,) = database.execute("SELECT text FROM texts").fetchone()
        made_by = json.dumps(decode_any(text, "x").made_by)
        database.execute("UPDATE texts SET text = ?", (text.replace(made_by, '"\\ud800"'),))
    result = run("show", "x")
    assert (result.returncode, result.stderr) == (0, "")
    assert "made by \\ud800" in result.stdout


# Sentences


def test_a_warning_is_a_line():
    code = (
        "import warnings, holdfast.cli, holdfast.cli.commands as commands, sys\n"
        "def ls(): warnings.warn('the directory is private.\\nName another one', RuntimeWarning)\n"
        "commands.run = ls\n"
        "sys.exit(holdfast.cli.main() or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=False)
    assert result.stderr == "holdfast: the directory is private. Name another one\n"


def test_a_fault_of_holdfasts_own_has_its_own_exit_code():
    """And not Python's 1, which here says "no"."""
    code = (
        "import holdfast.cli, holdfast.cli.commands as commands, sys\n"
        "commands.run = lambda: 1 / 0\n"
        "sys.exit(holdfast.cli.main())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=False)
    assert result.returncode == 125
    assert result.stderr.splitlines()[-1].startswith("holdfast: failed, by a fault of its own: ZeroDivisionError")


COMMANDS = [["lock"], ["semaphore"], ["event", "wait"], ["event", "set"], ["event", "clear"], ["event", "show"]]
COMMANDS += [["barrier"], ["ls"], ["show"], ["break"], ["resize"], ["demo"], ["top"], ["web"], ["deadlocks"]]
COMMANDS += [["reopen"], ["dump"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_option_is_explained(command):
    text = run(*command, "--help").stdout
    options = text.partition("Options:\n")[2].splitlines()
    named = [line for line in options if line.startswith("  -")]
    assert named
    assert max(map(len, text.splitlines())) <= 80
    for number, line in enumerate(options):
        if line.startswith("  -"):
            explained = line.strip().partition("  ")[2].strip() or options[number + 1].strip()
            assert len(explained.split()) > 2, line
    for word in ("taken for dead", "lease", "CMD,SECONDS", "x>=0"):
        assert word not in text


def test_a_server_that_keeps_no_record_of_ours():
    url = shared().url
    run("event", "set", "fine", "--url", url, "--namespace", "damaged")
    run("event", "set", "broken", "--url", url, "--namespace", "damaged")
    from redis import Redis

    with Redis(port=shared().port) as client:
        client.set("holdfast:{damaged}:record:broken", "what is this?")
    listed = run("ls", "--url", url, "--namespace", "damaged")
    assert listed.returncode == 125
    assert "fine" in listed.stdout
    assert listed.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["redis://[::1", "http://[bad", "redis://app:se]cret[@host"])
def test_a_url_with_a_stray_bracket(url):
    result = run("ls", "--url", url)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("holdfast: the URL has a '['")
    assert "cret" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_cmd_without_a_name():
    result = run("lock", "x", "--", "")
    assert result.returncode in (126, 127)
    assert result.stderr.startswith("holdfast: '': ")


@pytest.mark.parametrize("column", ["label", "host", "pid", "since", "command"])
@pytest.mark.parametrize(
    "value", [b"\xff", *(pytest.param(value, marks=pytest.mark.campaign) for value in (None, "no number", 1e308))]
)
def test_a_damaged_note_of_a_session(directory, column, value):
    """The holder cannot be told then; that is a sentence, and nothing else."""
    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        with contextlib.closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as database:
            database.execute(f"UPDATE sessions SET {column} = ?", (value,))
        for command in (["show", "x"], ["show", "x", "--json"], ["ls"], ["ls", "--json"]):
            result = run(*command)
            assert result.returncode in (0, 125), result
            assert result.stderr.count("\n") == (result.returncode == 125), result
            assert "fault of its own" not in result.stderr
        assert run("lock", "x", "--timeout", "0", "--", "true").returncode == 124
        holder.stdin.write("\n")
        assert holder.wait(BOUND) == 0


# Interrupted


def test_ctrl_c_between_making_a_coroutine_and_running_it_says_nothing(monkeypatch, capsys):
    async def work():
        raise AssertionError("nothing runs it")

    def command_line():
        interrupted = work()
        raise KeyboardInterrupt(interrupted.cr_frame.f_lineno)

    monkeypatch.setattr("warnings.showwarning", None)
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(holdfast.cli, "_command_line", command_line)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert holdfast.cli.main() == 130
    assert capsys.readouterr() == ("", "")
