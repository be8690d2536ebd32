"""The line of a record: the waiting tickets, in the order of asking. Pure.

A line is a list of runs. A run belongs to one session and holds tickets that stand one behind the other and ask for the
same, as spans. So a line grows with the sessions that wait and with the holes that withdrawals leave, but not with the
number of tasks. A function that handles many tickets of one session goes through the line once.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from .rows import Line, runs_of, with_first, with_last, with_runs_of
from .run import Run, Spans

TOGETHER = 1.0
"""Seconds. A ticket that joins at most this long after the last run began joins that run, if it is of the same session
and its number is higher."""
FEW = 8
"""The highest number of tickets that are taken out of a run one by one."""


def line_of(rows: Iterable[Sequence[Any]]) -> Line:
    """A line from its stored form."""
    return tuple(Run(session, tuple(spans), since) for session, spans, since in rows)


def join(line: Line, session: str, ticket: int, at: float, asks: int = 1) -> Line:
    """The line with the ticket behind all others. at: the engine's time, in seconds. asks: see `Run.asks`."""
    return join_run(line, Run(session, (ticket, ticket + 1), round(at, 3), asks))


def join_all(line: Line, session: str, tickets: Iterable[int], at: float) -> Line:
    """As join() for one ticket after the other, at the cost of one where their numbers follow each other."""
    since, spans = round(at, 3), list[int]()
    for ticket in tickets:
        if not spans or ticket > spans[-1]:
            spans += ticket, ticket + 1
        elif ticket == spans[-1]:
            spans[-1] += 1
        else:  # no session of ours asks with a lower number than before
            line, spans = join_run(line, Run(session, (*spans,), since)), [ticket, ticket + 1]
    return join_run(line, Run(session, (*spans,), since)) if spans else line


def join_run(line: Line, run: Run) -> Line:
    """The line with the tickets of the run behind all others."""
    if not line:
        return (run,)
    last = line[-1]
    if last.session != run.session or last.asks != run.asks:
        return with_last(line, run)
    if last.spans[-1] > run.spans[0] or run.since - last.since > TOGETHER:
        return with_last(line, run)
    joint = run.spans[1:] if last.spans[-1] == run.spans[0] else run.spans
    kept = last.spans[:-1] if last.spans[-1] == run.spans[0] else last.spans
    return with_last(line[:-1], last._replace(spans=kept + joint))


def take_first(line: Line) -> tuple[str, int, int, Line]:
    """The session that stands first, its first ticket, how many tickets follow each other there; and the rest."""
    run, others = line[0], line[1:]
    first, end, *rest = run.spans
    while not rest and others and others[0].session == run.session and others[0].spans[0] == end:
        run, others = others[0], others[1:]  # it joined later, or who stood between them has left
        _, end, *rest = run.spans
    return run.session, first, end - first, (with_first(run._replace(spans=(*rest,)), others) if rest else others)


def take(line: Line, n: int) -> tuple[Line, Line]:
    """The first tickets, up to the first one with which they would ask for more than `n` together; and the others."""
    for index, run in enumerate(line):
        fit = n // run.asks
        if fit < run.size():
            if not fit:
                return line[:index], line[index:]
            taken, left = _split(run.spans, fit)
            first = with_last(line[:index], run._replace(spans=taken))
            return first, with_first(run._replace(spans=left), line[index + 1 :])
        n -= run.size() * run.asks
    return line, ()


def _split(spans: Spans, n: int) -> tuple[Spans, Spans]:
    for index in range(0, len(spans), 2):
        first, end = spans[index : index + 2]
        if n < end - first:
            head = (first, first + n) if n else ()
            return spans[:index] + head, (first + n, *spans[index + 1 :])
        n -= end - first
    return spans, ()


def leave(line: Line, session: str, leaving: Sequence[int]) -> tuple[Line, Collection[int]]:
    """The line without these tickets, which are given in rising order; and those of them that stood in it."""
    gone: list[int] = []

    def rest_of(run: Run) -> Run:
        low, high = bisect_left(leaving, run.spans[0]), bisect_left(leaving, run.spans[-1])
        inside = [ticket for ticket in leaving[low:high] if run.has(ticket)]
        gone.extend(inside)
        return run._replace(spans=_without(run.spans, inside)) if inside else run

    left = with_runs_of(line, session, rest_of)
    return (left, gone) if gone else (line, ())


def _without(spans: Spans, gone: Sequence[int]) -> Spans:
    """The spans without the tickets in `gone`, all of which are in them, in rising order.

    A span begins or ends where a ticket that is in the spans stands beside one that is not. Taking a ticket out changes
    this on both of its sides.
    """
    if len(gone) > FEW:
        changes = set(gone) ^ {ticket + 1 for ticket in gone}
        return tuple(sorted(changes.symmetric_difference(spans)))
    for ticket in gone:
        index = bisect_left(spans, ticket + 1)
        before = spans[: index - 1] if spans[index - 1] == ticket else (*spans[:index], ticket)
        behind = spans[index + 1 :] if spans[index] == ticket + 1 else (ticket + 1, *spans[index:])
        spans = before + behind
    return spans


def without(line: Line, dead: Collection[str]) -> Line:
    """The line without the tickets of these sessions."""
    return tuple(run for run in line if run.session not in dead)


def size(line: Line) -> int:
    """The number of tickets in the line."""
    return sum(run.size() for run in line)


def tickets(line: Line) -> Iterator[tuple[str, int]]:
    """The tickets one by one, each with its session."""
    return ((run.session, ticket) for run in line for ticket in run.tickets())


def tickets_of(line: Line, session: str) -> set[int]:
    """The tickets of one session."""
    return {ticket for run in runs_of(line, session) for ticket in run.tickets()}


def stands_in(line: Line, session: str, ticket: int) -> bool:
    return any(run.has(ticket) for run in runs_of(line, session))
