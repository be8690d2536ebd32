"""`holdfast deadlocks`"""

from __future__ import annotations

import math

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.messages import complain, printable
from holdfast.cli.options import Seconds, json_option, looking_options
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json, print_line
from holdfast.cluster import Session, SessionInfo
from holdfast.cluster.errors import FormatError


@click.command(short_help="Find tasks and threads that wait for each other in a circle.")
@click.option(
    "--within",
    type=Seconds(),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="Wait for the answer of a session for so long at most.",
)
@json_option
@looking_options
@in_session()
def deadlocks(within: float, as_text: bool) -> Command:
    """Find tasks and threads, of all processes, that wait for each other in a circle. Print each circle as a sentence:
    who waits for what, where in the code, and who holds it.

    Programs in Python are covered. What CMD of "holdfast lock" waits for is not known, so commands that are nested in
    each other are not.

    \b
    Exit codes:
      0    there is no deadlock
      1    there is one, or there are several
      125  there is none, as far as can be told: a session has not
           answered, or another version wrote a record
    """

    if not 0 < within < math.inf:
        raise Failure(f"--within must be a number of seconds above 0, not {within:g}", exit_codes.USAGE)

    async def command(session: Session, patience: Patience) -> int:
        silent: list[SessionInfo] = []
        unreadable: list[FormatError] = []
        found = await session.find_deadlocks(within=within, on_silent=silent.append, on_error=unreadable.append)
        for exc in unreadable:  # the other names can still be looked at
            complain(str(exc))
        for info in silent:
            complain(_silence(session, info, within))
        if as_text:
            click.echo(as_json(found))
        elif not (found or silent or unreadable):
            click.echo("no deadlock")
        else:
            for each in found:
                print_line(str(each))
        if found:
            return exit_codes.DEADLOCK
        return exit_codes.FAILED if silent or unreadable else exit_codes.OK

    return command


def _silence(session: Session, silent: SessionInfo, within: float) -> str:
    """That a session has not answered this one, and why."""
    name, where = printable(silent.name), f"pid {silent.pid} on {printable(silent.host)}"
    if getattr(session.engine, "polls", None) is not None:
        return f"session {name} ({where}) cannot answer, as this command polls; give it a URL without poll="
    if silent.polls:
        return (
            f"session {name} ({where}) polls, as poll= in its URL says, and so hears no question; "
            "deadlocks with it are not found"
        )
    return (
        f"session {name} ({where}) has not answered within {within:g} s, so deadlocks with it are not found; its event "
        "loop is blocked, its process is stopped, or it has an earlier version of holdfast"
    )
