"""Signals that were ignored when holdfast was started stay so, for holdfast and for CMD."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys

import pytest

from .running import BOUND, HOLD, HOLDFAST, run, shown, started, until, until_waiting

LATE = ["--", "sh", "-c", "echo in; read line; echo done"]
NUMBERS = [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
IGNORING = (
    "import os, signal, sys; signal.signal(int(sys.argv[1]), signal.SIG_IGN); os.execvp(sys.argv[2], sys.argv[2:])"
)
"""A program that starts another one as nohup does."""


@contextlib.contextmanager
def started_ignoring(number, *arguments):
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", IGNORING, str(int(number)), *HOLDFAST, *arguments]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", NUMBERS)
def test_what_was_ignored_ends_neither_holdfast_nor_cmd(number):
    with started_ignoring(number, "lock", "x", *LATE) as holder:
        assert holder.stdout.readline() == "in\n"
        holder.send_signal(number)
        holder.stdin.write("\n")
        assert holder.wait(BOUND) == 0
        assert holder.stdout.read() == "done\n"
        assert holder.stderr.read() == ""


@pytest.mark.parametrize("number", [*NUMBERS, signal.SIGQUIT])
def test_cmd_ignores_it_too(number):
    code = f"import signal; print(signal.getsignal({int(number)}) is signal.SIG_IGN)"
    with started_ignoring(number, "lock", "x", "--", sys.executable, "-c", code) as holder:
        assert holder.stdout.read() == "True\n"
    assert run("lock", "x", "--", sys.executable, "-c", code).stdout == "False\n"


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("waits_for", ["lock", "event"])
def test_what_was_ignored_does_not_end_a_wait(number, waits_for):
    with started("lock", "x", *HOLD) as holder:
        assert holder.stdout.readline() == "in\n"
        arguments = ["lock", "x", "--", "echo", "mine"] if waits_for == "lock" else ["event", "wait", "x e"]
        with started_ignoring(number, *arguments) as waiter:
            until_waiting("x" if waits_for == "lock" else "x e")
            waiter.send_signal(number)
            run("event", "set", "x e")
            holder.stdin.write("\n")
            assert waiter.wait(BOUND) == 0
            assert waiter.stderr.read() == ""


def test_the_others_are_passed_on_all_the_same():
    code = f"import signal, time; signal.signal({int(signal.SIGTERM)}, lambda *_: exit(9)); print('in')\n"
    code += "while 1: time.sleep(1)"
    with started_ignoring(signal.SIGHUP, "lock", "x", "--", sys.executable, "-u", "-c", code) as holder:
        holder.stdout.readline()
        holder.send_signal(signal.SIGHUP)
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(BOUND) == 9


def test_nohup(tmp_path):
    """The command itself, with a hangup for the whole group, as when a terminal is closed."""
    done = tmp_path / "done"
    command = ["nohup", *HOLDFAST, "lock", "x", "--", "sh", "-c", f"echo in; sleep 1; touch {done}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout.readline() == "in\n"
        os.killpg(process.pid, signal.SIGHUP)
        assert process.wait(BOUND) == 0
    assert done.exists()


def test_a_background_job_of_a_script(tmp_path):
    """A shell without job control has it ignore Ctrl-C."""
    script = tmp_path / "script.sh"
    (tmp_path / "cmd.sh").write_text("echo $PPID > pid; while ! test -e go; do sleep 0.05; done; echo done")
    script.write_text(f"{shlex.join(HOLDFAST)} lock x -- sh cmd.sh &\nwait $!; echo code $?\n")
    with subprocess.Popen(["sh", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        pid = tmp_path / "pid"
        until(lambda: pid.exists() and pid.read_text().strip(), "CMD's start")
        os.kill(int(pid.read_text()), signal.SIGINT)
        (tmp_path / "go").touch()
        assert process.stdout.read() == "done\ncode 0\n"


def test_sigchld_that_was_ignored_hides_no_exit_code():
    with started_ignoring(signal.SIGCHLD, "lock", "x", "--", "sh", "-c", "exit 7") as holder:
        assert holder.wait(BOUND) == 7
    assert shown("x")["holders"] == []


def test_sigchld_that_was_blocked_hides_no_end_of_cmd():
    """Threads block signals, and what they start has them blocked as well."""

    def block():
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])

    with started("lock", "x", "--", "sh", "-c", "sleep 0.3; exit 7", preexec_fn=block) as holder:
        assert holder.wait(BOUND) == 7
    assert shown("x")["holders"] == []


def test_a_platform_without_these_signals_can_import_it():
    """As Windows, which has neither SIGHUP nor fork."""
    code = (
        "import signal, os\n"
        "for name in ('SIGHUP', 'SIGQUIT', 'SIGCHLD', 'SIGKILL', 'SIGSTOP', 'SIGCONT'): delattr(signal, name)\n"
        "import enum\n"
        "signal.Signals = enum.IntEnum('Signals', {'SIGINT': 2, 'SIGTERM': 15})\n"
        "del os.fork, os.setsid, os.killpg\n"
        "import holdfast.cli.commands as commands, holdfast.cli.signals as signals\n"
        "print([int(each) for each in signals.taken(signals.PASSED_ON)])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=BOUND, check=False)
    assert (result.stdout, result.returncode) == ("[2, 15]\n", 0), result.stderr
