"""`holdfast semaphore NAME N -- CMD...`"""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.leased import run_leased
from holdfast.cli.options import RunsCommand, command_options, count_argument, name_argument


@click.command(cls=RunsCommand, short_help="Run CMD while at most N run under this name.")
@name_argument
@count_argument
@command_options
def semaphore(name: str, n: int, **options: Any) -> int:
    """Run CMD while at most N run under the same NAME, this one included.

    All have to give the same N, as long as anybody holds a permit or waits for one; `holdfast resize` changes it then.

    \b
    Example: holdfast semaphore convert 4 -- flac song.wav
    """
    return run_leased(lambda session: session.semaphore(name, n), name, **options)
