"""`holdfast ls`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import inspect
from holdfast.cli.messages import complain
from holdfast.cli.options import json_option, session_options
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json, print_names
from holdfast.cluster import Session
from holdfast.cluster.errors import FormatError


@click.command(short_help="List the names in use.")
@json_option
@session_options
@in_session()
def ls(as_text: bool) -> Command:
    """List the names that are in use, or were within the last hour: what each is, who holds it, how many wait."""

    async def command(session: Session, patience: Patience) -> int:
        found, code = [], exit_codes.OK
        for name in await session.names():
            try:
                one = await inspect(session, name)
            except FormatError as exc:  # the other names can still be listed
                complain(str(exc))
                code = exit_codes.FAILED
            else:
                found += [one] if one is not None else []
        if as_text:
            click.echo(as_json(found))
        elif not print_names(found):
            code = exit_codes.FAILED
        return code

    return command
