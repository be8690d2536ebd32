"""In a terminal: CMD stays in the job that the shell has made, whatever is redirected."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest

from .running import BOUND, HOLDFAST, shown, started, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

H = shlex.join(HOLDFAST)


class Terminal:
    """A program in a terminal of its own, as a user has it before them."""

    def __init__(self, *command, cwd):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                os.chdir(cwd)
                os.execvpe(command[0], command, {**os.environ, "PS1": "$ ", "PS2": "", "TERM": "dumb", "ENV": ""})
            finally:
                os._exit(127)
        self.text = ""

    def type(self, text):
        os.write(self.master, text.encode())

    def until(self, text):
        """Until that has appeared since the last time."""
        deadline = time.monotonic() + BOUND
        while text not in self.text:
            assert select.select([self.master], [], [], max(deadline - time.monotonic(), 0))[0], (text, self.text)
            try:
                read = os.read(self.master, 4096)
            except OSError:  # so Linux says that it has ended
                read = b""
            assert read, f"ended before {text!r}: {self.text!r}"
            self.text += read.decode().replace("\r\n", "\n")
        before, _, self.text = self.text.partition(text)
        return before

    def wait(self):
        """Its exit code."""
        deadline = time.monotonic() + BOUND
        while True:
            if select.select([self.master], [], [], 0.01)[0]:
                with contextlib.suppress(OSError):
                    self.text += os.read(self.master, 4096).decode()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.text

    def close(self):
        """As when its window is closed; then nothing of it is left."""
        members = [pid for pid, (_, session) in processes().items() if session == self.pid] if self.pid else []
        os.close(self.master)
        for each in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        if self.pid:
            os.waitpid(self.pid, 0)


def processes():
    """Each one's state and session."""
    found = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = each.read_text().rpartition(")")[2].split()
            found[int(each.parent.name)] = words[0], int(words[3])
    return found


@pytest.fixture
def terminal(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*command):
            one = Terminal(*command, cwd=tmp_path)
            stack.callback(one.close)
            return one

        yield start


@pytest.fixture
def shell(terminal):
    """An interactive one, with job control."""
    one = terminal("sh", "-i")
    one.until("$ ")
    one.type("stty -echo\n")
    one.until("$ ")
    return one


ASKS = 'printf "password: " >/dev/tty; read answer </dev/tty; echo "got $answer"'
"""What ssh, sudo and gpg do."""


@pytest.mark.parametrize("redirected", ["</dev/null", "<file", "", "</dev/null 2>err", "</dev/null 2>err >out"])
def test_cmd_can_ask_on_the_terminal(shell, tmp_path, redirected):
    (tmp_path / "file").write_text("input\n")
    (tmp_path / "ask.sh").write_text(ASKS)
    shell.type(f"{H} lock x -- sh ask.sh {redirected}; echo code $?\n")
    shell.until("password: ")
    shell.type("secret\n")
    shell.until("code 0")
    if ">out" in redirected:
        assert (tmp_path / "out").read_text() == "got secret\n"


def test_cmd_can_ask_on_the_terminal_within_a_pipeline(shell, tmp_path):
    (tmp_path / "ask.sh").write_text(f"cat; {ASKS}")
    shell.type(f"echo piped | {H} lock x -- sh ask.sh | cat; echo end\n")
    before = shell.until("password: ")
    shell.type("secret\n")
    after = shell.until("end\n")
    assert "piped" in before + after, "which cat may print before or after the question"
    assert "got secret" in after


def test_cmd_can_ask_on_the_terminal_of_a_script(terminal, tmp_path):
    """Without job control: all is one job."""
    (tmp_path / "ask.sh").write_text(ASKS)
    (tmp_path / "script.sh").write_text(f"{H} lock x -- sh ask.sh </dev/null; echo code $?")
    script = terminal("sh", "script.sh")
    script.until("password: ")
    script.type("secret\n")
    assert "got secret" in script.until("code 0")
    assert script.wait() == 0


