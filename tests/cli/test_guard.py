"""If holdfast is killed, all that CMD has started ends: somebody else has the lock by now."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from interpreters import RARELY

from holdfast.cli.guard import Guard, end_group

from .running import BOUND, HOLD, HOLDFAST, run, shown, started, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

FAMILY = """
import os, signal, subprocess, sys, time
if '{stubborn}':
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, '-u', '-c', '''
import os, signal, subprocess, sys, time
if "{stubborn}":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), subprocess.Popen(["sleep", "60"]).pid)
time.sleep(60)
'''], preexec_fn=os.setpgrp if '{apart}' else None)
print(os.getpid())
time.sleep(60)
"""
"""CMD with a child and a grandchild; it prints the pids of all three, in two lines."""


def family(*, stubborn=False, apart=False):
    code = FAMILY.format(stubborn="yes" if stubborn else "", apart="yes" if apart else "")
    return ["--", sys.executable, "-u", "-c", code]


def state(pid):
    """The letter in /proc, or "" if there is no such process. A zombie is gone: its new parent may not look at it."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return "" if letter in "ZX" else letter
    return ""


def children(pid):
    found = []
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if each.read_text().rpartition(")")[2].split()[1] == str(pid):
                found.append(int(each.parent.name))
    return found


def guard_of(holder, *others):
    """The child of holdfast that is none of the others."""
    (found,) = {*children(holder.pid)} - {*others}
    return found


def pids(holder, lines=2):
    return [int(word) for _ in range(lines) for word in holder.stdout.readline().split()]


def test_grandchildren_end_as_well():
    with started("lock", "x", *family()) as holder:
        members = pids(holder)
        guard = guard_of(holder, *members)
        assert all(map(state, members))
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not any(map(state, members)), "the end of CMD and what it has started")
        until(lambda: not state(guard), "the end of the guard")


def test_they_end_as_well_if_all_of_holdfasts_own_group_is_killed():
    """As by a program that has started it in a group, and gives up."""
    with started("lock", "x", *family(), start_new_session=True) as holder:
        members = pids(holder)
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait(BOUND)
        until(lambda: not any(map(state, members)), "the end of CMD and what it has started")


def test_who_does_not_end_is_killed_after_the_grace():
    with started("lock", "x", "--grace", "0.5", *family(stubborn=True)) as holder:
        members = pids(holder)
        began = time.monotonic()
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not any(map(state, members)), "the end of CMD and what it has started")
        assert time.monotonic() - began > 0.4


def test_what_is_stopped_ends_as_well():
    with started("lock", "x", "--grace", str(RARELY), *family()) as holder:
        members = pids(holder)
        for each in members:
            os.kill(each, signal.SIGSTOP)
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not any(map(state, members)), "the end of CMD and what it has started")


def test_the_lock_goes_on_at_once():
    """The guard does not keep the session alive."""
    with (
        started("lock", "x", "--grace", str(RARELY), *family(stubborn=True)) as holder,
        contextlib.ExitStack() as stack,
    ):
        members = pids(holder)
        for each in members:
            stack.callback(os.kill, each, signal.SIGKILL)
        holder.kill()
        holder.wait(BOUND)
        assert run("lock", "x", "--timeout", "40", "--", "echo", "in").stdout == "in\n"
        assert all(map(state, members))


def test_it_ends_with_cmd():
    with started("lock", "x", "--", "cat") as holder:
        until(lambda: len(children(holder.pid)) == 2, "CMD and the guard")
        both = children(holder.pid)
        holder.stdin.close()
        assert holder.wait(BOUND) == 0
        assert not any(map(state, both))


def test_it_ends_with_a_holdfast_that_still_waits():
    with contextlib.ExitStack() as stack:
        holder = stack.enter_context(started("lock", "x", *HOLD))
        assert holder.stdout.readline() == "in\n"
        waiter = stack.enter_context(started("lock", "x", "--", "true"))
        until(lambda: (one := shown("x")) and one["waiters"], "the waiter")
        guard = guard_of(waiter)
        waiter.kill()
        waiter.wait(BOUND)
        until(lambda: not state(guard), "the end of the guard")


