"""Where the nodes and the edges of a drawing go: in layers, from left to right, with few crossings. Pure.

The steps are those of Sugiyama's method: turn the edges that close a cycle, layer by the longest path, put a joint into
each layer that an edge crosses, and order each layer by the means of the neighbours. Parts that do not touch each other
stand one below the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

WIDTH = 170
"""Of a node, in pixels."""
HEIGHT = 40
BETWEEN_LAYERS = 70
BETWEEN_NODES = 16
BETWEEN_PARTS = 28
MARGIN = 16
_LANE = 14
"""Between two edges that lead back below their part."""
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


@dataclass(frozen=True, slots=True)
class _Joint:
    """Where an edge crosses a layer."""

    edge: Edge
    layer: int


_Vertex = str | _Joint


def laid_out(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    """The drawing of a graph. The ends of the edges are among the nodes.

    An edge points to the right unless it closes a cycle.
    """
    among = {node: index for index, node in enumerate(nodes)}
    known = sorted({*edges}, key=lambda edge: (among[edge[0]], among[edge[1]]))
    at: dict[str, tuple[float, float]] = {}
    paths: dict[Edge, str] = {}
    top, width = float(MARGIN), 0.0
    for part in _parts(nodes, known):
        inside = {*part}
        drawn = _Part(part, [edge for edge in known if edge[0] in inside])
        drawn.draw(top, at, paths)
        top += drawn.height() + BETWEEN_PARTS
        width = max(width, drawn.width())
    return Layout(width + 2 * MARGIN, max(top - BETWEEN_PARTS, 0) + MARGIN, at, paths)


def _parts(nodes: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """The parts that touch each other; the largest first, and else in the order of the nodes."""
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
    return sorted(parts, key=len, reverse=True)


class _Part:
    """Nodes that hang together."""

    def __init__(self, nodes: Sequence[str], edges: Sequence[Edge]) -> None:
        self._back = _closing(nodes, edges)
        self._forward = [edge for edge in edges if edge not in self._back]
        layer = _layers(nodes, self._forward)
        self._layers: list[list[_Vertex]] = [[] for _ in range(max(layer.values()) + 1)]
        for node in nodes:
            self._layers[layer[node]].append(node)
        self._chains: dict[Edge, list[_Vertex]] = {}
        for edge in self._forward:
            one, other = edge
            joints = [_Joint(edge, number) for number in range(layer[one] + 1, layer[other])]
            for joint in joints:
                self._layers[joint.layer].append(joint)
            self._chains[edge] = [one, *joints, other]
        self._order()
        self._tallest = max(_extent(vertices) for vertices in self._layers)

    def width(self) -> float:
        return len(self._layers) * WIDTH + (len(self._layers) - 1) * BETWEEN_LAYERS

    def height(self) -> float:
        return self._tallest + _LANE * (len(self._back) + 1 if self._back else 0)

    def _order(self) -> None:
        before: dict[_Vertex, list[_Vertex]] = {}
        behind: dict[_Vertex, list[_Vertex]] = {}
        for chain in self._chains.values():
            for one, other in pairwise(chain):
                behind.setdefault(one, []).append(other)
                before.setdefault(other, []).append(one)
        for sweep in range(_SWEEPS):
            near, layers = (behind, self._layers[-2::-1]) if sweep % 2 else (before, self._layers[1:])
            for vertices in layers:
                place = {vertex: index for each in self._layers for index, vertex in enumerate(each)}
                means = {
                    vertex: sum(place[each] for each in near[vertex]) / len(near[vertex])
                    if vertex in near
                    else float(place[vertex])
                    for vertex in vertices
                }
                vertices.sort(key=means.__getitem__)

    def draw(self, top: float, at: dict[str, tuple[float, float]], paths: dict[Edge, str]) -> None:
        ports: dict[_Vertex, tuple[float, float]] = {}
        for number, vertices in enumerate(self._layers):
            x = MARGIN + number * (WIDTH + BETWEEN_LAYERS)
            y = top + (self._tallest - _extent(vertices)) / 2
            for vertex in vertices:
                if isinstance(vertex, str):
                    at[vertex] = x, y
                ports[vertex] = x, y + _tall(vertex) / 2
                y += _tall(vertex) + BETWEEN_NODES
        for edge, chain in self._chains.items():
            paths[edge] = _forward_path([ports[vertex] for vertex in chain])
        lane = top + self._tallest
        for edge in self._back:
            lane += _LANE
            paths[edge] = _backward_path(ports[edge[0]], ports[edge[1]], lane)


def _closing(nodes: Sequence[str], edges: Sequence[Edge]) -> list[Edge]:
    """Edges without which there is no cycle: those to a node from which the search has come."""
    behind: dict[str, list[str]] = {node: [] for node in nodes}
    for one, other in edges:
        behind[one].append(other)
    closing: list[Edge] = []
    done: set[str] = set()
    entered = {other for _, other in edges}
    for root in sorted(nodes, key=lambda node: node in entered):  # so that a path begins where it has a beginning
        if root in done:
            continue
        path = [(root, iter(behind[root]))]
        on_path = {root}
        while path:
            node, rest = path[-1]
            for other in rest:
                if other in on_path:
                    closing.append((node, other))
                elif other not in done:
                    on_path.add(other)
                    path.append((other, iter(behind[other])))
                    break
            else:
                done.add(node)
                on_path.discard(node)
                path.pop()
    return closing


def _layers(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """The layer of each node, from the left: its longest path to an end, counted from the right."""
    behind: dict[str, list[str]] = {node: [] for node in nodes}
    left = dict.fromkeys(nodes, 0)
    before: dict[str, list[str]] = {node: [] for node in nodes}
    for one, other in edges:
        behind[one].append(other)
        before[other].append(one)
        left[one] += 1
    from_right = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not left[node]]
    for node in ready:  # it grows meanwhile
        for one in before[node]:
            from_right[one] = max(from_right[one], from_right[node] + 1)
            left[one] -= 1
            if not left[one]:
                ready.append(one)
    last = max(from_right.values())
    return {node: last - number for node, number in from_right.items()}


def _tall(vertex: _Vertex) -> float:
    return HEIGHT if isinstance(vertex, str) else 0


def _extent(vertices: Sequence[_Vertex]) -> float:
    return sum(map(_tall, vertices)) + BETWEEN_NODES * (len(vertices) - 1)


def _forward_path(ports: Sequence[tuple[float, float]]) -> str:
    x, y = ports[0][0] + WIDTH, ports[0][1]
    steps = [f"M{x:g} {y:g}"]
    for index, (other_x, other_y) in enumerate(ports[1:], 1):
        half = (other_x - x) / 2
        steps.append(f"C{x + half:g} {y:g} {other_x - half:g} {other_y:g} {other_x:g} {other_y:g}")
        x, y = other_x, other_y
        if index < len(ports) - 1:
            x += WIDTH
            steps.append(f"H{x:g}")
    return "".join(steps)


def _backward_path(start: tuple[float, float], end: tuple[float, float], lane: float) -> str:
    """Out to the right, back below the part, and in from the left."""
    out = BETWEEN_LAYERS / 2.5
    right, left = start[0] + WIDTH, end[0]
    return (
        f"M{right:g} {start[1]:g}C{right + out:g} {start[1]:g} {right + out:g} {lane:g} {right:g} {lane:g}H{left:g}"
        f"C{left - out:g} {lane:g} {left - out:g} {end[1]:g} {left:g} {end[1]:g}"
    )
