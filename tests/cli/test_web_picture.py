"""The picture of who waits for whom: what is in it, what is left out, and where it stands."""

from __future__ import annotations

import itertools
import random

import pytest

from holdfast.cli.web.graph import HOLDERS, NAMES, WAITERS, graph
from holdfast.cli.web.layout import HEIGHT, WIDTH, laid_out

from .found import deadlock, name


def arrows(picture):
    return {(each.one, each.how, each.other): each.tasks for each in picture.arrows}


def test_names_with_waiters_their_holders_and_their_waiters():
    found = [name("a", ["1"], ["2", ("3", 4)]), name("idle", ["1"], []), name("told", [], ["2"], condition="ready")]
    picture = graph(found)
    assert arrows(picture) == {
        ("name a", "holds", "session 1"): 1,
        ("session 2", "waits", "name a"): 1,
        ("session 3", "waits", "name a"): 4,
        ("session 2", "notify", "name told"): 1,
    }
    labels = {each.id: (each.what, each.label, each.note) for each in picture.nodes}
    assert labels["name a"] == ("name", "a", "lock; 5 waiting")
    assert labels["session 1"] == ("session", "session 1", "pid 1 on web1")
    assert picture.says == "Drawn: 2 names for which somebody waits, and 3 sessions."
    assert not any(each.bad for each in (*picture.nodes, *picture.arrows))


def test_a_name_and_a_session_of_the_same_text_are_two_nodes():
    picture = graph([name("x", ["x"], ["y"])])
    assert {each.id for each in picture.nodes} == {"name x", "session x", "session y"}


def test_nobody_waits():
    picture = graph([name("a", ["1"], [])])
    assert (picture.nodes, picture.arrows, picture.says) == ([], [], "Nobody waits.")


def test_a_deadlock_is_red_and_what_hangs_on_it_is_not():
    found = [name("x", ["b"], ["a", "c"]), name("y", ["a"], ["b"]), name("z", ["c"], ["d"])]
    picture = graph(found, [deadlock(("a", "x"), ("b", "y"))])
    assert {each.id for each in picture.nodes if each.bad} == {"name x", "name y", "session a", "session b"}
    assert {(each.one, each.other) for each in picture.arrows if each.bad} == {
        ("session a", "name x"),
        ("name x", "session b"),
        ("session b", "name y"),
        ("name y", "session a"),
    }
    assert len(picture.arrows) == 7


def test_around_a_name_is_what_can_be_reached_from_it():
    found = [name("a", ["1"], ["2"]), name("b", ["2"], ["3"]), name("far", ["8"], ["9"])]
    for around in ("a", "b"):
        assert {each.id for each in graph(found, around=around).nodes if each.what == "name"} == {"name a", "name b"}
    assert graph(found, around="nobody waits for it").nodes == []


def test_there_is_a_bound_and_what_matters_most_is_within_it():
    many = [name(f"n{number:04}", [f"h{number}"], [(f"w{number}", 2 + number)]) for number in range(3000)]
    linked = [name("one", ["p"], ["q"]), name("two", ["q"], ["r"])]
    crowded = name("crowded", [f"c{number}" for number in range(500)], [f"d{number}" for number in range(5000)])
    stuck = [name("x", ["b"], [*(f"e{number}" for number in range(50)), "a"]), name("y", ["a"], ["b"])]
    picture = graph([*many, *linked, crowded, *stuck], [deadlock(("a", "x"), ("b", "y"))])
    names = [each.label for each in picture.nodes if each.what == "name"]
    assert len(names) == NAMES
    assert names[:5] == ["x", "y", "one", "two", "crowded"]
    assert names[5] == "n2999"
    assert len(picture.nodes) <= NAMES * (1 + HOLDERS + WAITERS)
    assert sum(each.bad for each in picture.arrows) == 4
    assert sum(each.other == "name crowded" for each in picture.arrows) == WAITERS
    assert sum(each.one == "name crowded" for each in picture.arrows) == HOLDERS
    assert picture.says.startswith(f"Drawn: {NAMES} of 3,005 names for which somebody waits, and ")
    assert " of 11,555 sessions. Left out: names with fewer waiters" in picture.says


def check(nodes, edges):
    layout = laid_out(nodes, edges)
    assert layout.nodes.keys() == {*nodes}
    assert layout.edges.keys() == {*edges}
    for one, other in itertools.combinations(layout.nodes.values(), 2):
        assert abs(one[0] - other[0]) >= WIDTH or abs(one[1] - other[1]) >= HEIGHT, "two nodes overlap"
    for x, y in layout.nodes.values():
        assert 0 <= x <= layout.width - WIDTH
        assert 0 <= y <= layout.height - HEIGHT
    assert layout == laid_out(nodes, reversed(edges)), "the order in which edges come does not matter"
    return layout


def test_a_chain_leads_to_the_right():
    layout = check(["a", "b", "c", "d"], [("a", "b"), ("b", "c"), ("c", "d")])
    assert sorted(layout.nodes, key=lambda node: layout.nodes[node][0]) == ["a", "b", "c", "d"]
    assert len({y for _, y in layout.nodes.values()}) == 1


@pytest.mark.parametrize("number", range(1, 7))
def test_a_circle_has_one_edge_that_leads_back(number):
    nodes = [str(each) for each in range(number)]
    layout = check(nodes, [(each, nodes[(index + 1) % number]) for index, each in enumerate(nodes)])
    assert len({x for x, _ in layout.nodes.values()}) == number


def test_no_two_nodes_overlap_in_whatever_graph():
    for seed in range(150):
        chance = random.Random(seed)
        nodes = [str(each) for each in range(chance.randrange(1, 25))]
        edges = [(one, other) for one in nodes for other in nodes if chance.random() < chance.choice([0.02, 0.1, 0.3])]
        check(nodes, edges)


def test_edges_do_not_cross_where_they_need_not():
    nodes = ["a1", "a2", "a3", "b3", "b2", "b1", "end"]
    layout = check(nodes, [("a1", "b1"), ("a2", "b2"), ("a3", "b3"), ("b1", "end"), ("b2", "end"), ("b3", "end")])
    order = [sorted("123", key=lambda each, side=side: layout.nodes[side + each][1]) for side in "ab"]
    assert order[0] == order[1]