@pytest.mark.parametrize(
    "arguments", [["lock", "x", "--", "no-such-command"], ["lock", "x", "--url", "gopher:", "--", "true"]]
)
def test_it_is_left_by_nobody(arguments):
    """A shell that becomes holdfast's parent, and then looks for children that nobody has waited for."""
    code = (
        "import ctypes, os, subprocess, sys, time\n"
        "ctypes.CDLL(None).prctl(36, 1)\n"  # what is left becomes this one's child
        "subprocess.run(sys.argv[1:], stderr=subprocess.DEVNULL)\n"
        "try: print(os.waitpid(-1, 0))\n"
        "except ChildProcessError: print('none')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *HOLDFAST, *arguments], capture_output=True, text=True, timeout=BOUND, check=False
    )
    assert result.stdout == "none\n", result.stderr


def test_it_survives_what_cmd_does_to_its_group():
    """Then holdfast, which is in another group as well, tells how CMD has ended."""
    with started("lock", "x", "--", "sh", "-c", "echo in; read line; kill -TERM 0") as holder:
        holder.stdout.readline()
        guard = guard_of(holder, *[each for each in children(holder.pid) if "sh" in command(each)[:1]])
        holder.stdin.write("\n")
        assert holder.wait(BOUND) == 128 + signal.SIGTERM
        assert not state(guard)


def command(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def test_it_is_not_ended_by_what_ends_others():
    """As by a service manager that sends a signal to all processes of a service."""
    with started("lock", "x", *family()) as holder:
        members = pids(holder)
        guard = guard_of(holder, *members)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(guard, number)
        time.sleep(0.1)
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not any(map(state, members)), "the end of CMD and what it has started")


def test_it_has_none_of_the_others_files_open(tmp_path):
    read, write = os.pipe()
    with started("lock", "x", *family(), pass_fds=[write]) as holder:
        members = pids(holder)
        guard = guard_of(holder, *members)
        opened = {number: os.readlink(f"/proc/{guard}/fd/{number}") for number in os.listdir(f"/proc/{guard}/fd")}
        assert opened.keys() == {"0", "1", "2"}
        assert opened["0"].startswith("pipe:")
        assert opened["1"] == opened["2"] == os.devnull
        assert os.readlink(f"/proc/{guard}/cwd") == "/"
        for each in members:  # nor has CMD the pipe, which would keep the guard from learning of the end
            assert opened["0"] not in [os.readlink(link) for link in Path(f"/proc/{each}/fd").iterdir()]
    os.close(read)
    os.close(write)


def test_cmd_is_known_to_it_before_it_is_executed(monkeypatch):
    """So there is no moment at which holdfast could be killed and CMD forgotten."""
    with Guard(grace=0) as guard:
        guard.expect()
        process = subprocess.Popen(["sleep", "60"], process_group=0, preexec_fn=guard.take_charge)
        os.close(guard._write)  # what the end of holdfast does, whatever it was about to do
        assert process.wait(BOUND) in (-signal.SIGTERM, -signal.SIGKILL)
        os.waitpid(guard._pid, 0)


def test_a_group_that_is_gone_is_not_signalled_again(monkeypatch):
    """Its number may be another one's."""
    process = subprocess.Popen(["sleep", "60"], process_group=0)
    sent = []
    kill = os.killpg

    def killpg(group, number):
        kill(group, number)
        sent.append(number)
        process.wait()  # as the process that inherits it does

    monkeypatch.setattr(os, "killpg", killpg)
    end_group(process.pid, grace=1)
    assert sent == [signal.SIGTERM]


@pytest.mark.skipif(not hasattr(os, "waitid"), reason="without waitid() it is reaped when it ends")
def test_it_is_dismissed_before_cmd_is_reaped(monkeypatch):
    """Else it could be told to signal a group whose number is another one's by then."""
    import asyncio

    from holdfast.cli.child import Child

    async def main(guard):
        with Child.noticing_its_end() as look:
            child = Child(["true"], {}, guard)
            look(child)
            await child.ended
            assert os.waitid(os.P_PID, child._process.pid, os.WEXITED | os.WNOWAIT) is not None, "it is there still"
            calls = []
            dismiss, wait = guard.dismiss, child._process.wait
            monkeypatch.setattr(guard, "dismiss", lambda: (calls.append("dismissed"), dismiss()))
            monkeypatch.setattr(child._process, "wait", lambda: (calls.append("reaped"), wait())[1])
            assert child.reap() == 0
            assert calls == ["dismissed", "reaped"]

    with Guard(grace=0) as guard:
        asyncio.run(main(guard))


