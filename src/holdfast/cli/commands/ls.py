"""`holdfast ls`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.messages import complain
from holdfast.cli.options import json_option, looking_options
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json, print_names
from holdfast.cluster import Session
from holdfast.cluster.errors import FormatError


@click.command(short_help="List the names in use.")
@json_option
@looking_options
@in_session()
def ls(as_text: bool) -> Command:
    """List the names that are in use, or were within the last hour: what each is, who holds it, how many wait."""

    async def command(session: Session, patience: Patience) -> int:
        unreadable: list[FormatError] = []
        found = await session.inspect_all(on_error=unreadable.append)
        for exc in unreadable:  # the other names can still be listed
            complain(str(exc))
        if as_text:
            click.echo(as_json(found))
            printed = True
        else:
            printed = print_names(found)
        return exit_codes.OK if printed and not unreadable else exit_codes.FAILED

    return command
