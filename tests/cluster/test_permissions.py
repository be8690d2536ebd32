"""The directory is its user's alone: what others may do there, and what is not believed from anybody."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

import pytest
from interpreters import BOUND, RARELY

import holdfast
from holdfast.cluster import EngineError
from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.engines.embedded import directory as directory_module
from holdfast.cluster.session_life import renewal

from .running import run_bounded
from .worker import until_waiting

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@pytest.fixture
def place():
    """A directory that another user can get to, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-test-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def run(main):
    run_bounded(main)


def connect(directory):
    return holdfast.connect(f"sqlite://{directory}")


def use(directory):
    """Open a session there and use it; return which users may do what with each file, while it is open."""

    async def main():
        async with connect(directory) as session, session.lock("x"):
            modes.update({str(file.relative_to(directory)): mode(file) for file in (directory, *directory.rglob("*"))})

    modes = {}
    run(main())
    return modes


def refused(directory, sentence):
    with pytest.raises(EngineError, match=sentence):
        use(directory)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def is_private(modes):
    folders = {".", "s"}
    assert sorted(name.rpartition(".")[2] for name in modes if "/" in name) == ["lock", "sock"]
    assert {"state.db", "state.db-wal", "state.db-shm"} <= modes.keys()
    return all(modes[name] == (0o700 if name in folders else 0o600) for name in modes)


@pytest.mark.parametrize("umask", [0, 0o002, 0o022, 0o077, 0o177, 0o377, 0o777])
def test_whatever_the_umask_nobody_else_can_enter_or_open_anything(place, umask):
    before = os.umask(umask)
    try:
        modes = use(place / "a" / "locks")
    finally:
        os.umask(before)
    assert is_private(modes)
    assert mode(place / "a") & 0o722 == 0o700, "its parent is at least not for others to write"


def test_what_an_earlier_version_has_made_is_tightened(place):
    directory = place / "locks"
    use(directory)
    for folder in (directory, directory / "s"):
        folder.chmod(0o755)
    (directory / "state.db").chmod(0o644)
    for name in ("state.db-wal", "state.db-shm"):
        (directory / name).touch()
        (directory / name).chmod(0o666)
    modes = use(directory)
    assert modes.pop(".") == 0o755, "it may have been made for something else, too"
    assert is_private({**modes, ".": 0o700})


@pytest.mark.parametrize("loose", [0o775, 0o770, 0o757, 0o777, 0o1777, 0o720])
def test_a_directory_that_others_may_write_to_is_refused(place, loose):
    directory = place / "locks"
    directory.mkdir()
    directory.chmod(loose)
    refused(directory, f"others may write to it, and so end sessions; run: chmod 700 {directory}")
    assert [*directory.iterdir()] == []
    directory.chmod(0o700)
    use(directory)


@pytest.mark.parametrize("name", ["s", "state.db", "state.db-wal", "state.db-shm", "state.db-journal"])
def test_nothing_in_it_may_be_a_symlink(place, name):
    directory, elsewhere = place / "locks", place / "elsewhere"
    directory.mkdir(0o700)
    elsewhere.mkdir() if name == "s" else elsewhere.touch()
    (directory / name).symlink_to(elsewhere)
    before = mode(elsewhere)
    refused(directory, f"{name} is a symlink, where holdfast keeps its .*; remove it")
    assert mode(elsewhere) == before


def test_nor_something_of_another_kind(place):
    directory = place / "locks"
    directory.mkdir(0o700)
    (directory / "s").touch()
    refused(directory, "s is a file, where holdfast keeps its sessions; remove it")
    (directory / "s").unlink()
    os.mkfifo(directory / "state.db")
    refused(directory, "state.db is something other than a file")
    (directory / "state.db").unlink()
    (directory / "state.db").mkdir()
    refused(directory, "state.db is a directory")


@as_root
@pytest.mark.parametrize("name", ["s", "state.db", "state.db-wal"])
def test_nothing_in_it_may_be_somebody_elses(place, name):
    directory = place / "locks"
    directory.mkdir(0o700)
    (directory / name).mkdir() if name == "s" else (directory / name).touch()
    os.chown(directory / name, NOBODY, NOBODY)
    refused(directory, f"{name} belongs to user {NOBODY}, not to 0")