def test_on_the_loss_of_the_lease_what_cmd_has_started_gets_its_grace(directory, tmp_path):
    """CMD ends at once, and what it has started needs a moment to clean up."""
    slow = "import os, signal, time\ndef end(*_): time.sleep(0.5); open('cleaned', 'w'); os._exit(0)\n"
    slow += "signal.signal(signal.SIGTERM, end); print('in')\nwhile 1: time.sleep(1)"
    script = f'{sys.executable} -u -c "$CODE" & wait'
    with started(
        "lock", "x", "--grace", "20", "--", "sh", "-c", script, cwd=tmp_path, env={**os.environ, "CODE": slow}
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        shutil.rmtree(directory)
        assert holder.wait(BOUND) == 123
        assert (tmp_path / "cleaned").exists()


# CMD of another user


@pytest.fixture
def unprivileged():
    """How to run holdfast as another user than the one who may end CMD; the folder that all of it can reach."""
    if os.getuid() != 0:
        pytest.skip("needs root, to make a program that runs as another user")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("needs setpriv")
    import click
    import rich

    import holdfast

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        program = folder / "as-root"
        shutil.copy(setpriv, program)
        program.chmod(0o755 | stat.S_ISUID)
        (folder / "locks").mkdir()
        os.chown(folder / "locks", 65534, 65534)
        packages = folder / "packages"
        packages.mkdir()
        for package in (click, rich, holdfast):
            shutil.copytree(Path(package.__file__).parent, packages / package.__name__)
        environment = {
            "PYTHONPATH": os.pathsep.join([str(packages), *(each for each in sys.path if "site-packages" in each)]),
            "HOLDFAST_URL": f"sqlite://{folder}/locks",
            "PATH": os.environ["PATH"],
            "PYTHONWARNINGS": "error",
        }
        options = {"user": 65534, "group": 65534, "extra_groups": [], "env": environment, "cwd": "/", "text": True}
        for python in (sys.executable, "/usr/bin/python3"):
            with contextlib.suppress(OSError):
                if not subprocess.run([python, "-m", "holdfast", "ls"], check=False, **options).returncode:
                    break
        else:
            pytest.skip("no interpreter here that another user may run")
        probe = [str(program), "--reuid", "0", "true"]
        if subprocess.run(probe, check=False, **options).returncode:
            pytest.skip("/tmp allows no programs that run as another user")
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

        def start(*arguments):
            return subprocess.Popen([python, "-m", "holdfast", *arguments], **pipe, **options)

        yield start, folder


AS_ROOT = ["--reuid", "0", "--regid", "0", "--clear-groups", "sh", "-c"]
GO = "until [ -e {}/go ]; do sleep 0.05; done"
"""Waits until the test has seen what it has to see while CMD runs."""


def test_cmd_that_may_not_be_signalled_is_waited_for(unprivileged):
    start, folder = unprivileged
    with start("lock", "x", "--", f"{folder}/as-root", *AS_ROOT, f"echo in; {GO.format(folder)}; exit 7") as holder:
        assert holder.stdout.readline() == "in\n"
        holder.send_signal(signal.SIGTERM)
        holder.send_signal(signal.SIGHUP)
        said = holder.stderr.readline()
        (folder / "go").touch()
        assert holder.wait(BOUND) == 7
        said += holder.stderr.read()
        assert "runs as another user" in said
        assert said.count("\n") == 1


def test_cmd_that_may_not_be_signalled_and_the_loss_of_the_lease(unprivileged):
    start, folder = unprivileged
    with start(
        *("lock", "x", "--grace", "0.2", "--", f"{folder}/as-root", *AS_ROOT),
        f"echo in; {GO.format(folder)}; echo out",
    ) as holder:
        assert holder.stdout.readline() == "in\n"
        shutil.rmtree(folder / "locks")
        first, second = holder.stderr.readline(), holder.stderr.readline()
        (folder / "go").touch()
        assert holder.wait(BOUND) == 123
        assert holder.stdout.read() == "out\n", "it was watched until it had ended"
        assert holder.stderr.read() == ""
        assert "the lease on 'x' was lost" in first
        assert "runs as another user" in second


def test_cmd_that_may_not_be_signalled_and_the_end_of_holdfast(unprivileged):
    """The guard can do nothing, and does not stay for it."""
    start, folder = unprivileged
    with start("lock", "x", "--", f"{folder}/as-root", *AS_ROOT, "echo $$; sleep 60") as holder:
        cmd = int(holder.stdout.readline())
        guard = guard_of(holder, cmd)
        holder.kill()
        holder.wait(BOUND)
        until(lambda: not state(guard), "the end of the guard")
        assert state(cmd)
        os.killpg(cmd, signal.SIGKILL)
