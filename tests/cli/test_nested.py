"""`holdfast lock n -- holdfast lock n -- ...` would wait for its own end: an error, at once."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import sys

import pytest
from tests.cluster.servers import shared

import holdfast

from .running import BOUND, HOLDFAST, run, shown, started, until


def nested(*levels):
    """Each under the one before; the innermost says "in"."""
    words = ["echo", "in"]
    for level in reversed(levels):
        words = [*HOLDFAST, *level, "--", *words]
    return subprocess.run(words, capture_output=True, text=True, timeout=BOUND, check=False)


def is_refused(result):
    return (
        (result.returncode, result.stdout) == (125, "")
        and "it would wait for its own end" in result.stderr
        and result.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("more", [[], ["--timeout", "0"], ["--timeout", "30"], ["-q", "--timeout", "0"]])
def test_the_same_lock(more):
    result = nested(["lock", "x"], ["lock", "x", *more])
    assert is_refused(result), result
    assert "'x' is held by process" in result.stderr


def test_through_levels():
    assert is_refused(nested(["lock", "a"], ["lock", "b"], ["lock", "a"]))
    assert nested(["lock", "a"], ["lock", "b"], ["lock", "c"]).stdout == "in\n"


def test_through_a_script(tmp_path):
    script = tmp_path / "script.sh"
    script.write_text(f"#!/bin/sh\n{shlex.join([*HOLDFAST, 'lock', 'x', '--', 'echo', 'in'])}\n")
    assert is_refused(run("lock", "x", "--", "sh", str(script)))


def test_a_semaphore_counts_its_levels():
    two = ["semaphore", "s", "2"]
    assert nested(two, two).stdout == "in\n"
    result = nested(two, two, two)
    assert is_refused(result), result
    assert "all 2 permits of 's' are held by process" in result.stderr


def test_a_semaphore_counts_what_a_level_takes():
    assert nested(["semaphore", "s", "3"], ["semaphore", "s", "3", "--permits", "2"]).stdout == "in\n"
    result = nested(["semaphore", "s", "3", "--permits", "2"], ["semaphore", "s", "3", "--permits", "2"])
    assert is_refused(result), result
    assert "2 of the 3 permits of 's' are held by process" in result.stderr


def test_it_waits_for_others_who_hold_the_rest():
    """Only what is held by commands that wait for this one can never be had."""
    two = ["semaphore", "s", "2"]
    with started(*two, "--", "cat") as other:
        until(lambda: (found := shown("s")) and found["holders"], "the other one's turn")
        words = [*HOLDFAST, *two, "--", *HOLDFAST, *two, "--timeout", "0.3", "--", "true"]
        assert subprocess.run(words, capture_output=True, timeout=BOUND, check=False).returncode == 124
        other.stdin.close()
        assert other.wait(BOUND) == 0


def test_a_semaphore_counts_the_permits_that_there_are_now():
    """What the command line says may be an older number, which goes on to be understood."""
    one, two = ["semaphore", "s", "1"], ["semaphore", "s", "2"]
    fewer = shlex.join([*HOLDFAST, "resize", "s", "1"]) + ";" + shlex.join([*HOLDFAST, *two, "--", "echo", "in"])
    result = run(*two, "--", "sh", "-c", fewer)
    assert is_refused(result), result
    more = (
        shlex.join([*HOLDFAST, "resize", "t", "2"]) + ";" + shlex.join([*HOLDFAST, "semaphore", "t", "1", "--", "echo"])
    )
    result = run("semaphore", "t", *one[2:], "--", "sh", "-c", f"{more} in")
    assert (result.returncode, result.stdout) == (0, "in\n"), result


def test_a_semaphore_that_has_no_permits_for_now():
    """A command that holds none of it waits until another gives some back."""
    make = "import asyncio, holdfast\nasync def main():\n    async with holdfast.connect() as session:\n"
    make += "        await session.semaphore('s', 0).try_acquire()\n        await session.semaphore('s', 0).acquire()\n"
    with started("lock", "other", "--", sys.executable, "-c", make + "asyncio.run(main())"):
        until(lambda: (found := shown("s")) and found["waiters"], "somebody who waits")
        result = nested(["lock", "x"], ["semaphore", "s", "1", "--timeout", "0"])
        assert result.returncode in (124, 125)
        assert "it would wait for its own end" not in result.stderr
    with started("semaphore", "t", "1", "--", "sh", "-c", f"read line; {shlex.join([*HOLDFAST, *TAKE])}") as outer:
        until(lambda: (found := shown("t")) and found["holders"], "the outer one")
        asyncio.run(_no_permits("t"))
        outer.stdin.write("\n")
        assert outer.wait(BOUND) == 125
        assert "it would wait for its own end" in outer.stderr.read()


TAKE = ["semaphore", "t", "1", "--", "true"]


async def _no_permits(name):
    async with holdfast.connect() as session:
        await session.semaphore(name, 1).resize(0)


def test_a_long_name_is_not_repeated():
    result = nested(["lock", "n" * 200], ["lock", "n" * 200])
    assert is_refused(result), result
    assert f"'{'n' * 57}...' is held" in result.stderr


def test_other_namespaces_and_urls_are_other_names(tmp_path):
    for more in (["--namespace", "other"], ["--url", f"sqlite://{tmp_path}/others"], ["--url", shared().url]):
        assert nested(["lock", "x"], ["lock", "x", *more]).stdout == "in\n"


def test_one_place_may_be_written_in_two_ways(tmp_path):
    """The engine is asked for the holders; the URL is not compared."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert is_refused(nested(["lock", "x"], ["lock", "x", "--url", f"sqlite://{tmp_path}/link/locks"]))
    port = shared().port
    one, two = f"redis://127.0.0.1:{port}/0", f"redis://localhost:{port}"
    assert is_refused(nested(["lock", "y", "--url", one], ["lock", "y", "--url", two]))


def test_what_an_ancestor_has_given_back_can_be_had(tmp_path):
    """A job that CMD has left behind asks when CMD has ended."""
    done = tmp_path / "done"
    inner = shlex.join([*HOLDFAST, "lock", "x", "--", "touch", str(done)])
    job = f"(while kill -0 $PPID; do sleep 0.05; done; {inner}) >/dev/null 2>&1 & echo left"
    assert run("lock", "x", "--", "sh", "-c", job).stdout == "left\n"
    until(done.exists, "the job's turn")


@pytest.mark.parametrize("url", ["memory:", "MEMORY:", "memory://", "memory:x"])
@pytest.mark.parametrize(
    "command",
    [["lock", "x", "--", "true"], ["semaphore", "x", "1", "--", "true"], ["ls"], ["event", "set", "x"], ["demo"]],
)
def test_what_excludes_nobody_is_refused(url, command):
    result = run(command[0], "--url", url, *command[1:]) if command[0] != "event" else run(*command, "--url", url)
    assert (result.returncode, result.stdout) == (2, "")
    assert "would exclude nobody" in result.stderr
    assert result.stderr.count("\n") == 1


def test_what_excludes_nobody_is_refused_in_the_environment(monkeypatch):
    monkeypatch.setenv("HOLDFAST_URL", "memory:")
    result = run("lock", "x", "--", "echo", "in")
    assert (result.returncode, result.stdout) == (2, "")
    assert "would exclude nobody" in result.stderr
