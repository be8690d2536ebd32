"""`holdfast reopen NAME`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import inspect_used
from holdfast.cli.options import looking_options, name_argument
from holdfast.cli.patience import Patience
from holdfast.cluster import Session


@click.command(short_help="Open a name again that a program has closed.")
@name_argument
@looking_options
@in_session()
def reopen(name: str) -> Command:
    """Open again what a program has closed under NAME with close(), so that it can be used.

    Prints "opened", or "was not closed" if nothing was; the exit code is 0 in both cases. `holdfast show NAME` tells
    whether something is closed, and why.

    \b
    Example: holdfast reopen jobs
    """

    async def command(session: Session, patience: Patience) -> int:
        await inspect_used(session, name)
        click.echo("opened" if await session.reopen(name) else "was not closed")
        return exit_codes.OK

    return command