@pytest.mark.parametrize("redirected", ["", "</dev/null"])
def test_ctrl_c_reaches_cmd_once(shell, tmp_path, redirected):
    (tmp_path / "cmd.py").write_text(
        "import signal, time\ncount = 0\n"
        "def on(*_):\n    global count\n    count += 1\n"
        "signal.signal(signal.SIGINT, on)\nprint('in', flush=True)\n"
        "end = time.monotonic() + 60\n"
        "while not count and time.monotonic() < end: time.sleep(0.01)\n"
        "time.sleep(0.5)\nprint('times', count)\nraise SystemExit(9)\n"
    )
    shell.type(f"{H} lock x -- {sys.executable} cmd.py {redirected}; echo code $?\n")
    shell.until("in\n")
    shell.type("\x03")
    shell.until("times 1\n")
    shell.until("code 9\n")


# A Ctrl-C that comes when CMD is about to sleep is lost in Python's time.sleep(), whose handler runs after it, and in
# dash, which has not started its child yet. So CMD leaves the signal to the kernel, waits for it, or sleeps shortly.


def test_ctrl_c_ends_a_cmd_that_has_no_ear_for_it(shell, tmp_path):
    (tmp_path / "cmd.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "print('in', flush=True)\ntime.sleep(60)\nprint('not here')\n"
    )
    shell.type(f"{H} lock x -- {sys.executable} cmd.py </dev/null; echo code $?\n")
    shell.until("in\n")
    shell.type("\x03")
    assert "not here" not in shell.until("code 130\n")
    assert shown("x")["holders"] == []


def test_ctrl_c_reaches_a_cmd_that_has_left_the_job(shell, tmp_path):
    """As timeout(1) does, which is then not told by the terminal."""
    (tmp_path / "cmd.py").write_text(
        "import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\nos.setpgid(0, 0)\n"
        "print('in', flush=True)\nraise SystemExit(9 if signal.sigtimedwait([signal.SIGINT], 60) else 1)\n"
    )
    shell.type(f"{H} lock x -- {sys.executable} cmd.py; echo code $?\n")
    shell.until("in\n")
    shell.type("\x03")
    shell.until("code 9\n")


def test_ctrl_backslash_goes_to_cmd_as_well(shell, tmp_path):
    """Java prints its threads then, and goes on: with its lock."""
    (tmp_path / "cmd.py").write_text(
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGQUIT])\nprint('in', flush=True)\n"
        "signal.sigtimedwait([signal.SIGQUIT], 60)\nprint('threads', flush=True)\n"
        "print('got', open('/dev/tty').readline())"
    )
    shell.type(f"{H} lock x -- {sys.executable} cmd.py </dev/null; echo code $?\n")
    shell.until("in\n")
    shell.type("\x1c")
    shell.until("threads")
    assert len(shown("x")["holders"]) == 1
    shell.type("one\n")
    shell.until("got one")
    shell.until("code 0")


@pytest.mark.parametrize("redirected", ["", "</dev/null"])
def test_ctrl_z_stops_cmd_and_fg_goes_on(shell, tmp_path, redirected):
    (tmp_path / "cmd.sh").write_text(f"echo $$ >pid; {ASKS}")
    shell.type(f"{H} lock x -- sh cmd.sh {redirected}\n")
    shell.until("password: ")
    cmd = int((tmp_path / "pid").read_text())
    shell.type("\x1a")
    shell.until("$ ")  # the shell has the terminal again
    until(lambda: processes()[cmd][0] == "T", "that CMD is stopped")
    assert len(shown("x")["holders"]) == 1
    shell.type("jobs\n")
    assert "topped" in shell.until("$ ") or "uspended" in shell.text
    shell.type("fg\n")
    until(lambda: processes()[cmd][0] != "T", "that CMD goes on")
    shell.type("secret\n")
    shell.until("got secret")
    until(lambda: shown("x")["holders"] == [], "the release")


def test_a_job_in_the_background_runs_to_its_end(shell):
    shell.type(f"{H} lock x -- sh -c 'sleep 0.3; echo \"do\"ne' </dev/null & wait; echo code $?\n")
    shell.until("done\n")
    shell.until("code ")


