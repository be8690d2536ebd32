"""The picture of who waits for whom: which names and sessions are in it, and what it leaves out. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal

from holdfast.cluster import Deadlock, Inspection, SessionInfo

from .layout import HEIGHT, WIDTH, Edge, laid_out

NAMES = 20
"""How many names are drawn, at most."""
HOLDERS = WAITERS = 4
"""How many sessions are drawn for the sake of one name that they hold, or wait for, at most. Those that do both are
drawn first, as a path leads through them."""

How = Literal["waits", "holds", "notify"]


@dataclass(frozen=True, slots=True)
class Node:
    """A name, or a session."""

    id: str
    what: Literal["name", "session"]
    label: str
    note: str
    x: float
    y: float
    bad: bool


@dataclass(frozen=True, slots=True)
class Arrow:
    """That a session waits for a name, that a name is held by a session, or that a session waits to be notified."""

    one: str
    other: str
    how: How
    tasks: int
    """How many tasks wait, or how many permits are held."""
    path: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Graph:
    """What is drawn."""

    nodes: list[Node]
    arrows: list[Arrow]
    width: float
    height: float
    node_width: float
    node_height: float
    says: str
    """What is drawn and what was left out, in a sentence."""


@dataclass(frozen=True, slots=True)
class _Tie:
    """What one session has to do with one name."""

    name: str
    session: SessionInfo
    how: How
    tasks: int


def graph(found: Sequence[Inspection], deadlocks: Sequence[Deadlock] = (), around: str | None = None) -> Graph:
    """Draw the names for which somebody waits, their holders and their waiters.

    found: what a look has found.
    deadlocks: those that it has found.
    around: only what can be reached from this name.
    """
    circles = {edge for each in deadlocks for edge in _circle(each)}
    deadlocked = {node for edge in circles for node in edge}
    ties = {one.name: _ties(one) for one in found if one.waiters}
    if around is not None:
        ties = _reached(ties, around)
    both = _links(ties)
    chosen = sorted(ties, key=lambda name: _rank(name, ties[name], both, deadlocked))[:NAMES]
    drawn = [tie for name in chosen for tie in _drawn(ties[name], both, deadlocked)]
    kinds = {one.name: one.kind for one in found}
    sessions = {tie.session.id: tie.session for tie in drawn}
    ids = [*map(_of_name, chosen), *map(_of_session, sessions)]
    arrows = {edge: tie for tie in drawn for edge in [_edge(tie)]}
    layout = laid_out(ids, arrows)
    waiting = {name: sum(tie.tasks for tie in ties[name] if tie.how != "holds") for name in chosen}
    nodes = [_node(_of_name(name), "name", name, f"{kinds[name]}; {waiting[name]} waiting") for name in chosen]
    nodes += [_node(_of_session(id), "session", each.name, _process(each)) for id, each in sessions.items()]
    return Graph(
        [
            replace(node, x=layout.nodes[node.id][0], y=layout.nodes[node.id][1], bad=node.id in deadlocked)
            for node in nodes
        ],
        [Arrow(*edge, tie.how, tie.tasks, layout.edges[edge], bad=edge in circles) for edge, tie in arrows.items()],
        layout.width,
        layout.height,
        WIDTH,
        HEIGHT,
        _sentence(ties, chosen, len(sessions)),
    )


def _of_name(name: str) -> str:
    """The node of a name. The id of a session may be the same text."""
    return f"name {name}"


def _of_session(id: str) -> str:
    return f"session {id}"


def _circle(deadlock: Deadlock) -> set[Edge]:
    """The edges of a deadlock. A task whose end is awaited is none: the picture has sessions."""
    edges: set[Edge] = set()
    for step in deadlock.steps:
        if step.kind is not None:
            edges.add((_of_session(step.session.id), _of_name(step.waits_for)))
            if step.holder is not None:
                edges.add((_of_name(step.waits_for), _of_session(step.holder.id)))
    return edges


def _ties(one: Inspection) -> list[_Tie]:
    """One tie for each session and what it does, in the order of the record."""
    held: Counter[str] = Counter()
    waits: dict[tuple[str, How], int] = {}
    sessions: dict[str, SessionInfo] = {}
    for holding in one.holders:
        sessions[holding.session.id] = holding.session
        held[holding.session.id] += holding.permits
    for waiting in one.waiters:
        sessions[waiting.session.id] = waiting.session
        key: tuple[str, How] = waiting.session.id, "waits" if waiting.condition is None else "notify"
        waits[key] = waits.get(key, 0) + waiting.tasks
    return [_Tie(one.name, sessions[id], "holds", permits) for id, permits in held.items()] + [
        _Tie(one.name, sessions[id], how, tasks)
        for (id, how), tasks in waits.items()
        if how == "waits" or (id, "waits") not in waits  # one arrow between two nodes
    ]


def _links(ties: dict[str, list[_Tie]]) -> set[str]:
    """The sessions that hold something for which others wait, and wait for something themselves."""
    every = [tie for each in ties.values() for tie in each]
    return {tie.session.id for tie in every if tie.how == "holds"} & {
        tie.session.id for tie in every if tie.how == "waits"
    }


def _rank(name: str, ties: list[_Tie], both: Collection[str], deadlocked: Collection[str]) -> tuple[object, ...]:
    """What stands first is drawn first."""
    linked = any(tie.session.id in both for tie in ties)
    return _of_name(name) not in deadlocked, not linked, -sum(tie.tasks for tie in ties if tie.how != "holds"), name


def _drawn(ties: list[_Tie], both: Collection[str], deadlocked: Collection[str]) -> list[_Tie]:
    first = sorted(ties, key=lambda tie: (_of_session(tie.session.id) not in deadlocked, tie.session.id not in both))
    holders = [tie for tie in first if tie.how == "holds"]
    waiters = [tie for tie in first if tie.how != "holds"]
    return holders[:HOLDERS] + waiters[:WAITERS]


def _reached(ties: dict[str, list[_Tie]], around: str) -> dict[str, list[_Tie]]:
    names_of: dict[str, list[str]] = {}
    for name, each in ties.items():
        for tie in each:
            names_of.setdefault(tie.session.id, []).append(name)
    reached = [around] if around in ties else []
    seen, asked = {*reached}, set[str]()
    for name in reached:  # it grows meanwhile
        for id in {tie.session.id for tie in ties[name]} - asked:
            asked.add(id)
            new = [other for other in names_of[id] if other not in seen]
            seen.update(new)
            reached += new
    return {name: ties[name] for name in ties if name in seen}


def _edge(tie: _Tie) -> Edge:
    name, session = _of_name(tie.name), _of_session(tie.session.id)
    return (name, session) if tie.how == "holds" else (session, name)


def _node(id: str, what: Literal["name", "session"], label: str, note: str) -> Node:
    return Node(id, what, label, note, 0, 0, bad=False)


def _process(session: SessionInfo) -> str:
    return f"pid {session.pid} on {session.host}{', stopped' if session.stopped else ''}"


def _sentence(ties: dict[str, list[_Tie]], chosen: Sequence[str], sessions: int) -> str:
    in_all = len({id for each in ties.values() for id in map(attrgetter("session.id"), each)})
    if not ties:
        return "Nobody waits."
    drawn = f"{_of(len(chosen), len(ties), 'name')} for which somebody waits, and {_of(sessions, in_all, 'session')}."
    if len(chosen) == len(ties) and sessions == in_all:
        return f"Drawn: {drawn}"
    return (
        f"Drawn: {drawn} Left out: names with fewer waiters, and of each name the sessions beyond {HOLDERS} holders "
        f"and {WAITERS} waiters. Deadlocks, and sessions that hold one name and wait for another, are drawn first."
    )


def _of(some: int, all_: int, word: str) -> str:
    return f"{some:,} {word}{'' if some == 1 else 's'}" if some == all_ else f"{some:,} of {all_:,} {word}s"
