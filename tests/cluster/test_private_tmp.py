"""A process with a /tmp of its own, as systemd's PrivateTmp= gives it, is told that it meets nobody there."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import PrivateTmpWarning
from holdfast.cluster.engines.embedded import engine as embedded_engine
from holdfast.cluster.engines.embedded import mounts, private_tmp

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
PROC = "23 22 0:21 / /proc rw shared:2 - proc proc rw"
TMPFS = "30 22 0:35 / /tmp rw shared:9 - tmpfs tmpfs rw"
PRIVATE = "64 22 8:1 /tmp/systemd-private-ab12-app.service-Zk/tmp /tmp rw shared:3 - ext4 /dev/sda1 rw"
PRIVATE_TMPFS = "64 30 0:35 /systemd-private-ab12-app.service-Zk/tmp /tmp rw shared:3 - tmpfs tmpfs rw"
DISCONNECTED = "64 22 0:77 / /tmp rw shared:3 - tmpfs tmpfs rw"
BOUND_BACK = "65 64 8:1 /tmp/holdfast-7 /tmp/holdfast-7 rw shared:3 - ext4 /dev/sda1 rw"
ELSEWHERE = "65 22 0:99 / /tmpfiles rw - tmpfs tmpfs rw"


@pytest.fixture
def tables(tmp_path, monkeypatch):
    def write(own, first):
        for name, lines in (("OWN", own), ("FIRST", first)):
            table = tmp_path / name
            if lines is None:
                table.unlink(missing_ok=True)
            else:
                table.write_text("".join(f"{line}\n" for line in lines))
            monkeypatch.setattr(mounts, name, table)

    return write


@pytest.mark.parametrize(
    ("own", "first", "expected"),
    [
        ([ROOT, PROC], [ROOT, PROC], False),
        ([ROOT, TMPFS], [ROOT, TMPFS], False),
        ([ROOT, PRIVATE], [ROOT, PROC], True),
        ([ROOT, TMPFS, PRIVATE_TMPFS], [ROOT, TMPFS], True),
        ([ROOT, DISCONNECTED], [ROOT], True),
        ([ROOT, DISCONNECTED], [ROOT, DISCONNECTED], False),  # a container: its first process has the same
        ([ROOT, PRIVATE, BOUND_BACK], [ROOT], False),  # the directory itself is everybody's
        ([ROOT, ELSEWHERE], [ROOT], False),
        ([ROOT, PRIVATE], None, False),  # it cannot be told
        (None, None, False),
        ([ROOT, PRIVATE], ["nonsense", "", "1 2 3 - x"], False),
        (["nonsense", ROOT, "1 2 3 4 - "], [ROOT], False),
    ],
)
def test_whose_tmp_it_is_is_told_from_the_mounts(tables, own, first, expected):
    tables(own, first)
    assert private_tmp.is_private(Path("/tmp/holdfast-7")) is expected


@pytest.fixture
def default(tmp_path, monkeypatch):
    monkeypatch.setattr(private_tmp, "_told", False)
    monkeypatch.delenv("HOLDFAST_URL", raising=False)
    monkeypatch.setattr(embedded_engine, "default_directory", lambda: tmp_path / "locks")
    monkeypatch.setattr("holdfast.cluster.engines.embedded.directory.default_directory", lambda: tmp_path / "locks")
    return tmp_path


async def open_and_close(url=None):
    async with holdfast.connect(url):
        pass


async def use(url=None):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await open_and_close(url)
        await open_and_close(url)
    return [each for each in caught if issubclass(each.category, RuntimeWarning)]


def test_a_process_is_warned_once_and_told_what_to_write(tables, default):
    tables([ROOT, f"64 22 8:1 /private{default} {default} rw - ext4 /dev/sda1 rw"], [ROOT])
    (warning,) = asyncio.run(use())
    assert warning.category is PrivateTmpWarning
    assert "HOLDFAST_URL=sqlite:///var/lib/NAME" in str(warning.message)
    assert str(default / "locks") in str(warning.message)
    assert not asyncio.run(use())


def test_the_warning_has_a_public_class_to_filter_by(tables, default):
    assert (PrivateTmpWarning.__module__, PrivateTmpWarning.__bases__) == ("holdfast.cluster", (RuntimeWarning,))
    tables([ROOT, f"64 22 8:1 /private{default} {default} rw - ext4 /dev/sda1 rw"], [ROOT])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", category=PrivateTmpWarning)
        asyncio.run(open_and_close())


def test_a_filter_can_make_it_an_error(tables, default):
    tables([ROOT, f"64 22 8:1 /private{default} {default} rw - ext4 /dev/sda1 rw"], [ROOT])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=PrivateTmpWarning)
        for _ in range(2):
            with pytest.raises(PrivateTmpWarning, match="HOLDFAST_URL=sqlite:///var/lib/NAME"):
                asyncio.run(open_and_close())


def test_who_has_named_a_directory_is_not_warned(tables, default):
    tables([ROOT, f"64 22 8:1 /private{default} {default} rw - ext4 /dev/sda1 rw"], [ROOT])
    assert not asyncio.run(use(f"sqlite://{default}/another"))


def can_unshare():
    unshare = shutil.which("unshare")
    return unshare is not None and subprocess.run([unshare, "-m", "true"], capture_output=True).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="a mount namespace of one's own takes root")
@pytest.mark.parametrize("private", [True, False])
def test_the_command_line_says_it_in_one_line(tmp_path, private):
    pytest.importorskip("click")
    environment = {name: value for name, value in os.environ.items() if name != "HOLDFAST_URL"}
    environment["PYTHONPATH"] = str(Path(holdfast.__file__).parents[1])
    mount = 'mount --bind "$0" /tmp &&' if private else ""
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mount} exec "$1" -m holdfast ls --namespace none', tmp_path, sys.executable],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=BOUND,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == private
    for line in lines:
        assert line.startswith("holdfast: this process has a /tmp of its own")
        assert "HOLDFAST_URL=sqlite:///var/lib/NAME" in line
