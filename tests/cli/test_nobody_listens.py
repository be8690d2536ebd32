"""What holdfast cannot say, as its stderr is full, closed or read by nobody, changes nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytest

from .running import BOUND, HOLD, HOLDFAST, run, started, until


@contextlib.contextmanager
def deaf(how):
    """Something to write to that takes nothing, in words of subprocess."""
    if how == "full":
        if not Path("/dev/full").exists():
            pytest.skip("has no /dev/full")
        with open("/dev/full", "w") as full:
            yield full
    else:
        read, write = os.pipe()
        os.close(read)
        try:
            yield write
        finally:
            os.close(write)


HOW = pytest.mark.parametrize("how", ["full", "no reader"])


def code(stderr, *arguments):
    command = [*HOLDFAST, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, timeout=BOUND, check=False).returncode


@HOW
def test_the_exit_code_is_the_same(how):
    with started("lock", "x", *HOLD) as holder, deaf(how) as stderr:
        assert holder.stdout.readline() == "in\n"
        assert code(stderr, "lock", "x", "--timeout", "0", "--", "true") == 124
        assert code(stderr, "lock", "y", "--timeout", "soon", "--", "true") == 2, "what click says"
        assert code(stderr, "lock", "y", "--", "no-such-command") == 127
        assert code(stderr, "ls", "--url", "redis://127.0.0.1:1") == 125
        assert code(stderr, "show", "nothing") == 1


@HOW
def test_cmd_is_ended_all_the_same_when_the_lease_is_lost(how):
    with deaf(how) as stderr:
        command = [*HOLDFAST, "lock", "x", "--", "sh", "-c", "trap 'echo TERM; exit' TERM; echo in; sleep 60 & wait"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as holder:
            try:
                assert holder.stdout.readline() == "in\n"
                assert run("break", "x").returncode == 0
                assert holder.wait(BOUND) == 123
                assert holder.stdout.read() == "TERM\n"
            finally:
                holder.kill()


@HOW
def test_cmd_has_its_own_stderr_all_the_same(how):
    """It is for CMD to find out."""
    with deaf(how) as stderr:
        assert code(stderr, "lock", "x", "--", "sh", "-c", "trap '' PIPE; echo said >&2 && exit 7; exit 8") == 8


def test_a_fault_of_its_own_that_nobody_reads():
    program = (
        "import holdfast.cli, holdfast.cli.commands as commands, sys\n"
        "commands.run = lambda: 1 / 0\n"
        "sys.exit(holdfast.cli.main())"
    )
    with deaf("no reader") as stderr:
        command = [HOLDFAST[0], "-c", program]
        assert subprocess.run(command, stderr=stderr, timeout=BOUND, check=False).returncode == 125


def test_the_end_of_the_terminal_ends_cmd_and_holdfast():
    """Of a pipeline whose reader leaves, a signal is passed on though nothing can be said any more."""
    with deaf("no reader") as stderr:
        command = [*HOLDFAST, "lock", "x", "--", "sh", "-c", "echo in; exec sleep 60"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as holder:
            assert holder.stdout.readline() == "in\n"
            holder.send_signal(signal.SIGHUP)
            assert holder.wait(BOUND) == 128 + signal.SIGHUP
    until(lambda: run("lock", "x", "--timeout", "0", "--", "true").returncode == 0, "the release")
