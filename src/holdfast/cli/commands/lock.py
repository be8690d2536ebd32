"""`holdfast lock NAME -- CMD...`"""

from __future__ import annotations

from typing import Any

import click

from holdfast.cli.leased import run_leased
from holdfast.cli.options import RunsCommand, command_options, name_argument


@click.command(cls=RunsCommand, short_help="Run CMD while nobody else runs one under this name.")
@name_argument
@command_options
def lock(name: str, **options: Any) -> int:
    """Run CMD while nobody else runs one under the same NAME.

    Other `holdfast lock NAME` commands wait until CMD has ended. They are served in the order in which they came.

    \b
    Example: holdfast lock backup -- /usr/local/bin/backup.sh --full

    CMD finds NAME in the environment variable HOLDFAST_NAME, and a fencing token in HOLDFAST_TOKEN. The token is higher
    each time: what CMD writes to can refuse a token that is lower than the last one, as it comes too late.
    """
    return run_leased(lambda session: session.lock(name), name, **options)
