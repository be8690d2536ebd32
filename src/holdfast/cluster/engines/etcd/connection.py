"""One connection to a member of etcd: its JSON gateway, by HTTP/1.1.

h11 reads and writes the protocol; the bytes go by asyncio. So it is known of each connection when it was made, which is
what `link` rests on, and a forked child can leave it to its parent.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import h11

from holdfast.cluster.engines.inherited import blank

_CHUNK = 65536
_MOST = 64 * 1024 * 1024
"""Bytes of an answer, at most."""


class Refused(Exception):  # noqa: N818  # what happened, as in errors.py
    """The member has answered that it does not do what it was asked for."""

    def __init__(self, status: int, code: int, message: str) -> None:
        """status: of HTTP. code: of gRPC; -1 if the answer is not etcd's. message: in etcd's words."""
        super().__init__(message)
        self.status = status
        self.code = code


class Broken(ConnectionError):  # noqa: N818  # see above
    """The connection was lost, or what came on it is not HTTP."""


class Answer(NamedTuple):
    """What a member has answered."""

    body: Mapping[str, Any]
    date: float | None
    """What time the member says it is, in whole seconds since 1970."""


class Connection:
    """One connection. One request at a time."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_CHUNK)
        self._writer: asyncio.StreamWriter | None = None
        self.is_broken = False
        self.is_busy = False
        """Whether a request is under way."""

    @property
    def where(self) -> str:
        """The member's address, as messages show it."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    @property
    def is_idle(self) -> bool:
        """Whether a request can be made on it now, as far as is known."""
        return not (self.is_busy or self.is_broken or self._reader.at_eof())

    async def open(self) -> None:
        """Connect. Raises OSError.

        Cancellation: nothing is left.
        """
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
        raw = self._writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    async def request(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Answer:
        """The answer to one request.

        Raises Refused; Broken if there is no answer, and then the request may have been done or not.

        Cancellation: as with Broken. The connection is broken then.
        """
        self.is_busy = True
        try:
            date = await self._begin(path, body, headers)
            parts = []
            size = 0
            async for part in self._parts():
                parts.append(part)
                size += len(part)
                if size > _MOST:
                    raise Broken("the answer is too long")
            self._http.start_next_cycle()
            found = _object(b"".join(parts))
            if "error" in found:  # of a stream that ends after one message
                raise _refusal(200, json.dumps(found).encode())
            return Answer(found, date)
        except Refused:
            raise
        except (OSError, h11.ProtocolError, ValueError, EOFError) as exc:
            self.break_off()
            raise exc if isinstance(exc, Broken) else Broken(str(exc) or type(exc).__name__) from exc
        except BaseException:
            self.break_off()
            raise
        finally:
            self.is_busy = False

    async def stream(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> AsyncGenerator[Mapping[str, Any]]:
        """The messages of an answer that does not end by itself; they come one in a line.

        Raises what request() raises. The connection is of no use afterwards.

        Cancellation: raises at once.
        """
        self.is_busy = True
        try:
            await self._begin(path, body, headers)
            line = b""
            async for part in self._parts():
                *lines, line = (line + part).split(b"\n")
                if len(line) > _MOST:
                    raise Broken("the answer is too long")
                for each in lines:
                    if each:
                        yield _object(each)
        except (h11.ProtocolError, ValueError) as exc:
            raise Broken(str(exc)) from exc
        finally:
            self.break_off()

    async def _begin(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> float | None:
        """Send a request, and read the head of the answer; return its date. Raises Refused with the whole answer."""
        if self._writer is None or self.is_broken:
            raise Broken("the connection was closed")
        content = json.dumps(body, separators=(",", ":")).encode()
        head = h11.Request(
            method="POST",
            target=path,
            headers=[("Host", self.where), ("Content-Length", str(len(content))), *headers.items()],
        )
        http = self._http
        data = http.send_with_data_passthrough(head) or []
        data += http.send_with_data_passthrough(h11.Data(data=content)) or []
        http.send(h11.EndOfMessage())
        self._writer.write(b"".join(data))
        while not isinstance(event := await self._event(), h11.Response):
            if isinstance(event, h11.ConnectionClosed):
                raise Broken("the connection was closed")
        if event.status_code != 200:
            said = b"".join([part async for part in self._parts()])
            if http.our_state is h11.DONE and http.their_state is h11.DONE:
                http.start_next_cycle()
            else:
                self.break_off()
            raise _refusal(event.status_code, said)
        return _date(event)

    async def _parts(self) -> AsyncGenerator[bytes]:
        """The body of the answer, as it comes."""
        while not isinstance(event := await self._event(), h11.EndOfMessage):
            if isinstance(event, h11.ConnectionClosed):
                raise Broken("the answer was cut off")
            if isinstance(event, h11.Data):
                yield bytes(event.data)

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(await self._reader.read(_CHUNK))
        return event

    def break_off(self) -> None:
        """Close the connection, in any state."""
        self.is_broken = True
        if self._writer is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._writer.transport.abort()

    def close_in_child(self) -> None:
        """After a fork: leave the connection to the parent."""
        self.is_broken = True
        raw = None if self._writer is None else self._writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            blank(raw.fileno())


def _object(line: bytes) -> Mapping[str, Any]:
    found = json.loads(line)
    if not isinstance(found, dict):
        raise Broken("what was answered is not etcd's")
    return found


def _refusal(status: int, said: bytes) -> Refused:
    try:
        found = json.loads(said)
        inner = found.get("error", found)
        if isinstance(inner, dict):  # of a stream
            found = {"message": inner.get("message"), "code": inner.get("grpc_code", -1)}
        return Refused(status, int(found.get("code", -1)), str(found.get("message") or found["error"]))
    except (ValueError, KeyError, AttributeError, TypeError):
        return Refused(status, -1, f"HTTP status {status}: {said[:100].decode(errors='replace')}")


def _date(response: h11.Response) -> float | None:
    for name, value in response.headers:
        if name == b"date":
            try:
                return parsedate_to_datetime(value.decode("ascii")).timestamp()
            except (ValueError, TypeError):
                return None
    return None
