"""What `ls` and `show` print: tables for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from holdfast.cluster import Inspection, SessionInfo

from .messages import complain, printable

_ENDLESS = 100_000
"""Columns of what is no terminal."""


def as_json(value: object) -> str:
    """Dataclasses as objects, moments as in ISO 8601."""
    return json.dumps(value, default=_plain, indent=2)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"no JSON for {value!r}")


def print_names(found: Iterable[Inspection]) -> bool:
    """A line for each name. Return whether all could be printed as it is."""
    table = Table("name", "kind", "held by", "waiting", "state", box=None, pad_edge=False)
    for one in found:
        holders = ", ".join(f"{printable(holding.session.name)}{_times(holding.permits)}" for holding in one.holders)
        waiting = sum(waiting.tasks for waiting in one.waiters)
        table.add_row(repr(one.name)[1:-1], one.kind, holders or "-", str(waiting), _state(one))
    return _print(table)


def print_name(one: Inspection) -> bool:
    """Who holds it, who waits, in order; who is dead, who was evicted. Return whether all could be printed as it is."""
    printed = _print(f"{one.name!r}: {one.kind}, made by {printable(one.made_by)}. {_state(one)}")
    table = Table("", "session", "host", "pid", "since", "token", "", "command", box=None, pad_edge=False)
    for holding in one.holders:
        token = "-" if holding.token is None else str(holding.token)
        permits = f"{holding.permits} permits" if holding.permits > 1 else ""
        _row(table, "holds", holding.session, _age(holding.since), token, permits)
    for waiting in one.waiters:
        tasks = f"{waiting.tasks} tasks" if waiting.tasks > 1 else ""
        condition = "" if waiting.condition is None else f"to be notified of {waiting.condition!r}"
        _row(table, "waits", waiting.session, _age(waiting.since), "-", tasks, condition)
    for dead in one.dead:
        does = [f"held {dead.permits}" if dead.permits else "", f"{dead.tasks} waited" if dead.tasks else ""]
        _row(table, "dead", dead.session or _unknown(dead.id), "-", "-", *does)
    if table.row_count:
        printed &= _print(table)
    for eviction in one.evictions:
        printed &= _print(printable(f"{eviction.session.name}, who held it, {eviction}"))
    return printed


def _row(table: Table, does: str, session: SessionInfo, since: str, token: str, *more: str) -> None:
    stopped = "stopped" if session.stopped else ""
    rest = ", ".join(filter(None, [stopped, *more]))
    pid = str(session.pid) if session.pid else "-"
    table.add_row(
        does, *map(printable, (session.name, session.host)), pid, since, token, rest, printable(session.command)
    )


def _unknown(id: str) -> SessionInfo:
    return SessionInfo(id, id, "-", 0, datetime.fromtimestamp(0, UTC), alive=False)


def _print(what: Table | str) -> bool:
    """Return whether stdout could print all of it; what it could not stands there as Python writes it.

    A terminal folds what is too long for it; a file or a pipe gets whole lines.
    """
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = _ENDLESS
    if isinstance(what, Table):
        for column in what.columns:
            column.overflow = "fold"
    with console.capture() as captured:
        console.print(what)
    text, encoding = captured.get(), getattr(sys.stdout, "encoding", None) or "utf-8"
    printable = text.encode(encoding, "backslashreplace").decode(encoding)
    click.echo(printable, nl=False)
    if printable != text:
        complain(
            f"stdout has the encoding {encoding}, which lacks some letters; they are shown as in '\\xe4'. "
            "Use --json, or set PYTHONIOENCODING=utf-8"
        )
    return printable == text


def _times(permits: int) -> str:
    return f" (x{permits})" if permits > 1 else ""


def _state(one: Inspection) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {_word(value)}" for name, value in one.state.items())


def _word(value: int | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _age(since: datetime | None) -> str:
    if since is None:
        return "-"
    seconds = (datetime.now(UTC) - since).total_seconds()
    return f"{since.astimezone():%Y-%m-%d %H:%M:%S} ({max(seconds, 0):.0f} s)"
