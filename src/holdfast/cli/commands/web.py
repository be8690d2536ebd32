"""`holdfast web`"""

from __future__ import annotations

import asyncio
import socket
from typing import NoReturn

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.looking import place
from holdfast.cli.messages import complain
from holdfast.cli.options import every_option, looking_options
from holdfast.cli.patience import Patience
from holdfast.cli.web import access, listening
from holdfast.cli.web.watched import Watched
from holdfast.cluster import Session

LOOPBACK = "127.0.0.1"
PORT = 4653
"""HOLD, on the keys of a telephone."""


@click.command(short_help="Show the names on a page, in a browser.")
@click.option(
    "--host",
    metavar="ADDRESS",
    default=LOOPBACK,
    show_default=True,
    help="Listen at this address. With another one than that of this machine alone, others can reach the page; the "
    "connection is not encrypted.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    default=PORT,
    show_default=True,
    help="Listen at this port; 0 for a free one.",
)
@every_option
@looking_options
@in_session()
def web(host: str, port: int, every: float) -> Command:
    """Serve a page with what `holdfast top` shows: the names, who holds them, who waits, for how long.

    It prints the URL, which has a token in it. The page is read-only. Who has the URL sees the names, and of the
    processes that use them the host and the command line. The engine is looked at only while a page is open. Ctrl-C
    ends it.
    """
    try:
        from holdfast.cli.web.server import application, served
    except ImportError:
        raise Failure("the page needs an extra: install holdfast with its extra 'web'", exit_codes.USAGE) from None
    where = f"{click.get_current_context().params['namespace']} in {place()}"

    async def command(session: Session, patience: Patience) -> int:
        patience.end()
        with listening.listen(host, port) as listens:
            address, bound = listening.address_of(listens)
            alone = access.is_loopback(address)
            token = access.new_token()
            hosts = access.Hosts([host] if alone else [host, socket.gethostname()], only_loopback=alone)
            over: asyncio.Future[NoReturn] = asyncio.get_running_loop().create_future()
            made = application(Watched(session, every, where), token, hosts, f"holdfast-web-{bound}", over)
            async with served(made, listens):
                if not alone:
                    complain(
                        f"others can reach the page at {host}, and the connection is not encrypted: who sees the URL "
                        "or the traffic sees all that the page shows"
                    )
                click.echo(f"{listening.origin(address, bound)}?token={token}")
                await over

    return command
