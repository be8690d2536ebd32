"""`holdfast top`"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from fnmatch import fnmatchcase

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.messages import complain
from holdfast.cli.options import Seconds, Text, json_option, session_options
from holdfast.cli.overview import ORDERS, Looks, Screen
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json
from holdfast.cluster import Inspection, Session
from holdfast.cluster.errors import FormatError

SHARE = 0.05
"""Of one core: so much CPU time it takes at most. It looks less often if that is not enough."""
ANSWER = 30.0
"""Seconds that the engine may take for one look."""
ANSWERED = 0.5
"""Seconds in which a session has to say what its tasks wait for, to be seen in a deadlock."""


@click.command(short_help="Watch the names: who holds them, who waits, for how long.")
@click.option(
    "--every",
    type=Seconds(),
    metavar="SECONDS",
    default=1.0,
    show_default=True,
    help="Look so often; less often if that would take more than a twentieth of a core.",
)
@click.option("--sort", type=click.Choice([*ORDERS]), default="waiting", show_default=True, help="What stands first.")
@click.option(
    "--match", type=Text(), metavar="GLOB", default="*", help="Show only names that match a pattern of the shell."
)
@click.option("--all", "idle_too", is_flag=True, help="Show also the names that nobody holds or waits for.")
@click.option(
    "--times",
    type=click.IntRange(min=1),
    metavar="N",
    help="Look N times, and end. If left out: until Ctrl-C if stdout is a terminal, else once.",
)
@json_option
@session_options
@in_session()
def top(every: float, sort: str, match: str, idle_too: bool, times: int | None, as_text: bool) -> Command:
    """Watch the names that are in use: who holds each and for how long, how many wait and the longest of them, and how
    many grants a lock makes in a second.

    \b
    With --json, each look is one line: an array of names.
    A line in red is in a deadlock, as "holdfast deadlocks" finds it, or has sessions that have died and still hold it.
    """

    async def command(session: Session, patience: Patience) -> int:
        patience.end()
        told: set[str] = set()
        on_terminal = sys.stdout.isatty()
        looks = Looks()
        pause = 0.0
        with Screen(live=on_terminal and not as_text and times is None) as screen:  # so many tables stay there
            for _ in itertools.count() if times is None and on_terminal else range(times or 1):
                await asyncio.sleep(pause)
                began = time.process_time()
                unreadable: list[FormatError] = []
                found = await _look(session, unreadable)
                for text in {*map(str, unreadable)} - told:
                    told.add(text)
                    complain(text)
                deadlocked = await _deadlocked(session, found)
                rows = [row for row in looks.rows(found, deadlocked, time.time()) if fnmatchcase(row.name, match)]
                shown = sorted((row for row in rows if idle_too or not row.is_idle()), key=ORDERS[sort])
                if as_text:
                    click.echo(as_json(shown, indent=None))
                else:
                    screen.show(shown, len(rows))
                pause = max(every, (time.process_time() - began) / SHARE)
        return exit_codes.FAILED if told else exit_codes.OK

    return command


async def _deadlocked(session: Session, found: list[Inspection]) -> set[str]:
    """The names that are in a deadlock."""
    contended = [one.name for one in found if one.holders and one.waiters]
    if not contended:
        return set()
    # Names that another version wrote are left out here: `found` has been told of them.
    deadlocks = await session.find_deadlocks(contended, within=ANSWERED, on_error=lambda _: None)
    return {name for each in deadlocks for name in each.names}


async def _look(session: Session, unreadable: list[FormatError]) -> list[Inspection]:
    try:
        async with asyncio.timeout(ANSWER):
            return await session.inspect_all(on_error=unreadable.append)
    except TimeoutError:
        raise Failure(f"the engine has not answered within {ANSWER:g} s", exit_codes.TIMED_OUT) from None
