"""`holdfast top`"""

from __future__ import annotations

import asyncio
import itertools
import sys
from fnmatch import fnmatchcase

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.messages import complain
from holdfast.cli.options import Text, every_option, json_option, looking_options
from holdfast.cli.overview import ORDERS, Screen
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json
from holdfast.cli.sampling import Sampler
from holdfast.cluster import Session


@click.command(short_help="Watch the names: who holds them, who waits, for how long.")
@every_option
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
@looking_options
@in_session()
def top(every: float, sort: str, match: str, idle_too: bool, times: int | None, as_text: bool) -> Command:
    """Watch the names that are in use: who holds each and for how long, how many wait and the longest of them, and how
    many grants a lock makes in a second.

    With --json, each look is one line: an array of names.

    A line in red is in a deadlock, as "holdfast deadlocks" finds it, or has sessions that have died and still hold it.

    "Silent" sessions have not said in time what their tasks wait for: a deadlock with one of them is not found.
    """

    async def command(session: Session, patience: Patience) -> int:
        patience.end()
        told, silent = set[str](), set[str]()
        on_terminal = sys.stdout.isatty()
        sampler = Sampler(session, every)
        pause = 0.0
        with Screen(live=on_terminal and not as_text and times is None) as screen:  # so many tables stay there
            for _ in itertools.count() if times is None and on_terminal else range(times or 1):
                await asyncio.sleep(pause)
                sample = await sampler.look()
                for text in {*sample.unreadable} - told:
                    told.add(text)
                    complain(text)
                for each in sample.silent:
                    if not on_terminal and each.id not in silent:
                        silent.add(each.id)
                        complain(
                            f"session {each.name!r} has not said in time what its tasks wait for; a deadlock with it "
                            "is not found"
                        )
                rows = [row for row in sample.rows if fnmatchcase(row.name, match)]
                shown = sorted((row for row in rows if idle_too or not row.is_idle()), key=ORDERS[sort])
                if as_text:
                    click.echo(as_json(shown, indent=None))
                else:
                    screen.show(shown, len(rows), len(sample.deadlocks), len(sample.silent))
                pause = sampler.pause()
        return exit_codes.FAILED if told else exit_codes.OK

    return command
