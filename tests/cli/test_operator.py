"""`show` and `break`: what an operator needs."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import holdfast
from holdfast.cli.commands import break_

from .running import BOUND, HOLD, HOLDFAST, python, run, shown, started, until, until_waiting


def test_show_says_who_holds_and_who_waits_and_what_they_run():
    with started("lock", "x", *HOLD) as holder, started("event", "wait", "e"):
        assert holder.stdout.readline() == "in\n"
        with started("lock", "x", "--url", os.environ["HOLDFAST_URL"], "--", "echo", "me, too") as waiter:
            until_waiting("x")
            text = run("show", "x").stdout
            (holds,) = [line for line in text.splitlines() if line.startswith("holds")]
            (waits,) = [line for line in text.splitlines() if line.startswith("waits")]
            assert f" {holder.pid} " in holds
            assert "holdfast lock x -- " in holds
            assert time.strftime("%Y-") in holds
            assert f" {waiter.pid} " in waits
            assert "-- echo 'me, too'" in waits
            (one,) = shown("x")["holders"]
            assert one["session"]["alive"] is True
            assert one["session"]["command"].startswith(f"{sys.executable} -m holdfast lock x -- ")
            (other,) = shown("x")["waiters"]
            assert time.strftime("%Y-") in waits, "since when it waits"
            assert other["since"] >= one["since"]
            assert other["session"]["command"].endswith("-- echo 'me, too'")


def test_show_tells_the_dead_from_the_living():
    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not shown("x")["holders"], "that it is not counted")
        assert shown("x")["state"]["locked"] is False
        assert [dead["permits"] for dead in shown("x")["dead"]] == [1]
        text = run("show", "x").stdout
        assert "locked: no" in text
        assert "dead " in text
        assert "held 1" in text
        (line,) = run("ls").stdout.splitlines()[1:]
        assert line.split()[2] == "-", "it is held by nobody"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a process is stopped")
def test_show_says_who_is_stopped():
    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        assert "stopped" not in run("show", "x").stdout
        holder.send_signal(signal.SIGSTOP)
        until(lambda: "stopped" in run("show", "x").stdout, "that it is stopped")


def test_break_ends_who_holds_and_the_next_one_has_it():
    with started("lock", "deploy", "--grace", "20", *python("print('in'); import time; time.sleep(60)")) as holder:
        assert holder.stdout.readline() == "in\n"
        with started("lock", "deploy", "--", "echo", "mine") as waiter:
            until_waiting("deploy")
            result = run("break", "deploy", "--reason", "hangs since noon")
            assert (result.returncode, result.stderr) == (0, "")
            assert result.stdout.startswith("ended the session of ")
            assert f":{holder.pid} (" in result.stdout
            assert result.stdout.count("\n") == 1
            assert waiter.wait(BOUND) == 0
            assert waiter.stdout.read() == "mine\n"
        assert holder.wait(BOUND) == 123
        said = holder.stderr.read()
        assert "was evicted by " in said
        assert ": hangs since noon)" in said
        assert said.count("\n") == 1
    assert "hangs since noon" in run("show", "deploy").stdout
    (eviction,) = shown("deploy")["evictions"]
    assert (eviction["session"]["pid"], eviction["reason"]) == (holder.pid, "hangs since noon")


def test_break_ends_all_holders_of_a_semaphore_or_the_one_that_is_meant():
    def start():
        return started("semaphore", "s", "2", *python("print('in'); import time; time.sleep(60)"))

    with start() as one, start() as two:
        assert [one.stdout.readline(), two.stdout.readline()] == ["in\n", "in\n"]
        ids = {each["session"]["pid"]: each["session"]["id"] for each in shown("s")["holders"]}
        assert run("break", "s", "--session", ids[one.pid]).returncode == 0
        assert one.wait(BOUND) == 123
        assert [each["session"]["pid"] for each in shown("s")["holders"]] == [two.pid]
        with start() as three:
            assert three.stdout.readline() == "in\n"
            assert run("break", "s", "--yes").returncode == 0
            assert [two.wait(BOUND), three.wait(BOUND)] == [123, 123]


def test_break_prints_what_it_did_in_any_encoding():
    with started("lock", "x", "--", "sh", "-c", "echo in; read line; # zürich") as holder:
        assert holder.stdout.readline() == "in\n"
        result = run("break", "x", env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.count("\n") == 1
        assert "z\\xfcrich" in result.stdout
        assert holder.wait(BOUND) == 123


def test_what_the_kind_says_is_not_said_again():
    code = (
        "import asyncio, holdfast\n"
        "async def main():\n"
        "    async with holdfast.connect() as session:\n"
        "        await session.semaphore('s', 10).resize(12)\n"
        "        await session.bounded_semaphore('t', 3).resize(3)\n"
        "        await session.barrier('u', 4).reset()\n"
        "asyncio.run(main())"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=BOUND).returncode == 0
    header, *lines = run("ls").stdout.splitlines()
    kind, state = header.index("kind"), header.index("state")
    assert [line[kind : header.index("held by")].strip() for line in lines] == [
        "semaphore of 12",
        "bounded semaphore of 3",
        "barrier of 4",
    ]
    assert [line[state:].strip() for line in lines] == ["free: 12", "free: 3", "arrived: 0, broken: no"]
    assert run("show", "t").stdout.splitlines()[0].endswith("free: 3")
    states = [one["state"] for one in json.loads(run("ls", "--json").stdout)]
    assert [{*state} for state in states] == [{"value", "free", "bounded"}] * 2 + [{"parties", "arrived", "broken"}]


@pytest.mark.parametrize("more", [[], ["--session", "nobody"]])
def test_break_what_nobody_holds(more):
    run("event", "set", "e")
    run("lock", "free", "--", "true")
    for name in ("e", "free", "never used"):
        result = run("break", name, *more)
        assert (result.returncode, result.stdout) == (1, "")
        assert result.stderr == f"holdfast: {'no session nobody' if more else 'nobody'} holds {name!r}\n"


def is_asleep(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a process in /proc")
@pytest.mark.parametrize(
    ("answer", "code", "said", "printed"),
    [("n\n", 1, "nothing was ended", ""), ("y\n", 0, "", "ended the session of"), ("\x03", 130, "", "")],
)
def test_break_asks_on_a_terminal(answer, code, said, printed):
    """The question is on stderr, and does not get between what is printed."""
    with started("lock", "x", *python("print('in'); import time; time.sleep(60)")) as holder:
        assert holder.stdout.readline() == "in\n"
        master, slave = pty.openpty()
        command = [*HOLDFAST, "break", "x"]
        options = {"stdin": slave, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        options["start_new_session"] = True
        code_of = "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); _, *cmd = sys.argv; "
        code_of += "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(cmd[0], cmd)"
        with subprocess.Popen([sys.executable, "-c", code_of, *command], **options) as process:
            asked = ""
            while not asked.endswith("[y/N]: "):
                asked += process.stderr.read(1)
            assert "'x' is held by " in asked
            assert f":{holder.pid} (" in asked
            until(lambda: is_asleep(process.pid), "that it reads")  # input() does not see a Ctrl-C that comes before
            os.write(master, answer.encode())
            assert process.wait(BOUND) == code
            assert said in process.stderr.read()
            text = process.stdout.read()
            assert text.startswith(printed)
            assert bool(text) is bool(printed)
        os.close(slave)
        os.close(master)
        assert (len(shown("x")["holders"]) == 1) is (code != 0)


def test_a_program_is_told(tmp_path):
    code = (
        "import asyncio, holdfast\n"
        "async def main():\n"
        "    async with holdfast.connect() as session, session.lock('x'):\n"
        "        print('in', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        with contextlib.ExitStack() as stack:
            stack.callback(program.kill)
            assert program.stdout.readline() == "in\n"
            assert run("break", "x", "--reason", "maintenance").returncode == 0
            _, said = program.communicate(timeout=BOUND)
            assert said.splitlines()[-1].startswith("holdfast.cluster.LeaseLost: ")
            assert said.splitlines()[-1].endswith(": maintenance")


def test_what_others_have_written_does_nothing_to_the_terminal():
    with started("lock", "x", "--", "sh", "-c", "echo in; read line; #\x1b[31m\nred") as holder:
        assert holder.stdout.readline() == "in\n"
        text = run("show", "x").stdout
        assert r"read line; #\x1b[31m\nred" in text
        assert "\x1b" not in text
        assert run("break", "x", "--reason", "\x1b[31mred").returncode == 0
        assert holder.wait(BOUND) == 123
        said = holder.stderr.read()
        assert r": \x1b[31mred)" in said
        assert "\x1b" not in said
    assert "\x1b" not in run("show", "x").stdout


def test_no_password_is_shown():
    with started("lock", "x", "--", "sh", "-c", "echo in; read line", "redis://me:secret@example.org") as holder:
        assert holder.stdout.readline() == "in\n"
        text = run("show", "x", "--json").stdout
    assert "secret" not in text
    assert "redis://example.org" in json.loads(text)["holders"][0]["session"]["command"]


def test_a_semaphore_gets_more_permits_while_it_is_used():
    with started("semaphore", "s", "1", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        with started("semaphore", "s", "1", *python("print('in too')")) as waiter:
            until_waiting("s")
            assert run("resize", "s", "2").returncode == 0
            assert waiter.stdout.readline() == "in too\n"
        assert shown("s")["state"]["value"] == 2
        assert run("semaphore", "s", "2", "--", "true").returncode == 0


@pytest.mark.parametrize("name", ["lock", "nothing"])
def test_what_is_no_semaphore_is_not_resized(name):
    run("lock", "lock", "--", "true")
    done = run("resize", name, "2")
    assert done.returncode == (1 if name == "nothing" else 125)
    assert ("is a lock, not a semaphore" if name == "lock" else "nobody uses 'nothing'") in done.stderr


# What is closed


def test_what_is_closed_is_told_and_can_be_opened_again():
    async def close() -> None:
        async with holdfast.connect() as session:
            await session.lock("x").close("maintenance\x1b[2J")
            await session.condition("c", session.lock("x")).close()
            await session.event("y").close()

    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        with started("lock", "x", "--", "true") as waiter:
            until_waiting("x")
            asyncio.run(close())
            assert waiter.wait(BOUND) == 125
        told = [run(*command).stdout for command in (["ls"], ["show", "x"], ["top", "--times", "1"])]
    for text in (told[0], told[2]):
        assert "closed: maintenance\\x1b[2J, condition 'c' closed" in text, "a terminal would obey it"
    assert re.search(
        r"closed: maintenance\\x1b\[2J, since [-\d]+ [:\d]+ \(\d+ s\), condition 'c' closed, since [-\d]+ ", told[1]
    )
    assert "y  " in told[-1], "what is closed is not idle"
    for says in ("opened\n", "was not closed\n"):
        opened = run("reopen", "x")
        assert (opened.returncode, opened.stdout) == (0, says)
    assert run("lock", "x", "--", "true").returncode == 0
    assert run("reopen", "nothing").returncode == 1


# Who asks


NO_UTF_8 = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.mark.parametrize(
    "environment", [NO_UTF_8, {"LOGNAME": "n" * 300}, {"LOGNAME": "zürich"} | NO_UTF_8], ids=["locale", "long", "both"]
)
def test_break_whatever_the_environment_says(environment):
    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        result = run("break", "x", "--reason", "Züge", env={**os.environ, **environment})
        assert result.returncode == 0, result
        assert holder.wait(BOUND) == 123
    (eviction,) = shown("x")["evictions"]
    assert eviction["reason"] == "Züge"
    if "LOGNAME" in environment:
        assert eviction["by"].startswith(environment["LOGNAME"][:100] + "@")


def test_break_by_a_user_without_a_name(monkeypatch):
    """As in a container that runs under a number which its /etc/passwd lacks."""

    def nobody():
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert break_._who_asks() == f"user {os.getuid()}@{socket.gethostname()}"


def test_show_says_who_reads_who_writes_and_who_waits_for_what():
    with holdfast.connect().sync as session, holdfast.connect().sync as other:
        mine, others = session.rw_lock("index"), other.rw_lock("index")
        with mine.reader, mine.reader:
            assert shown("index")["holders"][0]["side"] == "reader"
            writer = threading.Thread(target=others.writer.acquire)
            writer.start()
            until_waiting("index")
            printed = run("show", "index").stdout
            assert "2 readers" in printed
            assert "to write" in printed
            assert "readers: 2, writing: no" in run("ls").stdout
        writer.join(BOUND)
        assert re.search(r"holds .* writer", run("show", "index").stdout)
        others.writer.release()
