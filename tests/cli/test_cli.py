"""The command line, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from interpreters import importing
from tests.cluster.servers import shared
from tests.stopping import stop

from holdfast.cluster.records.json_text import FORMAT

from .running import BOUND, HOLD, HOLDFAST, STUBBORN, python, run, shown, started, told, until, until_waiting


def test_cmd_runs_under_the_lock_and_its_exit_code_is_passed_on():
    code = "import os; print(os.environ['HOLDFAST_NAME'], os.environ['HOLDFAST_TOKEN']); raise SystemExit(7)"
    first, second = run("lock", "x y", *python(code)), run("lock", "x y", *python(code))
    assert [result.returncode for result in (first, second)] == [7, 7]
    assert [result.stderr for result in (first, second)] == ["", ""]
    (one, token), (two, later) = (result.stdout.rsplit(maxsplit=1) for result in (first, second))
    assert (one, two) == ("x y", "x y")
    assert int(token) < int(later)


def test_without_waitid_cmd_is_noticed_as_well(monkeypatch, tmp_path):
    """As PyPy, and macOS before Python 3.13: it is reaped at once."""
    (tmp_path / "sitecustomize.py").write_text("import os\nvars(os).pop('waitid', None)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    result = run("lock", "x", *python("import os; print(hasattr(os, 'waitid')); raise SystemExit(7)"))
    assert (result.returncode, result.stdout, result.stderr) == (7, "False\n", "")


def test_cmd_gets_its_arguments_as_they_are():
    result = run(
        "lock", "x", "--", sys.executable, "-c", "import sys; print(sys.argv[1:])", "--help", "-h", "--", "a b", ""
    )
    assert result.stdout == "['--help', '-h', '--', 'a b', '']\n"


def test_two_do_not_run_at_once_and_who_waits_is_next():
    with started("lock", "x", *HOLD) as first:
        assert first.stdout.readline() == "in\n"
        with started("lock", "x", *HOLD) as second:
            until_waiting("x")
            assert shown("x")["holders"][0]["session"]["pid"] == first.pid
            assert shown("x")["waiters"][0]["session"]["pid"] == second.pid
            first.stdin.write("\n")
            assert first.wait(BOUND) == 0
            assert second.stdout.readline() == "in\n"
            second.stdin.write("\n")
            assert second.wait(BOUND) == 0


def test_a_semaphore_lets_n_in():
    with started("semaphore", "s", "2", *HOLD) as one, started("semaphore", "s", "2", *HOLD) as two:
        assert [one.stdout.readline(), two.stdout.readline()] == ["in\n", "in\n"]
        result = told("semaphore", "s", "2", "--timeout", "0.2", "--", "true")
        assert result.returncode == 124
        assert result.stderr.startswith("holdfast: 's' was not free within 0.2 s; held by ")
        two.stdin.write("\n")
        assert two.wait(BOUND) == 0
        assert run("semaphore", "s", "2", "--timeout", "60", "--", "true").returncode == 0


def test_a_command_that_counts_as_several_is_not_overtaken():
    with started("semaphore", "s", "3", "--permits", "2", *HOLD) as two:
        assert two.stdout.readline() == "in\n"
        assert shown("s")["holders"][0]["permits"] == 2
        with started("semaphore", "s", "3", "--permits", "3", *HOLD) as three:
            until_waiting("s")
            assert shown("s")["waiters"][0]["permits"] == 3
            assert "for 3 permits" in run("show", "s").stdout
            assert run("semaphore", "s", "3", "--timeout", "0", "--", "true").returncode == 124
            two.stdin.write("\n")
            assert two.wait(BOUND) == 0
            assert three.stdout.readline() == "in\n"
            three.stdin.write("\n")
            assert three.wait(BOUND) == 0


def test_who_gives_up_leaves_nothing_behind():
    with started("lock", "x", *HOLD) as holder:
        holder.stdout.readline()
        assert run("lock", "x", "--timeout", "0", "--", "true").returncode == 124
        assert shown("x")["waiters"] == []


@pytest.mark.parametrize(
    ("free", "taken"),
    [
        (["lock", "free", "--timeout", "0", "--", "true"], ["lock", "x", "--timeout", "0", "--", "true"]),
        (
            ["semaphore", "free s", "1", "--timeout", "0", "--", "true"],
            ["semaphore", "s", "1", "--timeout", "0", "--", "true"],
        ),
        (["event", "wait", "is set", "--timeout", "0"], ["event", "wait", "is not set", "--timeout", "0"]),
        (["barrier", "one", "1", "--timeout", "0"], ["barrier", "two", "2", "--timeout", "0"]),
    ],
    ids=["lock", "semaphore", "event", "barrier"],
)
def test_a_timeout_of_0_takes_what_is_there_at_once(free, taken):
    run("event", "set", "is set")
    with started("lock", "x", *HOLD) as lock, started("semaphore", "s", "1", *HOLD) as semaphore:
        assert [lock.stdout.readline(), semaphore.stdout.readline()] == ["in\n", "in\n"]
        assert run(*free).returncode == 0
        assert run(*taken).returncode == 124


def test_the_timeout_is_also_for_an_engine_that_does_not_answer(directory):
    run("event", "set", "e")
    with contextlib.closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # as by a process that was stopped in the middle of a change
        assert run("event", "set", "e", "--timeout", "0.2").returncode == 124
    assert run("event", "set", "e", "--timeout", "60").returncode == 0


def test_cmd_has_all_the_time_it_needs():
    result = run("lock", "x", "--timeout", "5", *python("import time; time.sleep(5.5); print('done')"))
    assert (result.returncode, result.stdout) == (0, "done\n")


def test_without_a_stdin():
    command = shlex.join([*HOLDFAST, "lock", "x", "--", "echo", "hi"])
    result = subprocess.run(["sh", "-c", f"{command} <&-"], capture_output=True, text=True, timeout=BOUND, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "hi\n", "")


@pytest.mark.parametrize("name", ["[/x]", "[red]x[/red]", "two\nlines", "\x1b[31mred", "🔒" * 200])
def test_any_name_is_listed_as_it_is(name):
    assert run("event", "set", name).returncode == 0
    (listed,) = json.loads(run("ls", "--json").stdout)
    assert listed["name"] == name
    for text in (run("ls"), run("show", name)):
        assert text.returncode == 0
        assert repr(name)[1:-1] in text.stdout


def test_a_record_of_a_newer_version_is_refused_and_the_others_are_listed(directory):
    newer = json.dumps({"format": FORMAT + 1, "kind": "lock"})
    for name in ("ready", "newer"):
        run("event", "set", name)
    with contextlib.closing(sqlite3.connect(directory / "state.db", isolation_level=None)) as database:
        database.execute("UPDATE texts SET text = ? WHERE name = 'newer'", (newer,))
        for command in (["show", "newer"], ["lock", "newer", "--", "true"], ["event", "show", "newer"]):
            result = run(*command)
            assert (result.returncode, result.stdout) == (125, "")
            assert "Upgrade holdfast here; nothing was changed" in result.stderr
        listed = run("ls")
        assert listed.returncode == 125
        assert "Upgrade holdfast here" in listed.stderr
        assert "ready" in listed.stdout
        assert database.execute("SELECT text FROM texts WHERE name = 'newer'").fetchone() == (newer,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_wait(number):
    with started("lock", "x", *HOLD) as holder:
        holder.stdout.readline()
        with started("lock", "x", *HOLD) as waiter:
            until_waiting("x")
            waiter.send_signal(number)
            assert waiter.wait(BOUND) == 128 + number
            assert waiter.stderr.read() == ""
        assert shown("x")["waiters"] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_to_cmd_and_the_lock_is_released_when_it_has_ended(number):
    code = f"import signal, time; signal.signal({number}, lambda *_: exit(9)); print('in')\nwhile 1: time.sleep(1)"
    with started("lock", "x", *python(code)) as holder:
        holder.stdout.readline()
        holder.send_signal(number)
        assert holder.wait(BOUND) == 9
    assert shown("x")["holders"] == []


def test_cmd_that_ignores_a_signal_keeps_the_lock():
    with started("lock", "x", *STUBBORN) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGTERM)
        assert holder.stdout.readline() == "TERM\n"
        assert len(shown("x")["holders"]) == 1


def test_cmd_that_a_signal_ends():
    assert run("lock", "x", *python("import os; os.kill(os.getpid(), 9)")).returncode == 128 + 9
    assert shown("x")["holders"] == []


def test_cmd_that_cannot_be_started(tmp_path):
    missing, forbidden = run("lock", "x", "--", "no-such-command"), run("lock", "x", "--", str(tmp_path))
    assert (missing.returncode, missing.stderr) == (127, "holdfast: no-such-command: No such file or directory\n")
    assert (forbidden.returncode, forbidden.stderr) == (126, f"holdfast: {tmp_path}: Permission denied\n")
    assert shown("x")["holders"] == []


def test_cmd_is_ended_when_the_lease_is_lost(directory):
    """First asked, then not."""
    with started("lock", "x", "--grace", "0.3", *STUBBORN) as holder:
        assert holder.stdout.readline() == "in\n"
        shutil.rmtree(directory)
        assert holder.wait(BOUND) == 123
        assert holder.stdout.read() == "TERM\n"
        assert "the lease on 'x' was lost" in holder.stderr.read()


def test_cmd_is_ended_when_holdfast_was_stopped_for_longer_than_its_ttl():
    code = "import os, time; print(os.environ['HOLDFAST_TOKEN']); time.sleep(60)"
    with started("lock", "x", "--ttl", "3", *python(code)) as holder:
        token = int(holder.stdout.readline())
        stop(holder.pid)
        later = run("lock", "x", "--timeout", "60", *python("import os; print(os.environ['HOLDFAST_TOKEN'])"))
        assert int(later.stdout) > token
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(BOUND) == 123


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent has died")
def test_cmd_does_not_go_on_alone_when_holdfast_is_killed():
    with started("lock", "x", *python("import os, time; print(os.getpid()); time.sleep(60)")) as holder:
        cmd = int(holder.stdout.readline())
        holder.kill()
        holder.wait(BOUND)

        def is_gone():
            with contextlib.suppress(FileNotFoundError):  # a zombie is gone as well: its new parent may not look at it
                return Path(f"/proc/{cmd}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
            return True

        until(is_gone, "the end of CMD")
    assert run("lock", "x", "--timeout", "60", "--", "true").returncode == 0


def test_an_event_is_set_waited_for_and_cleared():
    assert (run("event", "show", "e").stdout, run("event", "show", "e").returncode) == ("unset\n", 1)
    assert run("event", "wait", "e", "--timeout", "0.1").returncode == 124
    with started("event", "wait", "e") as waiter:
        until_waiting("e")
        assert run("event", "set", "e").returncode == 0
        assert waiter.wait(BOUND) == 0
    assert json.loads(run("event", "show", "e", "--json").stdout) == {"name": "e", "is_set": True}
    assert run("event", "wait", "e").returncode == 0
    assert run("event", "clear", "e").returncode == 0
    assert run("event", "show", "e").returncode == 1


def test_a_barrier_lets_all_go_at_once():
    with started("barrier", "b", "3") as first:
        until_waiting("b")
        with started("barrier", "b", "3", "--json") as second:
            until_waiting("b", 2)
            assert run("barrier", "b", "3").stdout == "2\n"
            assert json.loads(second.stdout.read()) == {"name": "b", "index": 1}
            assert first.stdout.read() == "0\n"
            assert [first.wait(BOUND), second.wait(BOUND)] == [0, 0]


def test_ls_and_show():
    assert json.loads(run("ls", "--json").stdout) == []
    with started("lock", "deploy", *HOLD) as holder:
        holder.stdout.readline()
        with started("lock", "deploy", *HOLD):
            until_waiting("deploy")
            run("event", "set", "ready")
            (lock, event) = json.loads(run("ls", "--json").stdout)
            assert (lock["name"], lock["kind"], lock["holders"][0]["token"] > 0) == ("deploy", "lock", True)
            assert (event["name"], event["state"]["is_set"]) == ("ready", True)
            text = run("ls").stdout.splitlines()
            assert text[0].split() == ["name", "kind", "held", "by", "waiting", "state"]
            assert text[1].startswith("deploy  lock")
            assert len(text) == 3
            text = run("show", "deploy").stdout
            assert "holds" in text
            assert "waits" in text
            assert str(holder.pid) in text
            assert json.loads(run("ls", "--json", "--namespace", "another").stdout) == []


@pytest.mark.parametrize("command", [("show", "nothing"), ("resize", "nothing", "2")])
def test_what_nobody_uses(command):
    result = run(*command, "--namespace", "n")
    assert (result.returncode, result.stdout) == (1, "")
    place = f"the namespace 'n' of {os.environ['HOLDFAST_URL']}; look at --url and --namespace"
    assert result.stderr == f"holdfast: nobody uses 'nothing' in {place}\n"


@pytest.mark.parametrize(
    ("url", "variable", "shown"),
    [
        ("redis://me:secret@[::1]:1/2?password=secret", "", "redis://[::1]:1/2?password=..."),
        (None, "rediss://:secret@example.org", "rediss://example.org"),
        (None, "", f"sqlite:///tmp/holdfast-{os.geteuid()}"),
    ],
)
def test_the_place_in_messages_has_no_password(monkeypatch, url, variable, shown):
    from holdfast.cli import looking
    from holdfast.cli.commands.show import show

    monkeypatch.setenv("HOLDFAST_URL", variable)
    with click.Context(show) as context:
        context.params = {"url": url, "namespace": "default"}
        assert looking.place() == shown


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["lock", "x", "--url", "gopher:", "--", "true"], 2, "unknown URL scheme in 'gopher:'"),
        (["lock", "x", "--url", "", "--", "true"], 2, "the URL is empty; leave it out"),
        (["lock", "x", "--ttl", "0", "--", "true"], 2, "ttl must be a number of seconds"),
        (["lock", "", "--", "true"], 2, "a name is a text of 1 to 200 characters"),
        (["ls", "--namespace", ""], 2, "a namespace is a text"),
        (["lock", "x", "--timeout", "-1", "--", "true"], 2, "--timeout"),
        (["lock", "x", "--grace", "-1", "--", "true"], 2, "--grace"),
        (["lock", "x", "--timeout", "nan", "--", "true"], 2, "'nan' is not a valid number of seconds"),
        (["lock", "x", "--grace", "nan", "--", "true"], 2, "'nan' is not a valid number of seconds"),
        (["lock", "--timout=5", "x", "--", "true"], 2, "No such option '--timout'"),
        (["lock", "--timout", "5", "x", "--", "true"], 2, "No such option '--timout'"),
        (["lock", "x", "--timout", "5", "--", "true"], 2, "No such option '--timout'"),
        (["semaphore", "s", "2", "--timout=5", "--", "true"], 2, "No such option '--timout'"),
        (["demo", "--url", "gopher:"], 2, "unknown URL scheme in 'gopher:'"),
        (["demo", "--url", "redis://127.0.0.1:1"], 125, "cannot be reached"),
        (["lock", "x"], 2, "Missing argument"),
        (["semaphore", "s", "0", "--", "true"], 2, "0 is not in the range"),
        (["semaphore", "s", "many", "--", "true"], 2, "'many' is no integer of 1 or more. Has N been left out?"),
        (["semaphore", "s", "--", "echo", "hi"], 2, "'echo' is no integer of 1 or more. Has N been left out?"),
        (["semaphore", "s", "2", "--permits", "0", "--", "true"], 2, "0 is not in the range"),
        (["semaphore", "s", "2", "--permits", "3", "--", "true"], 2, "--permits must be at most N, which is 2 here"),
        (["barrier", "b", "0"], 2, "0 is not in the range"),
        (["dump", "abc"], 2, "'abc' is no process id"),
        (["dump", "0"], 2, "'0' is no process id"),
        (["semaphore", "used", "3", "--", "true"], 125, "'used' is a lock, made by"),
        (["ls", "--url", "sqlite:///proc/none"], 125, "cannot use the directory /proc/none"),
        (["bogus"], 2, "No such command 'bogus'"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(arguments, code, message):
    run("lock", "used", "--", "true")
    result = run(*arguments)
    assert result.returncode == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_cmd_keeps_its_options_and_a_name_may_look_like_one():
    for arguments in (
        ["x", "--", "echo", "-n", "hello"],
        ["x", "echo", "-n", "hello"],
        ["--", "-x", "echo", "-n", "hello"],
    ):
        result = run("lock", *arguments)
        assert (result.returncode, result.stdout, result.stderr) == (0, "hello", "")
    assert shown("-x") is None
    assert json.loads(run("show", "--json", "--", "-x").stdout)["name"] == "-x"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize(
    "arguments", [["ls"], ["ls", "--json"], ["show", "x"], ["event", "show", "e"], ["barrier", "b", "1"]]
)
def test_what_cannot_be_written_is_a_failure_of_holdfast(arguments):
    run("lock", "x", "--", "true")
    run("event", "set", "e")
    with open("/dev/full", "w") as full:
        result = run(*arguments, stdout=full)
    assert (result.returncode, result.stderr) == (125, "holdfast: cannot write: No space left on device\n")


@pytest.fixture
def without_extra(tmp_path):
    """An environment in which the extra is not installed."""
    for name in ("click", "rich"):
        (tmp_path / f"{name}.py").write_text("raise ImportError")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))}


def test_without_the_extra_it_says_what_to_install(without_extra):
    result = run("lock", "x", "--", "true", env=without_extra)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "holdfast: the command line needs an extra: install holdfast with its extra 'cli'\n"
    assert run("--version", env=without_extra).stdout == run("--version").stdout


@pytest.mark.parametrize("arguments", [["--version"], ["demo"]])
def test_without_the_extra_what_cannot_be_written_is_a_failure_as_well(arguments, without_extra):
    with open("/dev/full", "w") as full:
        result = run(*arguments, stdout=full, env=without_extra)
    assert (result.returncode, result.stderr) == (125, "holdfast: cannot write: No space left on device\n")


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["ls", "--json"], ["show", "x"], ["event", "show", "e"], ["barrier", "b", "1"], ["--help"], ["--version"]],
)
def test_a_reader_that_has_gone_ends_it_as_any_program(arguments):
    """And not with 1, which says that something is not set, or not there."""
    run("lock", "x", "--", "true")
    run("event", "set", "e")
    assert without_reader(*arguments) == (141, "")


@pytest.mark.parametrize("arguments", [["demo"], ["--version"]])
def test_without_the_extra_a_reader_that_has_gone_ends_it_as_well(arguments, without_extra):
    assert without_reader(*arguments, env=without_extra) == (141, "")


def without_reader(*arguments, **options):
    """The exit code, and what it says on stderr."""
    read, write = os.pipe()
    os.close(read)
    try:
        result = run(*arguments, stdout=write, **options)
    finally:
        os.close(write)
    return result.returncode, result.stderr


@pytest.mark.parametrize("arguments", [["ls"], ["--version"]])
def test_without_a_stdout(arguments):
    command = f"{shlex.join([*HOLDFAST, *arguments])} >&-"
    result = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, timeout=BOUND, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_without_a_stdout_and_without_the_extra(without_extra):
    command = f"{shlex.join([*HOLDFAST, 'demo'])} >&-"
    result = subprocess.run(
        command, shell=True, stderr=subprocess.PIPE, text=True, timeout=BOUND, check=False, env=without_extra
    )
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.timeout(300)
def test_the_demo_ends_with_its_reader_also_in_its_second_half():
    with started("demo") as demo:
        assert any("turns of the lock" in line for line in demo.stdout)
        demo.stdout.close()
        assert demo.wait(BOUND) == 141
        assert demo.stderr.read() == ""


@pytest.mark.timeout(300)
def test_the_demos_processes_end_with_it(tmp_path):
    with started("demo", env={**os.environ, "TMPDIR": str(tmp_path)}) as demo:
        assert any("turns of the lock" in line for line in demo.stdout)
        demo.kill()
        assert demo.stderr.read() == ""  # which ends when none of them has it open any more


@pytest.mark.timeout(300)
@pytest.mark.parametrize("says", [pytest.param("holdfast", marks=importing), "turns of the lock"])
@pytest.mark.parametrize("has_extra", [True, False])
def test_ctrl_c_ends_the_demo(says, has_extra, without_extra):
    """A terminal sends it to all processes."""
    options = {} if has_extra else {"env": without_extra}
    with started("demo", start_new_session=True, **options) as demo:
        assert any(says in line for line in demo.stdout)
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(BOUND) == 130
        assert demo.stderr.read().strip() == ""


@pytest.mark.parametrize("arguments", [[], ["lock"], ["event"], ["event", "set"], ["barrier"], ["ls"], ["show"]])
def test_help(arguments):
    result = run(*arguments, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage: holdfast")


def test_a_server_is_as_good_as_a_directory():
    url = [shared().url, "--namespace", "as good"]  # other tests of this process use the server as well
    with started("lock", "x", "--url", *url, "--ttl", "30", "--", "cat") as holder:
        until(lambda: run("show", "x", "--url", *url).returncode == 0, "that it holds the lock")
        assert run("lock", "x", "--url", *url, "--timeout", "0", "--", "true").returncode == 124
        (name,) = json.loads(run("ls", "--url", *url, "--json").stdout)
        assert (name["name"], name["holders"][0]["session"]["pid"]) == ("x", holder.pid)
        holder.stdin.close()
        assert holder.wait(BOUND) == 0
    assert run("lock", "x", "--url", *url, "--timeout", "60", "--", "true").returncode == 0
    result = run("lock", "x", "--url", "redis://127.0.0.1:1", "--", "true")
    assert (result.returncode, "cannot be reached" in result.stderr) == (125, True)


def test_the_demo_meets_on_a_server():
    result = run("demo", "--url", shared().url)
    assert result.returncode == 0, result.stdout
