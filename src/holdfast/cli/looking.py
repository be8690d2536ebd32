"""Looks at a name, for the commands that have to know its kind or its holders."""

from __future__ import annotations

import click

from holdfast.cluster import Inspection, Session
from holdfast.cluster.command_line import without_passwords
from holdfast.cluster.connecting import url_in_use

from . import exit_codes
from .failure import Failure
from .messages import shortened


async def inspect(session: Session, name: str) -> Inspection | None:
    """What is known of the name; None if nobody uses it."""
    try:
        return await session.inspect(name)
    except KeyError:
        return None


async def inspect_used(session: Session, name: str) -> Inspection:
    """The same. Raises Failure if nobody uses it."""
    one = await inspect(session, name)
    if one is None:
        namespace = click.get_current_context().params["namespace"]
        raise Failure(
            f"nobody uses {shortened(name)!r} in the namespace {shortened(namespace)!r} of {place()}; look at --url "
            "and --namespace",
            exit_codes.NO,
        )
    return one


def place() -> str:
    """The URL in use, without a password."""
    url = url_in_use(click.get_current_context().params["url"])
    if url:
        return without_passwords(url)
    from holdfast.cluster.engines.embedded.directory import default_directory

    return f"sqlite://{default_directory()}"
