"""What a look at an engine may have found, made by hand."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from holdfast.cluster import Deadlock, DeadlockStep, Holding, Inspection, SessionInfo, Waiting

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def session(id):
    return SessionInfo(id, f"session {id}", "web1", 1, NOW)


def name(name, holders, waiters, condition=None):
    """A lock with these holders, and with these waiters: ids, or ids and how many tasks."""
    pairs = [each if isinstance(each, tuple) else (each, 1) for each in waiters]
    return Inspection(
        name,
        "lock",
        "somebody",
        tuple(Holding(session(each), 1, 1, NOW) for each in holders),
        tuple(Waiting(session(id), tasks, 1, condition, NOW) for id, tasks in pairs),
        {},
    )


def step(id, wanted, holder):
    values = {field.name: None for field in dataclasses.fields(DeadlockStep)}
    values |= {"name": "task", "session": session(id), "waits_for": wanted, "kind": "lock", "since": NOW}
    values |= {"held_by": "task", "holder": session(holder), "token": 1}
    return DeadlockStep(**values)


def deadlock(*circle):
    """Sessions, each of which waits for what the next one holds: ("a", "x"), ("b", "y") is a -> x -> b -> y -> a."""
    holders = [id for id, _ in circle[1:]] + [circle[0][0]]
    steps = [step(id, wanted, holder) for (id, wanted), holder in zip(circle, holders, strict=True)]
    return Deadlock(tuple(steps), tuple(sorted(wanted for _, wanted in circle)), 0)
