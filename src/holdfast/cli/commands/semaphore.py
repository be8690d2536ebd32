"""`holdfast semaphore NAME N -- CMD...`"""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.leased import run_leased
from holdfast.cli.options import RunsCommand, command_options, count_argument, name_argument


@click.command(cls=RunsCommand, short_help="Run CMD while at most N run under this name.")
@name_argument
@count_argument
@click.option(
    "--permits",
    type=click.IntRange(min=1),
    metavar="P",
    default=1,
    show_default=True,
    help="Count CMD as P of the N. It waits until P are free, and those that come later do not overtake it.",
)
@command_options
def semaphore(name: str, n: int, permits: int, **options: Any) -> int:
    """Run CMD while at most N run under the same NAME, this one included.

    All have to give the same N, as long as anybody holds a permit or waits for one; `holdfast resize` changes it then.

    \b
    Example: holdfast semaphore convert 4 -- flac song.wav
    """
    if permits > n:
        raise Failure(f"--permits must be at most N, which is {n} here: more are never free", exit_codes.USAGE)
    return run_leased(lambda session: session.semaphore(name, n), name, permits=permits, **options)
