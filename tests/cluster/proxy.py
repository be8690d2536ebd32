"""A proxy before a server, which delays, drops, cuts and counts what goes through."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import NamedTuple, Self


class Protocol(NamedTuple):
    """How a proxy tells what goes through."""

    scheme: str
    """Of URLs."""
    request: bytes
    """What stands once in each request that is counted."""
    message: bytes
    """What stands in each wake-up."""


REDIS = Protocol("redis", b"EVAL", b"$7\r\nmessage\r\n")
ETCD = Protocol("etcd", b"POST /v3/kv/txn", b'"events":')


class Proxy:
    """Use it with `async with`."""

    def __init__(
        self, port: int, round_trip: float = 0.0, tls: ssl.SSLContext | None = None, protocol: Protocol = REDIS
    ) -> None:
        """port: the server's. round_trip: seconds that it adds to each request and its answer. tls: for clients."""
        self._protocol = protocol
        self.target = port
        self.round_trip = round_trip
        self._tls = tls
        self.requests = 0
        """What a session asks for, other than subscribing and greeting."""
        self.cut_at: int | None = None
        """At the request with this number the connection is cut when the server has answered it: the answer is lost."""
        self.cuts = 0
        self.is_deaf = False
        """What servers say is dropped."""
        self.deaf_from: bytes | None = None
        """From the first answer on that contains this, what servers say is dropped."""
        self.is_mute = False
        """What clients say is dropped."""
        self.drops_messages = False
        """Wake-ups are dropped."""
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{self._protocol.scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(lambda *ends: self._serve(*ends), "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.sleep(0)

    def cut(self) -> None:
        """All connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        cut = asyncio.Event()
        try:
            up = self._forward(reader, back, self._from_client, cut)
            await asyncio.gather(up, self._forward(there, writer, self._from_server, cut), return_exceptions=True)
        finally:
            self._writers -= {writer, back}

    async def _forward(self, reader, writer, look, cut):  # type: ignore[no-untyped-def]
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 16):
                data = look(data, cut)
                if not data:
                    continue
                if cut.is_set() and look == self._from_server:
                    self.cuts += 1
                    break
                if self.round_trip:
                    loop.call_later(self.round_trip / 2, self._write, writer, data)
                else:
                    self._write(writer, data)
        writer.transport.abort()
        reader._transport.abort()  # type: ignore[attr-defined]

    @staticmethod
    def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
        if not writer.transport.is_closing():
            writer.write(data)

    def _from_client(self, data: bytes, cut: asyncio.Event) -> bytes:
        """What goes on of it."""
        for _ in range(self.requests_in(data)):
            if self.cut_at is not None and self.requests == self.cut_at:
                cut.set()
            self.requests += 1
        return b"" if self.is_mute else data

    def _from_server(self, data: bytes, cut: asyncio.Event) -> bytes:
        self.is_deaf |= self.deaf_from is not None and self.deaf_from in data
        return b"" if self.is_deaf else self.without_messages(data) if self.drops_messages else data

    def requests_in(self, data: bytes) -> int:
        """How many a client has sent."""
        return data.count(self._protocol.request)

    def without_messages(self, data: bytes) -> bytes:
        """What a server has sent, without wake-ups."""
        return b"" if self._protocol.message in data else data
