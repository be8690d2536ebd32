"""Old tokens are refused by the resource."""

from __future__ import annotations

import sqlite3
import sys
import threading

import pytest

import holdfast
from holdfast.cluster import Fence, SQLiteFence, StaleToken


@pytest.fixture(params=["Fence", "SQLiteFence"])
def fence(request):
    if request.param == "Fence":
        yield Fence()
    else:
        connection = sqlite3.connect(":memory:")
        yield SQLiteFence(connection, "a resource")
        connection.close()


def test_older_tokens_are_refused_and_the_same_is_not(fence):
    for token in (3, 3, 7):
        fence.check(token)
    for token in (6, 1):
        with pytest.raises(StaleToken, match=rf"token {token} is older than 7, which .*resource.* has seen"):
            fence.check(token)
    fence.check(7)


@pytest.mark.parametrize("token", ["3", None, 0, -1, True, 1.0])
def test_a_token_is_a_number(fence, token):
    with pytest.raises(TypeError, match="a token is a positive int"):
        fence.check(token)


async def test_the_tokens_of_grants_pass_in_their_order(fence):
    async with holdfast.connect("memory:", namespace="fencing") as session:
        lock = session.lock("x")
        async with lock as earlier:
            fence.check(earlier.token)
        async with lock as later:
            fence.check(later.token)
            with pytest.raises(StaleToken):
                fence.check(earlier.token)


def test_nobody_is_admitted_while_somebody_writes():
    fence, written, inside, entered = Fence(), [], threading.Event(), threading.Event()

    def write_old():
        with fence.admitted(1):
            inside.set()
            assert not entered.wait(0.05), "the newer one was admitted in the middle of an older one's write"
            written.append(1)

    def write_new():
        inside.wait()
        with fence.admitted(2):
            entered.set()
            written.append(2)

    threads = [threading.Thread(target=write) for write in (write_old, write_new)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert written == [1, 2]
    assert fence.highest == 2


def test_a_body_that_fails_ends_the_admission():
    fence = Fence()
    with pytest.raises(ZeroDivisionError), fence.admitted(1):
        raise ZeroDivisionError
    fence.check(1)


def test_a_check_and_its_write_are_one_transaction(tmp_path):
    """A newer process cannot come between; what was refused has changed nothing."""
    old = sqlite3.connect(tmp_path / "accounts.db", timeout=0)
    new = sqlite3.connect(tmp_path / "accounts.db", timeout=0)
    fences = [SQLiteFence(connection, "accounts") for connection in (old, new)]
    old.execute("CREATE TABLE accounts (balance INTEGER)")
    fences[0].check(1)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        fences[1].check(2)
    old.execute("INSERT INTO accounts VALUES (1)")
    old.commit()
    fences[1].check(2)
    new.execute("UPDATE accounts SET balance = 2")
    new.commit()
    old.execute("UPDATE accounts SET balance = 1")
    with pytest.raises(StaleToken), old:
        fences[0].check(1)
    assert old.execute("SELECT balance FROM accounts").fetchall() == [(2,)]
    old.close()
    new.close()


def test_each_resource_has_its_own_tokens():
    connection = sqlite3.connect(":memory:")
    SQLiteFence(connection, "a").check(5)
    SQLiteFence(connection, "b").check(1)
    with pytest.raises(StaleToken, match="'a'"):
        SQLiteFence(connection, "a").check(4)
    connection.close()


@pytest.mark.parametrize(
    "options",
    [
        {"isolation_level": None},
        pytest.param(
            {"autocommit": True}, marks=pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
        ),
    ],
)
def test_a_connection_that_commits_by_itself_is_refused(options):
    connection = sqlite3.connect(":memory:", **options)
    fence = SQLiteFence(connection, "a")
    with pytest.raises(RuntimeError, match=r"execute\('BEGIN'\) before the check"):
        fence.check(1)
    connection.execute("BEGIN")
    fence.check(1)
    connection.execute("COMMIT")
    connection.close()
