"""How the sessions of a directory wake each other: by datagrams. Each session has a socket, where it receives them.

A datagram is `[namespace, name, message]`, and the message ends with a seal: when it was true, and a word that is kept
in the database. Whoever knows the word can change the texts as well. So a message with a fresh seal is as good as what
is in the database, and a session believes it without reading there. Without such a seal it is a hint to look.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from holdfast.cluster.engines.clock import monotonic
from holdfast.cluster.errors import EngineError

from .session_files import SessionFiles

FULL_PAUSE = 0.001
"""Seconds until a wake-up is sent again to a session whose socket was full."""
FRESH = 0.01
"""Seconds for which a seal is fresh, from before the change that the message tells of. If somebody has ended this
session meanwhile, no task of it is let in later than this."""
_DECODER = json.JSONDecoder()
_quoted = encode_basestring_ascii  # as json.dumps() has it, which takes six times as long for a whole packet
_BEFORE_SEAL = "\t"
_LONGEST = 1 << 16
"""Bytes of a datagram. Ours are much shorter."""


class Doorbell:
    """One session's socket, and its way to the sockets of the others."""

    def __init__(
        self,
        files: SessionFiles,
        namespace: str,
        on_wake: Callable[[str, str], None],
        on_doubt: Callable[[], None],
        is_dead: Callable[[str], bool],
    ) -> None:
        """on_doubt: called when somebody asks this session to look whether its files are still there."""
        self.word = ""
        """The word in the seals of this database. It has to be set before anything is sent or received."""
        self.is_sealed = False
        """While `on_wake` is called: whether the message has a fresh seal."""
        self._loop = asyncio.get_running_loop()
        self._files = files
        self._namespace = namespace
        self._quoted_namespace = _quoted(namespace)
        self._on_wake = on_wake
        self._on_doubt = on_doubt
        self._is_dead = is_dead
        self._unsent: dict[str, deque[bytes]] = {}  # by the session whose socket was full
        self._socket: socket.socket = files.bind()

    def listen(self) -> None:
        """Receive wake-ups from now on."""
        self._loop.add_reader(self._socket.fileno(), self._receive)  # by number: not all loops take an object

    def close(self) -> None:
        """Receive no more wake-ups."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    def ring(self, session: str, name: str, message: str, at: float) -> None:
        """See `contract.Engine.wake`. at: since when the message is true, by monotonic()."""
        sealed = f"{message}{_BEFORE_SEAL}{at!r} {self.word}"
        packet = f"[{self._quoted_namespace},{_quoted(name)},{_quoted(sealed)}]".encode()
        unsent = self._unsent.get(session)
        if unsent is None:
            self._send(session, deque([packet]))
        else:
            unsent.append(packet)

    def _send(self, session: str, packets: deque[bytes]) -> None:
        """Send what fits into the socket, and the rest a little later.

        The rest of a session has one timer. With a timer for each packet, thousands of packets would keep the loop so
        busy with trying that a session in the same loop could not read its own.
        """
        try:
            while packets and self._socket.fileno() >= 0:  # if closed meanwhile: others look for themselves
                self._socket.sendto(packets[0], self._files.socket_path(session))
                packets.popleft()
        except BlockingIOError:
            with contextlib.suppress(EngineError):  # if that cannot be told, it may be alive
                if self._is_dead(session):
                    packets.clear()
            if packets:
                self._unsent[session] = packets
                self._loop.call_later(FULL_PAUSE, self._send, session, packets)
                return
        except OSError:
            pass  # the session has ended, or it will look for itself
        self._unsent.pop(session, None)

    def _receive(self) -> None:
        """Read one packet. To try for a second one would cost as much as another call if there is one.

        Anybody who can write into the directory can send a packet, so it may contain anything.
        """
        if self._socket.fileno() < 0:
            return  # in a forked child, which shares its parent's epoll
        try:
            packet, _ = _DECODER.raw_decode(self._socket.recv(_LONGEST).decode())
        except BlockingIOError:
            return
        except (ValueError, RecursionError):  # not sent by holdfast
            return
        match packet:
            case [self._namespace, str(name), str(sealed)]:
                message, found, seal = sealed.rpartition(_BEFORE_SEAL)
                if not found:  # anybody may send that
                    message, seal = sealed, ""
                self.is_sealed = self._is_fresh(seal)
                try:
                    self._on_wake(name, message)
                finally:
                    self.is_sealed = False
            case [None]:
                self._on_doubt()

    def _is_fresh(self, seal: str) -> bool:
        at, _, word = seal.partition(" ")
        if word != self.word:
            return False
        try:
            return 0 <= monotonic() - float(at) < FRESH
        except ValueError:
            return False


def have_it_look(files: SessionFiles, session: str) -> None:
    """Ask a session, of whatever namespace, to look whether its files are still there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
        telling.setblocking(False)
        telling.sendto(json.dumps([None]).encode(), files.socket_path(session))
