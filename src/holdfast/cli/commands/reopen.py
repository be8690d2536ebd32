"""`holdfast reopen NAME`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import inspect_used
from holdfast.cli.options import name_argument, session_options
from holdfast.cli.patience import Patience
from holdfast.cluster import Session


@click.command(short_help="Open a name again that a program has closed.")
@name_argument
@session_options
@in_session()
def reopen(name: str) -> Command:
    """Open again what a program has closed under NAME with close(), so that it can be used.

    It does nothing if nothing is closed. `holdfast show NAME` tells whether it is, and why.

    \b
    Example: holdfast reopen jobs
    """

    async def command(session: Session, patience: Patience) -> int:
        await inspect_used(session, name)
        await session.reopen(name)
        return exit_codes.OK

    return command
