"""Ports for the servers that tests start."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_random = random.SystemRandom()  # no two processes that test beside each other choose the same ports


def free_port() -> int:
    """A port that nobody uses, of those that the system gives to nobody by itself.

    Of the others, any connection on this machine may get one before the server has it, or while it is away: even one
    that is made to this server, which then finds its own port taken.
    """
    first = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 32768
    while True:
        port = _random.randrange(first // 2, first) if first > 4096 else 0
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return int(one.getsockname()[1])
