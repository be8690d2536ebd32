"""Makes the connections that a forked child inherits harmless.

The child has its parent's sockets, in its parent's epoll. Whatever a clean-up in the child does to them (an event loop
that ends, a library that closes what it cannot use any more) is done to the parent's connections: bytes are sent and
read, and when the child's loop forgets a socket, the parent's loop is never told of it again. So each descriptor gets
the null device put in its place. It is not closed, because its number could then come to mean something else.
"""

from __future__ import annotations

import os


def blank(file: int) -> None:
    """In a forked child: put the null device in the place of a descriptor. The parent's descriptor stays."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.dup2(null, file, inheritable=False)
    finally:
        os.close(null)
