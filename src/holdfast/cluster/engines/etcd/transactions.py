"""The parts of a transaction as etcd's JSON gateway reads them, and what is found in its answer.

Each transaction of holdfast's goes through etcd's log as a change: what has several things to read has an empty
transaction among them (`look`), and what has one makes a range request. Without that, a server of version 3.5.1 was
seen to crash in the tests.

The value of an absent key is neither equal to anything nor different from it. Its version and its revisions are 0.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Part = dict[str, Any]
"""A comparison, or something to do."""
MOST = 100
"""Comparisons, or things to do, in one transaction: etcd takes 128 of either by default."""


def version_is(key: bytes, version: int) -> Part:
    """How often the key was put since it was absent."""
    return {"target": "VERSION", "result": "EQUAL", "version": str(version), "key": _coded(key)}


def exists(key: bytes) -> Part:
    return {"target": "VERSION", "result": "GREATER", "version": "0", "key": _coded(key)}


def revision_is(key: bytes, revision: int) -> Part:
    """The revision of the key's last change; 0 if it is absent."""
    return {"target": "MOD", "result": "EQUAL", "mod_revision": str(revision), "key": _coded(key)}


def value_is(key: bytes, value: bytes) -> Part:
    return {"target": "VALUE", "result": "EQUAL", "value": _coded(value), "key": _coded(key)}


def put(key: bytes, value: bytes, lease: int = 0) -> Part:
    leased = {"lease": str(lease)} if lease else {}
    return {"requestPut": {"key": _coded(key), "value": _coded(value), **leased}}


def get(key: bytes) -> Part:
    return {"requestRange": {"key": _coded(key)}}


def get_version(key: bytes) -> Part:
    """Whether a key is there, and its version, without its value."""
    return {"requestRange": {"key": _coded(key), "keys_only": True}}


def get_all(prefix: bytes, **options: str | int | bool) -> Part:
    """options: as in etcd's RangeRequest."""
    return {"requestRange": {"key": _coded(prefix), "range_end": _coded(behind(prefix)), **options}}


def delete(key: bytes) -> Part:
    return {"requestDeleteRange": {"key": _coded(key)}}


def delete_all(prefix: bytes) -> Part:
    return delete_until(prefix, behind(prefix))


def delete_until(key: bytes, end: bytes) -> Part:
    """All keys from one key on, without the end."""
    return {"requestDeleteRange": {"key": _coded(key), "range_end": _coded(end)}}


def if_(compares: Sequence[Part], then: Sequence[Part], otherwise: Sequence[Part] = ()) -> Part:
    """Something to do that is a transaction of its own within the other."""
    return {"requestTxn": transaction(compares, then, otherwise)}


def transaction(compares: Sequence[Part], then: Sequence[Part], otherwise: Sequence[Part] = ()) -> Part:
    return {"compare": [*compares], "success": [*then], "failure": [*otherwise]}


def look(parts: Sequence[Part]) -> Part:
    """A transaction that only reads, made one that might not; see above."""
    return transaction([], [*parts, if_([], [])])


def in_range(answer: Mapping[str, Any]) -> list[Kept]:
    """What a range request has found."""
    return [kept(each) for each in answer.get("kvs", ())]


def revision_of(answer: Mapping[str, Any]) -> int:
    """Of the whole store, when it answered."""
    return int(answer.get("header", {}).get("revision", 0))


def watched(key: bytes, prefix: bool, without: str) -> Part:
    """A watch of a key, or of all with this prefix. without: the events that are left out, NOPUT or NODELETE."""
    end = {"range_end": _coded(behind(key))} if prefix else {}
    return {"create_request": {"key": _coded(key), "filters": [without], **end}}


def behind(prefix: bytes) -> bytes:
    """The first key behind all that begin with this; the prefixes here end with a slash."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class Kept(NamedTuple):
    """What is kept under a key."""

    key: bytes = b""
    value: bytes = b""
    revision: int = 0
    """Of its last change; 0 if there is nothing."""
    version: int = 0


NOTHING = Kept()


class Outcome(NamedTuple):
    """What a transaction has come to."""

    succeeded: bool
    revision: int
    """Of the whole store, when the transaction was made."""
    found: list[Any]
    """For each thing that was done: the keys found, in a list; the outcome of a transaction; None for the others."""

    def all(self, index: int) -> list[Kept]:
        """The keys that were found by the thing with this index."""
        found: list[Kept] = self.found[index]
        return found

    def one(self, index: int) -> Kept:
        """The key that was found by the thing with this index; NOTHING if it was absent."""
        found = self.all(index)
        return found[0] if found else NOTHING


def outcome(body: Mapping[str, Any]) -> Outcome:
    """Read an answer. etcd leaves out what is 0, false or empty."""
    found: list[Any] = []
    for response in body.get("responses", ()):
        if "response_range" in response:
            found.append([kept(each) for each in response["response_range"].get("kvs", ())])
        elif "response_txn" in response:
            found.append(outcome(response["response_txn"]))
        else:
            found.append(None)
    return Outcome(bool(body.get("succeeded")), revision_of(body), found)


def kept(found: Mapping[str, Any]) -> Kept:
    return Kept(
        b64decode(found.get("key", "")),
        b64decode(found.get("value", "")),
        int(found.get("mod_revision", 0)),
        int(found.get("version", 0)),
    )


def _coded(data: bytes) -> str:
    return b64encode(data).decode("ascii")
