"""The statements that make the schema, for the first session that opens, and for an administrator to run."""

from __future__ import annotations

from .routines import ROUTINES
from .tables import TABLES, VERSION

LONGEST = 7900
"""Bytes of a notification, at most. PostgreSQL takes up to 7999."""
RIGHTS = {
    "version": "SELECT",
    "canary": "SELECT, INSERT, DELETE",
    "namespaces": "SELECT, INSERT, UPDATE",
    "texts": "SELECT, INSERT, UPDATE, DELETE",
    "sessions": "SELECT, INSERT, UPDATE, DELETE",
    "evictions": "SELECT, INSERT, DELETE",
}
"""What a user must be permitted on each table."""


def statements(schema: str) -> str:
    """Those that make all that is in the schema."""
    text = TABLES + ROUTINES
    return text.replace("SCHEMA.", f"{schema}.").replace("VERSION", str(VERSION)).replace("LONGEST", str(LONGEST))


def making(schema: str) -> str:
    """The statement that makes the schema, unless another session makes it at the same time, or has made it.

    The schema itself may be there already: whoever may not make one may be given one that is empty.
    """
    return f"""
    DO $making$
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('holdfast schema {schema}', 0));
        IF to_regnamespace('{schema}') IS NULL THEN
            CREATE SCHEMA {schema};
        END IF;
        IF to_regclass('{schema}.version') IS NULL THEN
            EXECUTE $all${statements(schema)}$all$;
        END IF;
    END $making$"""


def grants(schema: str, role: str) -> list[str]:
    """The statements that give a role all rights that are needed."""
    tables = [f"GRANT {rights} ON {schema}.{table} TO {role};" for table, rights in RIGHTS.items()]
    return [f"GRANT USAGE ON SCHEMA {schema} TO {role};", *tables]


def script(schema: str, role: str | None) -> str:
    """What an administrator runs, who may make a schema. role: that of the programs; None: the administrator's own."""
    parts = ["BEGIN;", f"CREATE SCHEMA {schema};", statements(schema).strip()]
    if role is not None:
        parts += grants(schema, role)
    return "\n".join([*parts, "COMMIT;"])
