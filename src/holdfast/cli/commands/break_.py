"""`holdfast break NAME`"""

from __future__ import annotations

import getpass
import os
import socket
import sys
from typing import Any

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import SessionOptions, execute
from holdfast.cli.looking import inspect
from holdfast.cli.messages import shortened
from holdfast.cli.options import Text, looking_options, name_argument
from holdfast.cli.patience import Patience
from holdfast.cli.reports import print_line
from holdfast.cli.waits import who_it_is
from holdfast.cluster import Session, SessionInfo

LONGEST_USER = 100
"""Characters of a user's name in a note."""


@click.command(name="break", short_help="End the sessions that hold a name.")
@name_argument
@click.option(
    "--session", "only", type=Text(), metavar="ID", help="End only this one of them; `show --json` has the ID."
)
@click.option(
    "--reason", type=Text(), metavar="TEXT", default="", help="Why; the sessions that lose something are told."
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask whether this is meant.")
@looking_options
def break_(name: str, only: str | None, reason: str, yes: bool, **options: Any) -> int:
    """End the sessions that hold NAME, so that the next in line get it at once.

    This is for a holder that hangs. Its session loses everything that it holds, under other names as well. It is told
    at once: holdfast ends its CMD, a program gets LeaseLost. A holder that hangs may not listen: make sure that it does
    no more damage. For a day, `holdfast show NAME` tells who has ended which session.

    Prints a line for each session that was ended.

    \b
    Example: holdfast break deploy --reason "hangs since noon"
    """
    holders: list[SessionInfo] = []
    place = SessionOptions(**options)

    async def find(session: Session, patience: Patience) -> int:
        found = await inspect(session, name)
        if found is not None:
            holders.extend(each.session for each in found.holders if only in (None, each.session.id))
        return exit_codes.OK

    async def end(session: Session, patience: Patience) -> int:
        by = _who_asks()
        ended = [each for each in holders if await session.evict(each.id, reason=reason, by=by)]
        for each in ended:
            print_line(f"ended the session of {who_it_is(each)}")
        if not ended:
            raise Failure(f"the sessions that held {shortened(name)!r} have ended meanwhile", exit_codes.NO)
        return exit_codes.OK

    execute(find, place)
    if not holders:
        who = "nobody" if only is None else f"no session {shortened(only)}"
        raise Failure(f"{who} holds {shortened(name)!r}", exit_codes.NO)
    if not yes and sys.stdin is not None and sys.stdin.isatty():  # outside of a session, which could not wait so long
        named = "; ".join(map(who_it_is, holders))
        if not click.confirm(f"{shortened(name)!r} is held by {named}. End it?", err=True):
            raise Failure("nothing was ended", exit_codes.NO)
    return execute(end, place)


def _who_asks() -> str:
    """The user and the host. A user may have no name, as in a container."""
    try:
        user = Text.read(getpass.getuser())
    except (ImportError, KeyError, OSError):
        user = f"user {os.getuid()}" if hasattr(os, "getuid") else "somebody"
    return f"{user[:LONGEST_USER]}@{socket.gethostname()}"
