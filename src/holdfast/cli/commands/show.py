"""`holdfast show NAME`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import inspect_used
from holdfast.cli.options import json_option, looking_options, name_argument
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json, print_name
from holdfast.cluster import Session


@click.command(short_help="Show who holds a name, and who waits for it.")
@name_argument
@json_option
@looking_options
@in_session()
def show(name: str, as_text: bool) -> Command:
    """Show who holds NAME, and who waits for it, in the order in which they will be served."""

    async def command(session: Session, patience: Patience) -> int:
        one = await inspect_used(session, name)
        if as_text:
            click.echo(as_json(one))
        elif not print_name(one):
            return exit_codes.FAILED
        return exit_codes.OK

    return command