@as_root
@pytest.mark.parametrize("where", ["on the way", "at the end"])
def test_the_symlink_of_another_user_is_not_followed(place, where):
    (place / "real" / "locks").mkdir(parents=True, mode=0o700)
    link = place / "link"
    link.symlink_to(place / "real" if where == "on the way" else place / "real" / "locks")
    directory = link / "locks" if where == "on the way" else link
    use(directory)  # one's own, or root's
    os.lchown(link, NOBODY, NOBODY)
    refused(directory, f"{link} is a symlink of user {NOBODY}, .*; name the directory by a path without it")


def test_symlinks_of_ones_own_are_followed(place):
    (place / "real").mkdir()
    (place / "one").symlink_to("real")
    (place / "two").symlink_to(place / "one" / ".." / "one")
    use(place / "two" / "locks")
    assert (place / "real" / "locks" / "state.db").exists()
    (place / "round").symlink_to("round")
    refused(place / "round" / "locks", "Too many levels of symbolic links")
    (place / "file").touch()
    refused(place / "file" / "locks", "Not a directory")


def test_an_ancestor_that_everybody_may_write_to_is_refused(place):
    (place / "public").mkdir()
    directory = place / "public" / "more" / "locks"
    (place / "public").chmod(0o777)
    refused(directory, f"everybody may write to {place}/public, .*; run: chmod o-w {place}/public")
    assert not (place / "public" / "more").exists()
    (place / "public").chmod(0o1777)  # as /tmp
    use(directory)
    (place / "public").chmod(0o775)  # a group of its own, as many users have
    use(directory)


def by_another(code):
    """Run it in a process of another user; return what it prints."""
    package = str(Path(holdfast.__file__).parents[1])
    script = f"import os, sys\nsys.path.insert(0, {package!r})\nimport holdfast.cluster\nos.setgroups([])\n"
    script += f"os.setgid({NOBODY})\n" + dedent(code)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=BOUND, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout


@as_root
def test_the_user_is_the_effective_one():
    code = f"""
        from holdfast.cluster.engines.embedded.directory import default_directory
        os.seteuid({NOBODY})
        print(os.getuid(), default_directory())
    """
    assert by_another(code) == f"0 /tmp/holdfast-{NOBODY}\n"


TRY = """
    import errno, fcntl, json, socket
    directory, session = {directory!r}, {session!r}
    os.setuid({nobody})
    def attempt(what, call):
        try:
            call()
        except OSError as exc:
            print(what, errno.errorcode[exc.errno])
        else:
            print(what, "succeeded")
    def ring():
        packet = json.dumps(["default", "x", "1 99 1"]).encode()
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(packet, f"{{directory}}/s/{{session}}.sock")
    attempt("list", lambda: os.listdir(f"{{directory}}/s"))
    for name in ("state.db", "state.db-wal", "state.db-shm", f"s/{{session}}.lock"):
        attempt("read " + name.partition("/")[0], lambda: os.open(f"{{directory}}/{{name}}", os.O_RDONLY))
    attempt("ring", ring)
    attempt("unlink", lambda: os.unlink(f"{{directory}}/s/{{session}}.lock"))
    attempt("make", lambda: os.mkdir(f"{{directory}}/new"))
"""


@as_root
@pytest.mark.parametrize("umask", [0, 0o022])
@pytest.mark.parametrize("loose", [0o700, 0o755])
def test_another_user_can_do_nothing_there(place, umask, loose):
    """Not even lock a byte of the database for reading, which would stop all changes."""
    directory = place / "locks"

    async def main():
        async with connect(directory) as one, connect(directory) as two:
            async with one.lock("x"):
                directory.chmod(loose)
                waiting = asyncio.create_task(two.lock("x").acquire())
                await until_waiting(one, "x")
                code = TRY.format(directory=str(directory), session=two.id, nobody=NOBODY)
                tried = (await asyncio.to_thread(by_another, code)).splitlines()
                assert len(tried) == 8
                assert all(line.endswith(" EACCES") for line in tried), tried
                assert not waiting.done()
                await one.engine.apply("y", lambda stored: ("changed", None))
            await waiting

    before = os.umask(umask)
    try:
        run(main())
    finally:
        os.umask(before)


