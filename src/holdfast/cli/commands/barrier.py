"""`holdfast barrier NAME N`"""

from __future__ import annotations

import asyncio

import click

from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import Command, in_session
from holdfast.cli.options import count_argument, json_option, name_argument, quiet_option, waiting_options
from holdfast.cli.patience import Patience
from holdfast.cli.reports import as_json
from holdfast.cluster import Session


@click.command(short_help="Wait until N commands have come.")
@name_argument
@count_argument
@quiet_option
@json_option
@waiting_options
@in_session("barrier")
def barrier(name: str, n: int, as_text: bool) -> Command:
    """Wait until N commands have come to the barrier NAME; then all go on at once.

    Prints which of them this one was, counted from 0. All have to give the same N.
    """

    async def command(session: Session, patience: Patience) -> int:
        barrier = session.barrier(name, n)
        if not (patience.waits or await barrier.n_waiting == n - 1):
            raise TimeoutError
        try:
            index = await barrier.wait()
        except asyncio.BrokenBarrierError as exc:
            raise Failure(str(exc), exit_codes.FAILED) from exc
        click.echo(as_json({"name": name, "index": index}) if as_text else index)
        return exit_codes.OK

    return command
