"""The rights that a user of an access control list (ACL) needs, as a message tells an administrator to give them."""

from __future__ import annotations

from typing import Any

from .keys import Keys

COMMANDS = (
    *("info", "time", "eval", "evalsha", "subscribe", "publish", "hset", "hmget", "get", "set", "mget", "del"),
    *("exists", "type", "pexpire", "pttl", "zadd", "zrem", "zscore", "zrange"),
)
"""All commands that are used, in scripts and elsewhere. docs/connect.md has them too, and a test compares."""


def how_to_permit(pool: Any, keys: Keys) -> str:
    """The command that gives the user of a pool's connections all rights in a namespace. `scripts.TRY` tries them."""
    options = pool.connection_kwargs
    user = "USER" if options.get("credential_provider") is not None else options.get("username") or "default"
    # A pattern has no spaces, and '?' stands for any one character. '[' and ']' are not in a key: see `keys`.
    pattern = f"{keys.namespace}*".replace(" ", "?")
    commands = [*COMMANDS, "select"] if options.get("db") else COMMANDS
    return f"ACL SETUSER {user} ~{pattern} &{pattern} {' '.join(f'+{command}' for command in commands)}"
