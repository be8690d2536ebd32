"""What a forked child has of its parent's connections: the same sockets, in the same epoll.

Whatever a clean-up in the child does to them (an event loop that ends, a library that closes what it cannot use any
more) is done to the parent's: bytes are sent and read, and where the child's loop forgets a socket, the parent's is
never told of it again. So the child gets something harmless in the place of each descriptor. It is not closed, as its
number could then come to mean something else.
"""

from __future__ import annotations

import os


def blank(file: int) -> None:
    """In a child: put the null device in the place of a descriptor, for this process alone."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.dup2(null, file, inheritable=False)
    finally:
        os.close(null)
