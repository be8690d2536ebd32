"""`holdfast event wait NAME`, and `event set`, `event clear`, `event show`."""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.options import json_option, looking_options, name_argument, quiet_option, waiting_options
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json
from holdfast.cluster import Session


@click.group(short_help="Wait until something has happened, or say that it has.")
def event() -> None:
    """Wait until something has happened, or say that it has.

    An event is set or unset, and stays so until somebody changes it. Commands and programs that wait for it go on when
    it is set.
    """


@event.command()
@name_argument
@quiet_option
@waiting_options
@in_session("event")
def wait(name: str) -> Command:
    """Wait until the event NAME is set; if it is set already, do not wait.

    \b
    Example: holdfast event wait db-ready --timeout 60 && ./migrate.sh
    """

    async def command(session: Session, patience: Patience) -> int:
        event = session.event(name)
        if not (patience.waits or await event.is_set()):
            raise TimeoutError
        await event.wait()
        return exit_codes.OK

    return command


@event.command(name="set")
@name_argument
@looking_options
@in_session()
def set_event(name: str) -> Command:
    """Set the event NAME: all that wait for it go on. It stays set."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).set()
        return exit_codes.OK

    return command


@event.command()
@name_argument
@looking_options
@in_session()
def clear(name: str) -> Command:
    """Unset the event NAME: from now on, commands and programs that ask for it have to wait."""

    async def command(session: Session, patience: Patience) -> int:
        await session.event(name).clear()
        return exit_codes.OK

    return command


@event.command(name="show")
@name_argument
@json_option
@looking_options
@in_session()
def show_event(name: str, as_text: bool) -> Command:
    """Print whether the event NAME is set. The exit code is 0 if it is, else 1."""

    async def command(session: Session, patience: Patience) -> int:
        is_set = await session.event(name).is_set()
        click.echo(as_json({"name": name, "is_set": is_set}) if as_text else "set" if is_set else "unset")
        return exit_codes.OK if is_set else exit_codes.NO

    return command
