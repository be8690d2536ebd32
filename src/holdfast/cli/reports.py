"""What is printed on stdout: tables and lines for people, JSON for programs."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.table import Table

from holdfast.cluster import Closing, Holding, Inspection, SessionInfo

from .messages import complain, printable

_ENDLESS = 100_000
"""The width of a table that is not printed on a terminal, in columns."""
_INDENT = " " * 7
"""What the second line of an entry begins with."""
_TO = {"reader": "to read", "writer": "to write"}
"""What the sides of an RWLock wait for."""
_IN_THE_KIND = "value", "bounded", "parties"
"""What the kind says already, as in "bounded semaphore of 10" and "barrier of 4"."""


def as_json(value: object, indent: int | None = 2) -> str:
    """The value in JSON: dataclasses as objects, moments in ISO 8601. indent: None for one line."""
    return json.dumps(value, default=_plain, indent=indent)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"no JSON for {value!r}")


def print_names(found: Iterable[Inspection]) -> bool:
    """Print a line for each name; where a terminal is too narrow for the table, two. Return whether nothing had to be
    escaped.
    """
    table = Table("name", "kind", "held by", "waiting", "state", box=None, pad_edge=False)
    narrow = []
    for one in found:
        holders = ", ".join(f"{printable(holding.session.name)}{_times(holding.permits)}" for holding in one.holders)
        waiting = sum(waiting.tasks for waiting in one.waiters)
        row = repr(one.name)[1:-1], one.kind, holders or "-", str(waiting), _state(one)
        table.add_row(*row)
        narrow += [row[0], f"{_INDENT}{one.kind}; held by {row[2]}; waiting: {waiting}; {row[4]}"]
    return _print(table if _fits(table) else "\n".join(narrow))


def print_name(one: Inspection) -> bool:
    """Print the holders, the waiters in order, the dead sessions, and the evictions. Return as print_names() does."""
    printed = _print(f"{one.name!r}: {one.kind}, made by {printable(one.made_by)}. {_state(one, since=True)}")
    table = _SessionsTable()
    for holding in one.holders:
        token = "-" if holding.token is None else str(holding.token)
        table.add("holds", holding.session, _age(holding.since), token, _share(holding))
    for waiting in one.waiters:
        tasks = f"{waiting.tasks} tasks" if waiting.tasks > 1 else ""
        what = "tokens" if one.kind.startswith("rate limiter") else "permits"
        permits = f"for {waiting.permits} {what}{' each' if tasks else ''}" if waiting.permits > 1 else ""
        side = "" if waiting.side is None else _TO[waiting.side]
        condition = "" if waiting.condition is None else f"to be notified of {waiting.condition!r}"
        table.add("waits", waiting.session, _age(waiting.since), "-", tasks, permits, side, condition)
    for dead in one.dead:
        does = [f"held {dead.permits}" if dead.permits else "", f"{dead.tasks} waited" if dead.tasks else ""]
        table.add("dead", dead.session or _unknown(dead.id), "-", "-", *does)
    if table.rows:
        printed &= _print(table.laid_out())
    for eviction in one.evictions:
        printed &= _print(printable(f"{eviction.session.name}, who held it, {eviction}"))
    return printed


def print_line(text: str) -> None:
    """Print one line, whatever its letters are."""
    click.echo(_encodable(printable(text)))


class _SessionsTable:
    """What sessions have to do with a name. Where a terminal is too narrow for it, each session gets two lines."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, ...]] = []

    def add(self, does: str, session: SessionInfo, since: str, token: str, *more: str) -> None:
        stopped = "stopped" if session.stopped else ""
        rest = ", ".join(filter(None, [stopped, *more]))
        pid = str(session.pid) if session.pid else "-"
        name, host, command = map(printable, (session.name, session.host, session.command))
        self.rows.append((does, name, host, pid, since, token, rest, command))

    def laid_out(self) -> Table | str:
        """The table. What is copied from it, as a token, is never broken."""
        wide = Table("", "session", "host", "pid", "since", "token", "", "command", box=None, pad_edge=False)
        for row in self.rows:
            wide.add_row(*row)
        if _fits(wide):
            return wide
        narrow = Table("", "session", "since", "token", box=None, pad_edge=False)
        for does, name, _, _, since, token, _, _ in self.rows:
            narrow.add_row(does, name, since, token)
        console = console_of_stdout()
        console.width = _ENDLESS
        with console.capture() as captured:
            console.print(narrow)
        header, *lines = captured.get().splitlines()
        shown = [header]
        for line, (_, _, host, pid, _, _, rest, command) in zip(lines, self.rows, strict=True):
            process = ", ".join(filter(None, [f"pid {pid} on {host}", rest]))
            shown += [line, f"{_INDENT}{process}: {command}"]
        return "\n".join(each.rstrip() for each in shown)


