"""What is kept in etcd. NAMESPACE is quoted as in a URL, so that it has no slash.

    holdfast/NAMESPACE/state             the incarnation, the floor, and the mark, with spaces in between
    holdfast/NAMESPACE/record/NAME       the engine's time of the change in µs, a space, and the text
    holdfast/NAMESPACE/name/NAME         is there as long as the record is: where its tokens began
    holdfast/NAMESPACE/open/NAME         the kind of the additions that the text may have; absent if it may have none
    holdfast/NAMESPACE/told/NAME         the session that is told of each addition; absent if nobody is
    holdfast/NAMESPACE/count/NAME        is put with each addition, so that its version counts them
    holdfast/NAMESPACE/added/NAME/ID-N   an addition, as the row that it is in the text; NAME is quoted
    holdfast/NAMESPACE/session/ID        a description of the session in JSON; it goes with the session's lease
    holdfast/NAMESPACE/inbox/ID          the last wake-up of the session; it goes with the session's lease
    holdfast/NAMESPACE/evicted/TIME-ID   the note of an eviction; it goes with a lease of a day

A session's id is the id of its lease. So who wakes a session knows the lease that the wake-up is to go with.

The session's own key is put when the session begins, and then only if it is there. Its version, which etcd counts up
with each put, numbers the session's tries: see `link`.

`history` says what the incarnation and the mark are for.
"""

from __future__ import annotations

import secrets
from urllib.parse import quote

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LEASES = 1 << 63
"""The ids of leases are below."""


class Keys:
    """The names of a namespace's keys."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"holdfast/{quote(namespace, safe=' !$&()*+,;=@')}/".encode()
        self.state = self.prefix + b"state"
        self.records = self.prefix + b"record/"
        self.indices = self.prefix + b"name/"
        self.sessions = self.prefix + b"session/"
        self.evictions = self.prefix + b"evicted/"

    def record(self, name: str) -> bytes:
        return self.records + name.encode()

    def index(self, name: str) -> bytes:
        return self.indices + name.encode()

    def opened(self, name: str) -> bytes:
        return self.prefix + b"open/" + name.encode()

    def told(self, name: str) -> bytes:
        return self.prefix + b"told/" + name.encode()

    def count(self, name: str) -> bytes:
        return self.prefix + b"count/" + name.encode()

    def additions(self, name: str) -> bytes:
        """What the keys of all additions to a text begin with, and no others."""
        return self.prefix + b"added/" + quote(name, safe="").encode() + b"/"

    def session(self, session: str) -> bytes:
        return self.sessions + session.encode()

    def inbox(self, session: str) -> bytes:
        return self.prefix + b"inbox/" + session.encode()

    def eviction(self, micros: int, session: str) -> bytes:
        return self.evictions + b"%020d-%b" % (micros, session.encode())


def new_lease() -> int:
    """The id of a new lease: 63 bits that nobody else draws."""
    return 1 + secrets.randbelow(_LEASES - 1)


def session_of(lease: int) -> str:
    """The id of the session with this lease."""
    digits = ""
    while lease:
        lease, digit = divmod(lease, 36)
        digits = _DIGITS[digit] + digits
    return digits


def lease_of(session: str) -> int:
    """The lease of a session; 0 if there cannot be a session of this id."""
    try:
        lease = int(session, 36)
    except ValueError:
        return 0
    return lease if 0 < lease < _LEASES else 0