def forge(session, *packets):
    path = session.engine._files.socket_path(session.id)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as somebody:
        for packet in packets:
            somebody.sendto(packet, path)


@pytest.mark.parametrize("primitive", ["lock", "semaphore", "event", "barrier", "condition"])
def test_a_grant_is_not_believed_from_a_datagram_alone(place, primitive):
    async def main():
        async with connect(place / "locks") as one, connect(place / "locks") as two:
            first, second = begin(primitive, one, two)
            await first()
            waiting = asyncio.create_task(second())
            await until_waiting(one, "x")
            for ticket, seal in itertools.product(range(1, 5), ["", f"\t{monotonic()!r} {'0' * 32}", "\tnan "]):
                forge(two, json.dumps(["default", "x", f"{ticket} 99 1{seal}"]).encode())
                await asyncio.sleep(0.001)
            async with two.lock("another"):  # it has heard all of them
                await asyncio.sleep(0.1)
            assert not waiting.done()
            waiting.cancel()
            await asyncio.wait([waiting])

    run(main())


def begin(primitive, one, two):
    """What has the second one wait for the first one."""
    match primitive:
        case "lock":
            return one.lock("x").acquire, two.lock("x").acquire
        case "semaphore":
            return one.semaphore("x").acquire, two.semaphore("x").acquire
        case "event":
            return one.event("x").clear, two.event("x").wait
        case "barrier":
            return one.barrier("x", 3).reset, two.barrier("x", 3).wait
    condition = two.condition("x")

    async def wait():
        async with condition:
            await condition.wait()

    return one.event("y").clear, wait


PACKETS = [
    b"",
    b"\xff\xfe",
    b"[",
    b"[" * 60_000,
    b"null",
    b'"default"',
    b'["default", "x"]',
    b'["default", ["x"], "1 1 1"]',
    b'["default", "x", 1]',
    b'["default", "x", null]',
    b'["default", "x", "not three numbers"]',
    b'["default", "x", "1 1 1000000000000000000000"]',
    b'["default", "x", "-1 -1 -1"]',
    b'["default", "\\ud800", "1 1 1"]',
    b'["default", "\\u0000", "1 1 1"]',
    b'["default", "x", "' + b"1" * 65_000 + b' 1 1"]',
    b'{"default": 1}',
    b"x" * 100_000,
]


def test_no_datagram_harms_the_loop(place, monkeypatch):
    monkeypatch.setattr(renewal, "LOOK_AGAIN", RARELY)  # it hears all the same, or waits for ever

    async def main():
        wrong = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
        async with connect(place / "locks") as one, connect(place / "locks") as two:
            lock = one.lock("x")
            await lock.acquire()
            waiting = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(one, "x")
            for packet in PACKETS:
                forge(two, packet)
                await asyncio.sleep(0.01)
            assert not waiting.done()
            await lock.release()
            assert (await waiting).token > 1
        assert not wrong

    run(main())


@pytest.mark.parametrize("message", ["", "not three numbers", "1 2", "-1 -1 -1", "1 1 -5", f"1 1 {10**30}", "1" * 5000])
def test_nor_does_a_message_on_an_engine_that_vouches_for_it(message):
    async def main():
        wrong = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: wrong.append(context))
        async with holdfast.connect("memory:", namespace="forged") as one:
            async with holdfast.connect("memory:", namespace="forged") as two:
                async with one.lock("x"):
                    waiting = asyncio.create_task(two.lock("x").acquire())
                    await until_waiting(one, "x")
                    one.engine.wake(two.id, "y", message)
                    one.engine.wake(two.id, "x", "0 0 0" if message.startswith("1 1 1") else message)
                    await asyncio.sleep(0.01)
                await waiting
        assert not wrong

    run(main())


def test_the_database_is_made_and_closed_before_a_thread_of_this_process_can_open_it(place, monkeypatch):
    """To close a file drops the locks that this process has on it, those of other threads included."""
    real, order = directory_module._make_file, []
    directory = place / "locks"

    def make(path):
        order.append("made" if not path.exists() else "there")
        assert directory_module._making.locked()
        real(path)

    monkeypatch.setattr(directory_module, "_make_file", make)
    use(directory)
    use(directory)
    assert order == ["made"]
