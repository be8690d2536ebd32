"""How the sessions of a directory wake each other: a datagram for each hint, at the socket of the one that is woken."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections import deque
from collections.abc import Callable

from holdfast.cluster.errors import EngineError

from .contract import OnWake
from .session_files import SessionFiles

FULL_PAUSE = 0.001
"""Seconds until a wake-up is sent again to a session whose socket is full."""
_LONGEST = 1 << 16
"""Bytes of a datagram. Ours are much shorter."""


class Doorbell:
    """One session's, and its way to those of the others."""

    def __init__(
        self,
        files: SessionFiles,
        namespace: str,
        on_wake: OnWake,
        on_doubt: Callable[[], None],
        is_dead: Callable[[str], bool],
    ) -> None:
        """on_doubt: called when somebody says that this session is to look whether its files are still there."""
        self._loop = asyncio.get_running_loop()
        self._files = files
        self._namespace = namespace
        self._on_wake = on_wake
        self._on_doubt = on_doubt
        self._is_dead = is_dead
        self._unsent: dict[str, deque[bytes]] = {}  # wake-ups, by the session whose socket was full
        self._socket: socket.socket = files.bind()

    def listen(self) -> None:
        """Be woken from now on."""
        self._loop.add_reader(self._socket.fileno(), self._receive)  # its number: not all loops take an object

    def close(self) -> None:
        """Be woken no more."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())

    def ring(self, session: str, name: str, message: str) -> None:
        """See `contract.Engine.wake`."""
        packet = json.dumps([self._namespace, name, message]).encode()
        unsent = self._unsent.get(session)
        if unsent is None:
            self._send(session, deque([packet]))
        else:
            unsent.append(packet)

    def _send(self, session: str, packets: deque[bytes]) -> None:
        """Send what fits into the socket, the rest a little later. (Each packet by itself, thousands of them would keep
        the loop so busy with trying that a session in the same loop does not get to read its own.)"""
        try:
            while packets and self._socket.fileno() >= 0:  # closed meanwhile? The other one looks for itself
                self._socket.sendto(packets[0], self._files.socket_path(session))
                packets.popleft()
        except BlockingIOError:
            with contextlib.suppress(EngineError):  # it may be alive, then
                if self._is_dead(session):
                    packets.clear()
            if packets:
                self._unsent[session] = packets
                self._loop.call_later(FULL_PAUSE, self._send, session, packets)
                return
        except OSError:
            pass  # nobody is there any more, or looks for itself
        self._unsent.pop(session, None)

    def _receive(self) -> None:
        """One packet: to see that there is no other takes as long as to be called again if there is.

        Whoever can write into the directory can send one, so what it says may be anything.
        """
        if self._socket.fileno() < 0:
            return  # in a child, which has its parent's epoll
        try:
            packet = json.loads(self._socket.recv(_LONGEST))
        except BlockingIOError:
            return
        except (ValueError, RecursionError):  # not ours
            return
        match packet:
            case [self._namespace, str(name), str(message)]:
                self._on_wake(name, message)
            case [None]:
                self._on_doubt()


def have_it_look(files: SessionFiles, session: str) -> None:
    """Tell a session, of whatever namespace, to look whether its files are still there."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as telling:
        telling.setblocking(False)
        telling.sendto(json.dumps([None]).encode(), files.socket_path(session))
