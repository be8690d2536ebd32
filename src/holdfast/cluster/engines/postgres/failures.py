"""What it means when PostgreSQL or asyncpg refuses something: whether another try may succeed, and what to say."""

from __future__ import annotations

import asyncpg

from holdfast.cluster.engines.far_link import Unreachable
from holdfast.cluster.errors import EngineError

from .server import Standby

_AGAIN = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE that pass: the connection, conflicts, resources, locks, the operator."""
_READ_ONLY = "25006"
_DENIED = "42501"
_FULL = "54000"
_NO_SUCH_THING = "3F000", "42P01", "42883"
_NO_SUCH_SETTING = "42704"
_POOLER = "26000", "42P05", "08P01"
"""A prepared statement that is not there, or that is there already."""
HOW_TO_POOL = (
    "a pooler in transaction mode, such as PgBouncer with pool_mode = transaction, stands before the server: it loses "
    "wake-ups. Connect to the server itself, or to a port or database of the pooler with pool_mode = session"
)


class NotTold(EngineError):  # noqa: N818  # see errors.py
    """The server's queue of notifications is full. What a procedure has committed before is done."""


class Denied(EngineError):  # noqa: N818  # see errors.py
    """The user lacks a right."""


class Missing(EngineError):  # noqa: N818  # see errors.py
    """The tables and functions are not there."""


def keeps_connection(exc: BaseException) -> bool:
    """Whether the connection can be used after this error."""
    return isinstance(exc, asyncpg.PostgresError) and not (exc.sqlstate or "").startswith(("08", "57P"))


def explained(exc: BaseException, name: str, patience: float) -> EngineError:
    """The error to raise in place of asyncpg's. name: the server's."""
    if isinstance(exc, Standby):
        return Unreachable(str(exc))
    if isinstance(exc, EngineError):
        return exc
    if isinstance(exc, TimeoutError):
        return Unreachable(f"{name} has not answered within {patience:.3g} s")
    state = getattr(exc, "sqlstate", None) or ""
    if isinstance(exc, asyncpg.InvalidCachedStatementError):  # the schema has been made anew
        return Unreachable(f"{name} cannot do it now: {exc}")
    if state in _POOLER and isinstance(exc, asyncpg.PostgresError):
        return EngineError(f"{name}: {HOW_TO_POOL} ({exc})")
    if state == _FULL and "NOTIFY" in str(exc):
        return NotTold(f"{name}: {exc}")
    if state == _DENIED:
        return Denied(
            f"{name} does not permit this user all that is needed: {exc}. What `python -m "
            "holdfast.cluster.engines.postgres --role USER` prints ends with the rights to grant"
        )
    if state in _NO_SUCH_THING:
        return Missing(f"{name} has not all of holdfast's tables and functions: {exc}")
    if state == _NO_SUCH_SETTING:
        return EngineError(f"the URL has an option after '?' that neither asyncpg nor the server knows: {exc}")
    if state.startswith("28"):
        return Unreachable(
            f"{name} does not let this user in; the URL needs the right name and password, as in "
            f"postgresql://USER:PASSWORD@HOST/DATABASE: {exc}"
        )
    if state == _READ_ONLY or "during recovery" in str(exc):
        return Unreachable(f"{name} is a standby, or read only: {exc}")
    if state.startswith(_AGAIN):
        return Unreachable(f"{name} cannot do it now: {exc}")
    if isinstance(exc, asyncpg.PostgresError):
        return EngineError(f"{name}: {exc}")
    if isinstance(exc, (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        is_ours = isinstance(exc, asyncpg.ClientConfigurationError)
        return EngineError(f"{name}: {exc}") if is_ours else Unreachable(f"{name} cannot be reached: {exc}")
    return EngineError(f"{name}: {exc!r}")
