"""What the tests of the command line share: `holdfast`, in processes of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time

from interpreters import BOUND

HOLDFAST = [sys.executable, "-m", "holdfast"]


def run(*arguments, stdout=subprocess.PIPE, **options):
    return subprocess.run(
        [*HOLDFAST, *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=BOUND,
        check=False,
        **options,
    )


PATIENT = (
    f"import sys, holdfast.cli, holdfast.cli.waits as waits; waits.MOMENT = {BOUND}; sys.exit(holdfast.cli.main())"
)


def told(*arguments):
    """What run() returns. When it has waited in vain, it takes all the time it needs to find out who holds it."""
    command = [sys.executable, "-c", PATIENT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=BOUND, check=False)


@contextlib.contextmanager
def started(*arguments, **options):
    """A process that is ended with the test, and its pipes closed."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*HOLDFAST, *arguments], stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1, **options
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def until(condition, what):
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline, f"not within {BOUND} s: {what}"
        time.sleep(0.01)


def shown(name):
    result = run("show", name, "--json")
    return json.loads(result.stdout) if result.returncode == 0 else None


def until_waiting(name, tasks=1):
    until(lambda: (one := shown(name)) and sum(waiter["tasks"] for waiter in one["waiters"]) == tasks, "a waiter")


def python(code):
    return ["--", sys.executable, "-u", "-c", code]


HOLD = python("import sys; print('in'); sys.stdin.readline()")
"""CMD that says so and then waits for a line."""
STUBBORN = python(
    "import signal, time; signal.signal(signal.SIGTERM, lambda *_: print('TERM')); print('in')\nwhile 1: time.sleep(1)"
)
"""CMD that does not end when it is asked to."""
