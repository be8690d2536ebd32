"""`holdfast demo`"""

from __future__ import annotations

import asyncio

import click

import holdfast
from holdfast.cli import exit_codes
from holdfast.cli.failure import Failure
from holdfast.cli.in_session import check_url
from holdfast.cluster.errors import EngineError


@click.command(short_help="Show it all at work.")
@click.option(
    "--url", help="Where the four processes meet, as redis://locks.example.org. If left out: in a directory of its own."
)
def demo(url: str | None) -> int:
    """Show it all at work, in one event loop and in four processes of which one is killed; checked and timed."""
    from holdfast.demo import demo as show_demo

    try:
        if url is not None:
            check_url(url)
            asyncio.run(_try(url))  # else an error would come after the first half
        return show_demo(url)
    except EngineError as exc:
        raise Failure(str(exc), exit_codes.FAILED) from exc
    except (ValueError, ImportError) as exc:
        raise Failure(str(exc), exit_codes.USAGE) from exc


async def _try(url: str) -> None:
    async with holdfast.connect(url, namespace="demo"):
        """It can be used."""
