"""The resource's side of a Lock: a fence remembers the highest fencing token that it has seen, and refuses lower ones.

A process may be stopped for longer than its lease at any point, also between `grant.check()` and its write. No lock can
prevent the write that follows. The resource can, if each write carries the token of its grant.
(M. Kleppmann, "How to do distributed locking", 2016.)
"""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3

    from asyncpg import Connection
    from redis.asyncio import Redis


class StaleToken(RuntimeError):  # noqa: N818  # what happened, as in errors.py
    """The write is refused: the holder of a later grant of the lock has written before."""


class Fence:
    """Guards a resource of this process, for any number of threads and event loops."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._highest = 0

    @property
    def highest(self) -> int:
        """The highest token that was admitted; 0 if none was yet."""
        return self._highest

    def check(self, token: int) -> None:
        """Admit a token, unless a higher one was admitted before.

        Write before anything else can be admitted: without an `await` after the check, if all writers run in one event
        loop; else in the body of `admitted()`.

        token: that of the grant under which the write is made, `grant.token`.

        Raises StaleToken if a higher token was admitted before; TypeError if it is not a token.

        Cancellation: as for admitted(), as the thread may have to wait.
        """
        with self.admitted(token):
            pass

    @contextmanager
    def admitted(self, token: int) -> Iterator[None]:
        """Admit a token as check() does, and no other one until the body has ended.

        The body must not `await`: another task of the thread that calls this would block, and its event loop with it.

        token: that of the grant under which the write is made, `grant.token`.

        Raises StaleToken if the token is lower than one that was admitted before; TypeError if it is not a token.

        Cancellation: while another thread is in a body, this blocks the thread, which cannot be cancelled. If a signal
        handler raises meanwhile, as at Ctrl-C, its exception comes out, and nothing is admitted. A token whose body
        raises stays admitted.
        """
        _check_type(token)
        with self._mutex:
            if token < self._highest:
                raise StaleToken(_refusal(token, self._highest, "this resource"))
            self._highest = token
            yield


class SQLiteFence:
    """Guards something in an SQLite database against all processes that write there. A table keeps the highest token.

    ```python
    fence = SQLiteFence(connection, "accounts")
    with connection:  # one transaction
        fence.check(grant.token)
        connection.execute("UPDATE accounts SET ...")
    ```
    """

    def __init__(self, connection: sqlite3.Connection, resource: str) -> None:
        """connection: to the database of the resource. The table `holdfast_fences` is made there if it is missing.
        resource: the name of what is guarded. Each resource has tokens of its own.
        """
        self._connection = connection
        self._resource = resource
        connection.execute("CREATE TABLE IF NOT EXISTS holdfast_fences (resource TEXT PRIMARY KEY, token INTEGER)")

    def check(self, token: int) -> None:
        """Admit a token for the transaction that is open or begins here, unless a higher one was admitted before.

        token: that of the grant under which the write is made, `grant.token`.

        Raises StaleToken if a higher token was admitted before; RuntimeError if the connection is not in a transaction
        afterwards, as the check and the write must be in the same one; TypeError if it is not a token; sqlite3.Error as
        the database does.

        Cancellation: while another connection writes, this blocks the thread, for at most the `timeout` of the
        connection, and cannot be cancelled. A signal handler runs when it has ended.
        """
        _check_type(token)
        statement = """
            INSERT INTO holdfast_fences VALUES (?, ?)
            ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE excluded.token >= token
        """
        admitted = self._connection.execute(statement, (self._resource, token)).rowcount
        if not admitted:
            query = "SELECT token FROM holdfast_fences WHERE resource = ?"
            (highest,) = self._connection.execute(query, (self._resource,)).fetchone()
            raise StaleToken(_refusal(token, highest, repr(self._resource)))
        if not self._connection.in_transaction:
            raise RuntimeError(
                "the connection commits each statement by itself, so that somebody else may write between this check "
                "and yours; execute('BEGIN') before the check, and commit after the write"
            )


class PostgresFence:
    """Guards something in a PostgreSQL database. A table there keeps the highest token.

    ```python
    fence = PostgresFence(connection, "accounts")
    await fence.prepare()  # once
    async with connection.transaction():
        await fence.check(grant.token)
        await connection.execute("UPDATE accounts SET ...")
    ```

    Other clients than asyncpg write `SELECT holdfast_admit('accounts', TOKEN)` in the transaction of the write. Of a
    token that is too old, they get an error with the SQLSTATE `HF001`, and the transaction fails.
    """

    STALE = "HF001"
    _PREPARE = """
        DO $prepare$ BEGIN
            PERFORM pg_advisory_xact_lock(hashtextextended('holdfast fences', 0));
            CREATE TABLE IF NOT EXISTS holdfast_fences (resource text PRIMARY KEY, token bigint NOT NULL);
            CREATE OR REPLACE FUNCTION holdfast_admit(p_resource text, p_token bigint) RETURNS void
            LANGUAGE plpgsql AS $admit$
            DECLARE
                v_highest bigint;
            BEGIN
                INSERT INTO holdfast_fences AS f VALUES (p_resource, p_token)
                    ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE excluded.token >= f.token;
                IF NOT FOUND THEN
                    SELECT f.token INTO v_highest FROM holdfast_fences f WHERE f.resource = p_resource;
                    RAISE EXCEPTION 'token % is older than %, which % has seen', p_token, v_highest, p_resource
                        USING ERRCODE = 'HF001', DETAIL = v_highest;
                END IF;
            END $admit$;
        END $prepare$
    """

    def __init__(self, connection: Connection, resource: str) -> None:
        """connection: asyncpg's, to the database of the resource. It need not be the database of the locks.
        resource: the name of what is guarded. Each resource has tokens of its own.
        """
        self._connection = connection
        self._resource = resource

    async def prepare(self) -> None:
        """Make the table `holdfast_fences` and the function `holdfast_admit()`, in the schema where tables are made.

        Raises asyncpg's errors, as where the user may not make tables.

        Cancellation: they may have been made or not; it may be called again.
        """
        await self._connection.execute(self._PREPARE)

    async def check(self, token: int) -> None:
        """Admit a token for the transaction that is open, unless a higher one was admitted before.

        Until that transaction ends, a transaction that checks another token for the resource waits.

        token: that of the grant under which the write is made, `grant.token`.

        Raises StaleToken if a higher token was admitted before, and then the transaction has failed; RuntimeError if
        the connection is not in a transaction, as the check and the write must be in the same one; TypeError if it is
        not a token; asyncpg's errors as the database does.

        Cancellation: as for the connection's own methods; the token is admitted only if the transaction is committed.
        """
        _check_type(token)
        if not self._connection.is_in_transaction():
            raise RuntimeError(
                "the connection is not in a transaction, so that somebody else may write between this check and yours; "
                "write 'async with connection.transaction()' around both"
            )
        try:
            await self._connection.execute("SELECT holdfast_admit($1, $2)", self._resource, token)
        except Exception as exc:  # asyncpg's, which this module does not import
            if getattr(exc, "sqlstate", None) != self.STALE:
                raise
            highest = int(getattr(exc, "detail", 0))
            raise StaleToken(_refusal(token, highest, repr(self._resource))) from exc


class RedisFence:
    """Guards something in Redis or Valkey. A key there keeps the highest token.

    ```python
    fence = RedisFence(client, "accounts:fence")
    await fence.execute(grant.token, "HSET", "accounts", "alice", 42)
    ```
    """

    _SCRIPT = """
        local highest = redis.call('GET', KEYS[1])
        if highest and tonumber(highest) > tonumber(ARGV[1]) then return {0, highest} end
        redis.call('SET', KEYS[1], ARGV[1])
        if #ARGV == 1 then return {1} end
        return {1, redis.call(unpack(ARGV, 2))}
    """

    def __init__(self, client: Redis, key: str) -> None:
        """client: of `redis.asyncio`, for the server of the resource. It need not be the server of the locks.
        key: keeps the highest token. Each resource needs a key of its own, which must not expire.
        """
        self._client = client
        self._key = key

    async def execute(self, token: int, *command: str | bytes | float) -> Any:
        """Admit a token and run a command, in one atomic step; return the result of the command.

        token: that of the grant under which the write is made, `grant.token`.
        command: the command and its arguments.

        Raises StaleToken, and does nothing, if a higher token was admitted before; TypeError if it is not a token;
        redis-py's errors as the client does.

        Cancellation: the command may have been run or not.
        """
        _check_type(token)
        answer: Any = await self._client.eval(self._SCRIPT, 1, self._key, token, *command)
        admitted, *rest = answer
        if not admitted:
            raise StaleToken(_refusal(token, int(rest[0]), repr(self._key)))
        return rest[0] if rest else None

    async def check(self, token: int) -> None:
        """Admit a token as execute() does, without a command.

        Another client may write between this check and your write.

        token: as for execute().

        Raises what execute() raises.

        Cancellation: raises at once; the token may have been admitted.
        """
        await self.execute(token)


class EtcdFence:
    """Guards something in etcd. A key there has the highest token in its name.

    ```python
    fence = EtcdFence("accounts/fence")
    transaction = {"success": [{"requestPut": {"key": key, "value": value}}]}
    answer = await post("/v3/kv/txn", fence.guarded(grant.token, transaction))
    if not answer.get("succeeded"):
        raise StaleToken(...)
    ```

    It adds a comparison to a transaction of yours, which you send with the client that you have. The transaction is in
    the form of etcd's JSON gateway, as etcd3gw takes it; with `ParseDict` of protobuf, it is a TxnRequest.
    """

    _DIGITS = 20

    def __init__(self, key: str) -> None:
        """key: what the fence's keys begin with, before a slash. Each resource needs one of its own, and the user of
        etcd needs the right to read and write what begins with it.
        """
        self._prefix = f"{key}/".encode()

    def guarded(self, token: int, transaction: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Any]]:
        """Return a transaction with this one's comparisons, and what it does, that also admits a token.

        If a higher token was admitted before, its comparison fails. Then etcd does what is under `failure`, and answers
        that the transaction has not succeeded.

        token: that of the grant under which the write is made, `grant.token`.
        transaction: with any of `compare`, `success` and `failure`.

        Raises TypeError if it is not a token.

        Cancellation: not applicable.
        """
        _check_type(token)
        mine, above = self._key(token), self._key(token + 1)
        end = self._prefix[:-1] + b"0"  # which comes after a slash
        no_higher_one = {"key": _coded(above), "range_end": _coded(end), "target": "VERSION", "result": "EQUAL"}
        forget_lower_ones = {"key": _coded(self._prefix), "range_end": _coded(mine)}
        return {
            "compare": [*transaction.get("compare", ()), {**no_higher_one, "version": "0"}],
            "success": [
                *transaction.get("success", ()),
                {"requestPut": {"key": _coded(mine), "value": ""}},
                {"requestDeleteRange": forget_lower_ones},
            ],
            "failure": [*transaction.get("failure", ())],
        }

    def _key(self, token: int) -> bytes:
        return self._prefix + f"{token:0{self._DIGITS}}".encode()


def _coded(key: bytes) -> str:
    return b64encode(key).decode("ascii")


def _check_type(token: int) -> None:
    if not isinstance(token, int) or isinstance(token, bool) or token < 1:
        raise TypeError(f"a token is a positive int, as in grant.token, not {token!r}")


def _refusal(token: int, highest: int, resource: str) -> str:
    return f"token {token} is older than {highest}, which {resource} has seen: the lock has been granted anew since"