def test_a_job_in_the_background_that_asks_is_stopped_as_any_and_fg_lets_it_ask(shell, tmp_path):
    """With a group of its own, CMD alone would be stopped, and `fg` would not reach it: a lock held for ever."""
    (tmp_path / "cmd.sh").write_text("echo $$ >pid; read answer </dev/tty; echo got $answer")
    shell.type(f"{H} lock x -- sh cmd.sh </dev/null &\n")
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text().strip(), "CMD")
    cmd = int(pid.read_text())
    until(lambda: processes()[cmd][0] == "T", "that CMD is stopped")
    shell.type("\n")
    shell.until("$ ")
    shell.type("fg\n")
    until(lambda: processes()[cmd][0] != "T", "that CMD goes on")
    shell.type("secret\n")
    shell.until("got secret")
    until(lambda: shown("x")["holders"] == [], "the release")


def test_what_is_sent_to_a_job_in_the_background_reaches_cmd(shell, tmp_path):
    """Ctrl-C cannot have been meant for it."""
    (tmp_path / "cmd.py").write_text(
        "import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n"
        "open('pid', 'w').write(str(os.getppid()))\nsignal.sigtimedwait([signal.SIGINT], 60)\n"
    )
    shell.type(f"{H} lock x -- {sys.executable} cmd.py </dev/null &\n")
    pid = tmp_path / "pid"
    until(lambda: pid.exists() and pid.read_text(), "CMD")
    os.kill(int(pid.read_text()), signal.SIGINT)
    until(lambda: shown("x")["holders"] == [], "the release")


def test_cmd_ends_when_holdfast_is_killed_in_a_terminal(shell, tmp_path):
    (tmp_path / "cmd.sh").write_text("echo $PPID $$ >pids; exec sleep 60")
    shell.type(f"{H} lock x -- sh cmd.sh </dev/null\n")
    file = tmp_path / "pids"
    until(lambda: file.exists() and file.read_text().strip(), "CMD")
    holdfast, cmd = map(int, file.read_text().split())
    os.kill(holdfast, signal.SIGKILL)
    until(lambda: processes().get(cmd, ("", 0))[0] in ("", "Z"), "the end of CMD")


@pytest.mark.parametrize("columns", [80, 400])
def test_what_is_copied_from_a_report_is_never_broken(terminal, monkeypatch, columns):
    """As a token, and what tells the processes apart."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with started("lock", "x", "--", "sh", "-c", "echo in; read line", "w" * 80) as holder:
        assert holder.stdout.readline() == "in\n"
        [held] = shown("x")["holders"]
        one = terminal("env", "TERM=xterm", *HOLDFAST, "show", "x")
        assert one.wait() == 0
        lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", one.text).splitlines()[1:]]
    session = held["session"]
    titles = "session since token" if columns == 80 else "session host pid since token command"
    assert lines[0].split() == titles.split()
    assert lines[1].startswith("holds")
    assert session["name"] in lines[1].split()
    assert str(held["token"]) in lines[1].split()
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s\)", lines[1])
    rest = lines[1] if columns == 400 else "".join(lines[2:])
    assert str(session["pid"]) in rest.split()
    assert rest.endswith(session["command"][-20:])


@pytest.mark.parametrize("columns", [80, 400])
def test_names_and_tokens_in_a_list_are_never_broken(terminal, monkeypatch, columns):
    name = "n" * 70
    monkeypatch.setenv("COLUMNS", str(columns))
    with started("lock", name, "--", "sh", "-c", "echo in; read line") as holder:
        assert holder.stdout.readline() == "in\n"
        [held] = shown(name)["holders"]
        one = terminal("env", "TERM=xterm", *HOLDFAST, "ls")
        assert one.wait() == 0
        lines = [line.strip() for line in re.sub(r"\x1b\[\d*m", "", one.text).splitlines()]
    who, token = held["session"]["name"], str(held["token"])
    if columns == 80:
        assert lines == [name, f"lock; held by {who}; waiting: 0; locked: yes, tokens: {token}"]
    else:
        assert [line.split() for line in lines] == [
            ["name", "kind", "held", "by", "waiting", "state"],
            [name, "lock", who, "0", "locked:", "yes,", "tokens:", token],
        ]
