"""The schema in which everything is: whether it is there, is ours, and can be used."""

from __future__ import annotations

from holdfast.cluster.errors import EngineError, FormatError

from .ddl import RIGHTS, grants, making
from .failures import Denied, Missing
from .lane import Script
from .link import Link
from .tables import VERSION


async def prepare(link: Link) -> None:
    """Make the schema if it is not there, and check that it can be used.

    Raises EngineError; FormatError if it is another version's.
    """
    schema = link.server.schema
    try:
        found = await _version(link)
    except Missing:
        try:
            await link.ask(Script(making(schema)))
        except Denied as exc:
            raise EngineError(
                f"{link.name} has no schema {schema} of holdfast's yet, and does not permit this user to make it "
                f"({exc.__cause__}). Somebody who may do that runs what `python -m holdfast.cluster.engines.postgres "
                f"--schema {schema} --role USER` prints"
            ) from exc
        found = await _version(link)
    if found != VERSION:
        raise FormatError(
            f"the schema {schema} on {link.name} is of version {found}, and this version of holdfast knows version "
            f"{VERSION}. Nothing was changed. Write ?schema=NAME behind the URL to have another one"
        )
    await _check_rights(link)


async def _version(link: Link) -> int:
    rows = await link.ask("SELECT version FROM SCHEMA.version")
    if len(rows) != 1:
        raise FormatError(f"the table {link.server.schema}.version on {link.name} is not one of holdfast's")
    return int(rows[0][0])


async def _check_rights(link: Link) -> None:
    """Raise EngineError if the user lacks a right: else that would show only when it is needed."""
    wanted = [(table, right) for table, rights in RIGHTS.items() for right in rights.split(", ")]
    values = ", ".join(f"('{table}', '{right}')" for table, right in wanted)
    rows = await link.ask(
        f"SELECT t || ': ' || string_agg(r, ', ') FROM (VALUES {values}) AS wanted (t, r) "
        "WHERE NOT has_table_privilege(('SCHEMA.' || t)::regclass, r) GROUP BY t ORDER BY t"
    )
    if rows:
        lacking = "; ".join(lacks for (lacks,) in rows)
        raise EngineError(
            f"{link.name} does not permit this user all that is needed in the schema {link.server.schema}: {lacking}. "
            f"Its owner permits it by: {' '.join(grants(link.server.schema, 'USER'))}"
        )
