"""What is kept in etcd. NAMESPACE is quoted as in a URL, so that it has no slash; so is NAME in front of a slash.

    holdfast/NAMESPACE/state             the incarnation, the floor, and the mark, with spaces in between
    holdfast/NAMESPACE/record/NAME       the engine's time of the change in µs, a space, and the text
    holdfast/NAMESPACE/of/NAME/began     is there as long as the record is: where its tokens began
    holdfast/NAMESPACE/of/NAME/open      the kind of the additions that the text may have; absent if it may have none
    holdfast/NAMESPACE/of/NAME/told      the session that is told of each addition; absent if nobody is
    holdfast/NAMESPACE/of/NAME/count     is put with each addition, so that its version counts them
    holdfast/NAMESPACE/of/NAME/added/ID-N  an addition, as the row that it is in the text
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

INDEX, OPENED, TOLD, COUNT, ADDED = b"began", b"open", b"told", b"count", b"added/"
"""What the keys of a name end with, or go on with."""


class Keys:
    """The names of a namespace's keys."""

    def __init__(self, namespace: str) -> None:
        self.prefix = f"holdfast/{quote(namespace, safe=' !$&()*+,;=@')}/".encode()
        self.state = self.prefix + b"state"
        self.records = self.prefix + b"record/"
        self.sessions = self.prefix + b"session/"
        self.evictions = self.prefix + b"evicted/"

    def record(self, name: str) -> bytes:
        return self.records + name.encode()

    def of(self, name: str) -> bytes:
        """What all keys of a name but its record's begin with, and no others."""
        return self.prefix + b"of/" + quote(name, safe="").encode() + b"/"

    def index(self, name: str) -> bytes:
        return self.of(name) + INDEX

    def opened(self, name: str) -> bytes:
        return self.of(name) + OPENED

    def told(self, name: str) -> bytes:
        return self.of(name) + TOLD

    def count(self, name: str) -> bytes:
        return self.of(name) + COUNT

    def additions(self, name: str) -> bytes:
        """What the keys of all additions to a text begin with."""
        return self.of(name) + ADDED

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
