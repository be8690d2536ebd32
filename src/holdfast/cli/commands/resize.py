"""`holdfast resize NAME N`"""

from __future__ import annotations

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import inspect_used
from holdfast.cli.messages import shortened
from holdfast.cli.options import count_argument, looking_options, name_argument
from holdfast.cli.patience import Patience
from holdfast.cluster import Session
from holdfast.cluster.records.record import with_article


@click.command(short_help="Change how many permits a semaphore has.")
@name_argument
@count_argument
@looking_options
@in_session()
def resize(name: str, n: int) -> Command:
    """Give the semaphore NAME N permits from now on, also while it is used.

    If there are more permits than before, the waiters get the new ones at once. If there are fewer, nobody loses a
    permit: the holders finish, and the next permit is granted when enough have been given back. Commands and programs
    that give the old number go on.

    \b
    Example: holdfast resize convert 8
    """

    async def command(session: Session, patience: Patience) -> int:
        one = await inspect_used(session, name)
        if "bounded" not in one.state:
            raise Failure(f"{shortened(name)!r} is {with_article(one.kind)}, not a semaphore", exit_codes.FAILED)
        make = session.bounded_semaphore if one.state["bounded"] else session.semaphore
        await make(name, one.state["value"]).resize(n)
        return exit_codes.OK

    return command
