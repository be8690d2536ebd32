"""Where the nodes and the edges of a drawing go: in layers, with few crossings. Pure.

A node stands one layer to the left of the nearest one to which it leads. So most edges point to the right, and the
drawing has no more layers than the longest of the shortest ways. Each layer is ordered by the means of the neighbours,
as in Sugiyama's method. Parts that do not touch each other stand one below the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

WIDTH = 170
"""Of a node, in pixels."""
HEIGHT = 40
BETWEEN_LAYERS = 70
BETWEEN_NODES = 16
BETWEEN_PARTS = 28
MARGIN = 32
_OUT = 28
"""How far an edge leads out of a node before it turns back."""
_LANE = 14
"""Between two edges that lead back below their part."""
_LOWER = 150
"""How much lower than the tallest layer of its part a layer begins, at most."""
_SWEEPS = 6

Edge = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layout:
    """A drawing."""

    width: float
    height: float
    nodes: Mapping[str, tuple[float, float]]
    """The upper left corner of each."""
    edges: Mapping[Edge, str]
    """The path of each, as in SVG."""


def laid_out(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    """The drawing of a graph. The ends of the edges are among the nodes.

    Parts come in the order of their first nodes.
    """
    among = {node: index for index, node in enumerate(nodes)}
    known = sorted({*edges}, key=lambda edge: (among[edge[0]], among[edge[1]]))
    at: dict[str, tuple[float, float]] = {}
    paths: dict[Edge, str] = {}
    top, width = float(MARGIN), 0.0
    for part in _parts(nodes, known):
        inside = {*part}
        layers = _layers(part, [edge for edge in known if edge[0] in inside])
        tallest = max(map(_extent, layers))
        for number, layer in enumerate(layers):
            x = MARGIN + number * (WIDTH + BETWEEN_LAYERS)
            y = top + min((tallest - _extent(layer)) / 2, _LOWER)  # none begins out of sight
            for index, node in enumerate(layer):
                at[node] = x, y + index * (HEIGHT + BETWEEN_NODES)
        top += tallest
        for edge in known:
            if edge[0] in inside:
                start, end = at[edge[0]], at[edge[1]]
                if abs(end[0] - start[0]) > WIDTH + BETWEEN_LAYERS:
                    top += _LANE
                    paths[edge] = _below(start, end, top)
                else:
                    paths[edge] = _beside(start, end)
        top += BETWEEN_PARTS
        width = max(width, len(layers) * (WIDTH + BETWEEN_LAYERS) - BETWEEN_LAYERS)
    return Layout(width + 2 * MARGIN, max(top - BETWEEN_PARTS, 0) + MARGIN, at, paths)


def _parts(nodes: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """The parts that touch each other."""
    near: dict[str, list[str]] = {node: [] for node in nodes}
    for one, other in edges:
        near[one].append(other)
        near[other].append(one)
    parts: list[list[str]] = []
    seen: set[str] = set()
    for node in nodes:
        if node not in seen:
            seen.add(node)
            part = [node]
            for each in part:  # it grows meanwhile
                new = [other for other in dict.fromkeys(near[each]) if other not in seen]
                seen.update(new)
                part += new
            parts.append(part)
    return parts


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """The layers of one part, from left to right, each from above."""
    before: dict[str, list[str]] = {node: [] for node in nodes}
    behind: dict[str, list[str]] = {node: [] for node in nodes}
    for one, other in edges:
        behind[one].append(other)
        before[other].append(one)
    layer = _from_the_end(nodes, before, behind)
    layers: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for node in nodes:
        layers[-1 - layer[node]].append(node)
    for sweep in range(_SWEEPS):
        order = layers[1:] if sweep % 2 else layers[-2::-1]
        step = 1 if sweep % 2 else -1
        for each in order:
            place = {node: index for one in layers for index, node in enumerate(one)}
            beside = layer[each[0]] + step
            means = {}
            for node in each:
                near = [place[other] for other in (*before[node], *behind[node]) if layer[other] == beside]
                means[node] = sum(near) / len(near) if near else float(place[node])
            each.sort(key=means.__getitem__)
    return layers


def _from_the_end(
    nodes: Sequence[str], before: Mapping[str, Sequence[str]], behind: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """How many steps each node is from the nearest end.

    An end is a node that leads nowhere. Of those from which none is reached, as they lead into a circle, it is the one
    to which the most lead.
    """
    steps: dict[str, int] = {}
    ends = [node for node in nodes if not behind[node]]
    while True:
        steps |= dict.fromkeys(ends, 0)
        reached = [*ends]
        for node in reached:  # it grows meanwhile
            for one in before[node]:
                if one not in steps:
                    steps[one] = steps[node] + 1
                    reached.append(one)
        rest = [node for node in nodes if node not in steps]
        if not rest:
            return steps
        ends = [max(rest, key=lambda node: len(before[node]))]


def _extent(layer: Sequence[str]) -> float:
    return len(layer) * (HEIGHT + BETWEEN_NODES) - BETWEEN_NODES


def _beside(start: tuple[float, float], end: tuple[float, float]) -> str:
    """A path to a layer beside, from the side that faces it to the side that faces back."""
    to_the_right = end[0] > start[0]
    x, y = start[0] + (WIDTH if to_the_right else 0), start[1] + HEIGHT / 2
    other_x, other_y = end[0] + (0 if to_the_right else WIDTH), end[1] + HEIGHT / 2
    half = (other_x - x) / 2
    return f"M{x:g} {y:g}C{x + half:g} {y:g} {other_x - half:g} {other_y:g} {other_x:g} {other_y:g}"


def _below(start: tuple[float, float], end: tuple[float, float], lane: float) -> str:
    """A path out of one side, past the layers between below the part, and in from the other side."""
    to_the_right = end[0] > start[0]
    out = -_OUT if to_the_right else _OUT
    x, y = start[0] + (0 if to_the_right else WIDTH), start[1] + HEIGHT / 2
    other_x, other_y = end[0] + (WIDTH if to_the_right else 0), end[1] + HEIGHT / 2
    return (
        f"M{x:g} {y:g}C{x + out:g} {y:g} {x + out:g} {lane:g} {x:g} {lane:g}H{other_x:g}"
        f"C{other_x - out:g} {lane:g} {other_x - out:g} {other_y:g} {other_x:g} {other_y:g}"
    )
