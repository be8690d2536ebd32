"""The keys and channels of a namespace, and what is kept under each. All of them have one hash tag.

    holdfast:{NAMESPACE}                 a hash: the floor, and the incarnation of the server in which it was set
    holdfast:{NAMESPACE}:record:NAME     a revision, the kind of its additions ("-" if it may not have any), and the
                                         session that is told of them ("-": nobody), each followed by a space; then the
                                         text with its additions
    holdfast:{NAMESPACE}:names           a sorted set: each name, with the server's time of its last change in µs
    holdfast:{NAMESPACE}:session:ID      the number of the session's connection, a space, and a description of the
                                         session in JSON; the key expires when it was not renewed for the session's ttl
    holdfast:{NAMESPACE}:evicted         a sorted set of notes: the server's time of an eviction in µs, a space, and
                                         the note; sorted by that time
    holdfast:{NAMESPACE}:wake:ID         the channel on which the session is woken

A revision is a number, a dot, and the id of the session that has made it. The number is higher than that of the
revision before, and no session uses a number twice. So a revision is never used for two texts, whatever becomes of the
server's data. An addition, a row of its own behind the text, leaves the revision as it is. So the text of a revision
may grow, and a session that knows the revision and the length knows the text.

A session that connects again numbers its new connection before it asks for anything. From then on, a request that was
on its way on an older connection is not done any more.

The incarnation is the replication id. It changes with each start of a server and with each promotion of a replica. The
first script that runs in a new incarnation raises the floor to the server's microseconds since 1970; nobody grants
faster than one token per microsecond.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from holdfast.cluster.engines.knowledge import Version

_STORED = re.compile(rb"(\d+\.\S*) (\S+) \S+ (.*)", re.DOTALL)


class Keys:
    """The names of a namespace's keys and channels."""

    def __init__(self, namespace: str) -> None:
        self.namespace = f"holdfast:{{{quote(namespace, safe=' !$&()*+,;=@')}}}"
        self.length = len(self.namespace.encode())
        """In bytes, of the namespace's own key."""
        self.names = f"{self.namespace}:names"
        self.evictions = f"{self.namespace}:evicted"

    def record(self, name: str) -> str:
        return f"{self.namespace}:record:{name}"

    def session(self, session: str) -> str:
        return f"{self.namespace}:session:{session}"

    def channel(self, session: str) -> str:
        return f"{self.namespace}:wake:{session}"


def decode(stored: bytes) -> Version:
    """Read what is kept under a name; nothing if `stored` is empty."""
    if not stored:
        return Version()
    found = _STORED.fullmatch(stored)
    if found is None:  # not written by holdfast; a reader will see that the text is no record
        return Version(text=stored.decode(errors="backslashreplace"))
    revision, kind, text = found.groups()
    return Version(revision.decode(), text.decode(errors="backslashreplace"), kind.decode(errors="backslashreplace"))
