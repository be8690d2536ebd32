"""Which names may be in a deadlock, as far as the records tell, and so which sessions to ask. Pure.

A record tells which sessions hold a name and which wait for it, and not which tasks. So processes are compared first,
as a task may use several sessions of its process: a name may be in a deadlock only if each process that holds it waits
for such a name as well. Most often there is none, and then nobody is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice

from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.records.record import Record
from holdfast.cluster.records.run import Run

from .correspondence import in_parts
from .testimony import Question, Ticket

AHEAD = 20
"""Of those who may keep others from what is free, as a writer keeps readers, so many are asked for: the first ones."""


def suspects(records: Mapping[str, Record], sessions: Mapping[str, SessionInfo]) -> dict[str, Record]:
    """Those of the names that may be in a deadlock.

    sessions: those that are known. One that is missing is dead, and what it holds will go to the next in line.
    """
    holders: dict[str, set[tuple[str, int]]] = {}
    waits: dict[tuple[str, int], set[str]] = {}
    for name, record in records.items():
        held = {each.session for each in record.held()}
        if held and record.line_of_holders() and all(_is_alive(sessions.get(each)) for each in held):
            holders[name] = {_process(sessions[each]) for each in held}
            for session in {run.session for run in record.line_of_holders()}:
                if session in sessions:
                    waits.setdefault(_process(sessions[session]), set()).add(name)
    while gone := [name for name, some in holders.items() if any(not waits.get(each) for each in some)]:
        for name in gone:
            del holders[name]
            for names in waits.values():
                names.discard(name)
    return {name: records[name] for name in holders}


def _is_alive(info: SessionInfo | None) -> bool:
    return info is not None and info.alive


def _process(info: SessionInfo) -> tuple[str, int]:
    return info.host, info.pid


def questions(records: Mapping[str, Record], sessions: Mapping[str, SessionInfo]) -> dict[str, list[Question]]:
    """What to ask which session, to know who holds these names, and who stands first in the lines that may go on.

    sessions: those that are known. No other one is asked.
    """
    names: dict[str, list[str]] = {}
    tickets: dict[str, list[tuple[str, int]]] = {}
    for name, record in records.items():
        for session in {each.session for each in record.held()}:
            names.setdefault(session, []).append(name)
        if not all(map(record.waits_for_holders, record.line_of_holders())):
            for _, ticket in islice(line(name, record), AHEAD):
                tickets.setdefault(ticket.session, []).append((name, ticket.number))
    return {
        session: in_parts(names.get(session, ()), tickets.get(session, ()))
        for session in names.keys() | tickets.keys()
        if _is_alive(sessions.get(session))
    }


def line(name: str, record: Record) -> Iterator[tuple[Run, Ticket]]:
    """The tickets that wait for the holders of a name, in order, each with its run."""
    for run in record.line_of_holders():
        for number in run.tickets():
            yield run, Ticket(run.session, name, number)