def _unknown(id: str) -> SessionInfo:
    return SessionInfo(id, id, "-", 0, datetime.fromtimestamp(0, UTC), alive=False)


def _print(what: Table | str) -> bool:
    """Print to stdout; return whether its encoding has all letters. Those that it lacks are escaped as in Python.

    A terminal folds lines that are too long for it; a file or a pipe gets whole lines.
    """
    console = console_of_stdout()
    with console.capture() as captured:
        console.print(what)
    text = captured.get()
    shown = _encodable(text)
    click.echo(shown, nl=False)
    if shown != text:
        complain(
            f"stdout has the encoding {_encoding()}, which lacks some letters; they are shown as in '\\xe4'. "
            "Use --json, or set PYTHONIOENCODING=utf-8"
        )
    return shown == text


def _fits(table: Table) -> bool:
    """Whether the terminal, if stdout is one, is wide enough for the table."""
    console = console_of_stdout()
    return console.measure(table, options=console.options.update(max_width=_ENDLESS)).maximum <= console.width


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let `main()` say that nobody reads any more. A Console ends the program with 1."""
        raise BrokenPipeError


def console_of_stdout(soft_wrap: bool = True) -> Console:
    """What prints to stdout. A file or a pipe gets whole lines, as does a terminal with `soft_wrap`."""
    made = _Console(soft_wrap=soft_wrap, highlight=False, markup=False)
    if not made.is_terminal:
        made.width = _ENDLESS
    return made


def _encodable(text: str) -> str:
    """The text with letters that the encoding of stdout lacks escaped as in Python."""
    return text.encode(_encoding(), "backslashreplace").decode(_encoding())


def _encoding() -> str:
    return getattr(sys.stdout, "encoding", None) or "utf-8"


def _share(holding: Holding) -> str:
    """How much of it is held, and as what."""
    if holding.side is None:
        return f"{holding.permits} permits" if holding.permits > 1 else ""
    return f"{holding.permits} {holding.side}s" if holding.permits > 1 else holding.side


def _times(permits: int) -> str:
    return f" (x{permits})" if permits > 1 else ""


def _state(one: Inspection, since: bool = False) -> str:
    """since: whether to say since when something is closed."""
    state = [
        f"{name.replace('_', ' ')}: {_word(value)}" for name, value in one.state.items() if name not in _IN_THE_KIND
    ]
    state += [f"{closed(each)}, since {_age(each.since)}" if since else closed(each) for each in one.closed]
    return ", ".join(state)


def closed(closing: Closing) -> str:
    """What is closed, and why."""
    what = "closed" if closing.condition is None else f"condition {closing.condition!r} closed"
    return printable(what if closing.reason is None else f"{what}: {closing.reason}")


def _word(value: int | bool) -> str:
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _age(since: datetime | None) -> str:
    if since is None:
        return "-"
    seconds = (datetime.now(UTC) - since).total_seconds()
    return f"{since.astimezone():%Y-%m-%d %H:%M:%S} ({max(seconds, 0):.0f} s)"
