"""What `holdfast top` shows: a row for each name, in some order, and the screen that they are on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Self

from rich.cells import cell_len
from rich.live import Live
from rich.table import Table

from holdfast.cluster import Inspection

from .messages import printable
from .reports import closed, console_of_stdout

_AROUND = 3
"""Lines of the screen that are no rows: the header, the line below the table, and that of the cursor."""


@dataclass(frozen=True, slots=True)
class Row:
    """One name at one moment."""

    name: str
    kind: str
    holders: tuple[str, ...]
    """The names of the sessions that hold it; one that holds several permits is there once."""
    held: float | None
    """Seconds since the grant, of a lock that is held."""
    waiting: int
    """The number of tasks that wait."""
    longest_wait: float | None
    """Seconds that the first of them has waited."""
    dead: int
    """The number of sessions that have ended without giving back what they held, and were not buried yet."""
    token: int | None
    """The highest fencing token of a lock."""
    grants_per_second: float | None
    """Of a lock: since the look before; None at the first look."""
    deadlock: bool
    """Whether tasks or threads wait for it in a deadlock."""
    closed: tuple[str, ...] = ()
    """What is closed, and why."""

    def is_idle(self) -> bool:
        return not (self.holders or self.waiting or self.dead or self.closed)


ORDERS: Mapping[str, Callable[[Row], tuple[object, ...]]] = {
    "waiting": lambda row: (not row.deadlock, -row.waiting, -(row.longest_wait or 0), row.name),
    "longest": lambda row: (-(row.longest_wait or 0), row.name),
    "held": lambda row: (-(row.held or 0), row.name),
    "grants": lambda row: (-(row.grants_per_second or 0), row.name),
    "name": lambda row: (row.name,),
}
"""By what the names can be sorted."""


class Looks:
    """Makes the rows of one look after another."""

    def __init__(self) -> None:
        self._at: float | None = None
        self._tokens: Mapping[str, int] = {}

    def rows(self, found: Iterable[Inspection], deadlocked: Collection[str], now: float) -> list[Row]:
        """deadlocked: the names that are in a deadlock. now: seconds since 1970."""
        passed = None if self._at is None else now - self._at
        rows = [self._row(one, one.name in deadlocked, now, passed) for one in found]
        self._at = now
        self._tokens = {row.name: row.token for row in rows if row.token is not None}
        return rows

    def _row(self, one: Inspection, deadlock: bool, now: float, passed: float | None) -> Row:
        since = [holding.since.timestamp() for holding in one.holders if holding.since is not None]
        waits = [waiting.since.timestamp() for waiting in one.waiters if waiting.since is not None]
        token = one.state.get("tokens")
        before = None if token is None else self._tokens.get(one.name)
        return Row(
            one.name,
            one.kind,
            tuple(dict.fromkeys(holding.session.name for holding in one.holders)),
            max(0.0, now - min(since)) if since else None,
            sum(waiting.tasks for waiting in one.waiters),
            max(0.0, now - min(waits)) if waits else None,
            len(one.dead),
            token,
            None if token is None or before is None or not passed else (token - before) / passed,
            deadlock,
            tuple(map(closed, one.closed)),
        )


class Screen:
    """Where the rows are shown: a terminal that is kept up to date, or one table after the other."""

    def __init__(self, live: bool) -> None:
        self._console = console_of_stdout(soft_wrap=False)
        live = live and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, screen=True, auto_refresh=False) if live else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def table(self, rows: list[Row], names: int, deadlocks: int = 0, silent: int = 0) -> Table:
        """rows: those to show, the first ones where there is no room for all. names: how many there are in all.

        deadlocks: how many there are. silent: how many sessions have not said what their tasks wait for.
        """
        room = len(rows) if self._live is None else max(1, self._console.height - _AROUND)
        shown = [(_cells(row), row) for row in rows[:room]]
        columns = [*zip(_HEADERS, *[cells for cells, _ in shown], strict=True)]
        widths = [max(map(cell_len, column)) for column in columns]
        if self._console.is_terminal:
            free = self._console.width - sum(widths[_TEXTS:]) - len(widths) + 1
            widths[:_TEXTS] = _fitting(widths[:_TEXTS], free)
        table = Table(box=None, pad_edge=False, expand=self._console.is_terminal, caption_justify="left")
        for index, (header, width) in enumerate(zip(_HEADERS, widths, strict=True)):
            justify: Literal["left", "right"] = "left" if index < _TEXTS else "right"
            table.add_column(header, overflow="ellipsis", no_wrap=True, justify=justify, width=width)
        for cells, row in shown:
            table.add_row(*cells, style="red" if row.dead or row.deadlock else None)
        hidden = names - len(rows[:room])
        table.caption = _number(names, "name") + (f", {hidden} of them not shown" if hidden else "")
        if deadlocks:
            table.caption += f"; {_number(deadlocks, 'deadlock')}: see holdfast deadlocks"
        if silent:
            table.caption += f"; {_number(silent, 'session')} silent"
        return table

    def show(self, rows: list[Row], names: int, deadlocks: int = 0, silent: int = 0) -> None:
        """Show the rows in place of those before, on a terminal; else below them. The arguments are as for table()."""
        table = self.table(rows, names, deadlocks, silent)
        if self._live is not None:
            self._live.update(table, refresh=True)
        else:
            self._console.print(table)


_HEADERS = "name", "kind", "held by", "for", "waiting", "longest", "grants/s"
_TEXTS = 3
"""So many of the columns have texts, and may be cut."""


def _cells(row: Row) -> tuple[str, ...]:
    """What is wrong with a name stands first, as a narrow terminal shows that much of it."""
    wrong = ["in a deadlock"] * row.deadlock + [f"{row.dead} dead"] * bool(row.dead)
    return (
        printable(row.name),
        row.kind,
        ", ".join([*wrong, *row.closed, *map(printable, row.holders)]) or "-",
        _duration(row.held),
        str(row.waiting),
        _duration(row.longest_wait),
        "-" if row.grants_per_second is None else f"{row.grants_per_second:.1f}",
    )


def _fitting(widths: list[int], room: int) -> list[int]:
    """Widths that have room side by side: as they are, but for the widest, which are cut to the same."""
    fitting = [*widths]
    for rest, index in enumerate(sorted(range(len(widths)), key=widths.__getitem__)):
        fitting[index] = max(1, min(widths[index], room // (len(widths) - rest)))
        room -= fitting[index]
    return fitting


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02} min"
