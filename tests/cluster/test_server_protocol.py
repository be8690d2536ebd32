"""What goes over the wire to a server, and how it is read: as little as will do."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
import redis.asyncio
from interpreters import BOUND, RARELY
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

import holdfast
from holdfast.cluster.engines.redis.answers import Answers
from holdfast.cluster.engines.redis.changes import _spliced
from holdfast.cluster.engines.redis.connection import Connection, Line

from .proxy import Proxy
from .servers import shared
from .test_faults import run
from .test_joining import never
from .test_server_faults import TTL, connect, eventually, opened
from .worker import until_waiting

__all__ = ["run"]  # the fixture

ANSWERS = [
    (b":1\r\n", 1),
    (b":-2\r\n", -2),
    (b"+OK\r\n", b"OK"),
    (b"$5\r\na\r\nb!\r\n", b"a\r\nb!"),
    (b"$0\r\n\r\n", b""),
    (b"$-1\r\n", None),
    (b"*-1\r\n", None),
    (b"*0\r\n", []),
    (b"*3\r\n:1\r\n*1\r\n$1\r\nx\r\n$-1\r\n", [1, [b"x"], None]),
    (b"_\r\n", None),
    (b"#t\r\n", True),
    (b"=5\r\ntxt:a\r\n", b"a"),
    (b",1.5\r\n", b"1.5"),
    (b"%1\r\n+a\r\n:1\r\n", [b"a", 1]),
    (b"~1\r\n:1\r\n", [1]),
    (b">2\r\n+invalidate\r\n_\r\n:7\r\n", 7),
]
"""As they come, and what they say. What comes unasked is passed over."""


def reader():
    given = []
    connection = redis.asyncio.connection.Connection()
    return given, Answers(given.append, connection._parser.parse_error)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_answers_are_read_however_they_are_cut(size):
    sent = b"".join(sent for sent, _ in ANSWERS)
    given, answers = reader()
    for start in range(0, len(sent), size):
        answers.feed(sent[start : start + size])
    assert given == [said for _, said in ANSWERS]


@pytest.mark.parametrize(
    ("sent", "kind"),
    [
        (b"-NOSCRIPT No matching script.\r\n", NoScriptError),
        (b"-ERR x\r\n", ResponseError),
        (b"!5\r\nERR x\r\n", ResponseError),
    ],
)
def test_an_error_is_one_of_redis_pys(sent, kind):
    given, answers = reader()
    answers.feed(sent)
    assert [type(each) for each in given] == [kind]


def test_what_is_no_answer_is_refused():
    _, answers = reader()
    with pytest.raises(ValueError, match="is no answer"):
        answers.feed(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(
    ("old", "new", "head", "tail", "middle"),
    [
        ("", "", 0, 0, ""),
        ("", "abc", 0, 0, "abc"),
        ("abc", "", 0, 0, ""),
        ("abc", "abc", 3, 0, ""),
        ("aaa", "aa", 2, 0, ""),
        ("aa", "aaa", 2, 0, "a"),
        ("one two three", "one 2 three", 4, 6, "2"),
        ("\xe4bc", "\xe4bd", 0, 0, "\xe4bd"),
    ],
)
def test_what_a_text_has_in_common_with_the_one_before_is_not_sent(old, new, head, tail, middle):
    assert _spliced(old, new) == (head, tail, middle)
    assert old[:head] + middle + old[len(old) - tail :] == new


def test_what_comes_unasked_is_given_apart():
    given, unasked = [], []
    answers = Answers(given.append, ResponseError, unasked.append)
    answers.feed(b":1\r\n>3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n:2\r\n")
    assert (given, unasked) == ([1, 2], [[b"message", b"c", b"x"]])


def test_nothing_is_read_after_a_signal_handler_has_raised_in_the_middle_of_an_answer():
    def interrupted(said):
        raise KeyboardInterrupt

    given = []
    answers = Answers(given.append, interrupted)
    with pytest.raises(KeyboardInterrupt):
        answers.feed(b"-ERR x\r\n:1\r\n")
    with pytest.raises(ValueError, match="signal handler"):  # then the connection is made anew
        answers.feed(b"")
    assert given == []


class Written(asyncio.Transport):
    """A transport to which is written."""

    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)


async def opened_connection(client):
    connection = Connection(client.connection_pool, BOUND)
    await connection.open(BOUND)
    return connection


@pytest.mark.parametrize(("requests", "writes"), [(1, [1]), (2, [1, 1]), (5, [1, 1, 3])])
async def test_requests_of_one_step_gather_but_the_first_two_and_one_alone_is_not_waited_behind(requests, writes):
    async with redis.asyncio.Redis(port=shared().port, protocol=2) as client:
        connection = await opened_connection(client)
        transport, connection._transport = connection._transport, Written()
        for _ in range(requests):
            connection.send(lambda answer: None, "PING")
        assert connection._gathers is (requests > 1)
        await asyncio.sleep(0)
        assert [written.count(b"PING") for written in connection._transport.written] == writes
        connection._transport = transport
        await connection.close()


async def test_a_signal_handler_that_raises_in_one_answer_keeps_no_other_from_coming():
    def interrupted(answer):
        raise KeyboardInterrupt

    async with redis.asyncio.Redis(port=shared().port, protocol=2) as client:
        connection = await opened_connection(client)
        transport, connection._transport = connection._transport, Written()
        connection.send(interrupted, "PING")
        other = connection.request("PING")
        with pytest.raises(KeyboardInterrupt):
            connection.data_received(b"+PONG\r\n+PONG\r\n")
        async with asyncio.timeout(BOUND):
            assert await other == b"PONG"
        connection._transport = transport
        await connection.close()


async def test_a_request_hears_at_once_that_its_connection_is_closed():
    async with redis.asyncio.Redis(port=shared().port, protocol=2) as client:
        connection = await opened_connection(client)
        answer = connection.request("BLPOP", "nothing comes here", 0)
        await connection.close()
        assert isinstance(answer.exception(), RedisConnectionError)


async def test_a_change_is_done_in_the_step_that_reads_its_answer():
    """And so is the change that comes next, until something else is waited for."""
    async with connect(shared().url, namespace="in one step", ttl=RARELY) as session:
        engine, done, steps = session.engine, [], []
        requests = engine._link.requests

        async def change():
            for text in "ab":
                await engine.apply("x", lambda stored, text=text: (text, None))
                done.append(text)

        def data_received(data):
            type(requests).data_received(requests, data)
            steps.append("".join(done))

        requests.data_received = data_received
        async with asyncio.timeout(BOUND):
            await asyncio.create_task(change())
        assert steps[-2:] == ["a", "ab"]
        assert await engine.remove("x", "b", 0)


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_wake_up_is_heard_in_the_step_that_reads_it(protocol):
    async with (
        redis.asyncio.Redis(port=shared().port, protocol=protocol) as client,
        connect(client, namespace=f"heard {protocol}", ttl=RARELY) as session,
        connect(shared().url, namespace=f"heard {protocol}", ttl=RARELY) as other,
    ):
        channel, wakes, steps = session.engine._link.wake_ups, [], []
        session.engine._wake_ups._on_wake = lambda *said: wakes.append(said)

        def data_received(data):
            type(channel).data_received(channel, data)
            steps.append(wakes[:])

        channel.data_received = data_received
        other.engine.wake(session.id, "x", "look")
        await eventually(lambda: steps)
        assert steps == [[("x", "look")]]
        session.engine._wake_ups._on_wake = lambda *said: None


class Heard:
    """What the sessions ask for, and what they are told."""

    def __init__(self, *sessions):
        self.asked = []
        for session in sessions:
            connection = session.engine._link.requests
            connection.send = self._hearing(connection.send)

    def _hearing(self, send):
        def hear(then, *arguments):
            self.asked.append(arguments)
            send(then, *arguments)

        return hear


async def crew(stack, namespace, count):
    sessions = [
        await stack.enter_async_context(connect(shared().url, namespace=namespace, ttl=RARELY)) for _ in range(count)
    ]
    for session in sessions:
        async with session.lock("x"):
            pass
    return sessions


async def test_who_joins_what_it_knows_to_be_held_sends_the_addition_only():
    async with AsyncExitStack() as stack:
        one, two, other = await crew(stack, "addition only", 3)
        async with one.lock("x"):
            waiter = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(other, "x")
            waiter.cancel()  # it knows that the other one holds it
            await until_waiting(other, "x", 0)
            heard = Heard(two)
            again = asyncio.create_task(two.lock("x").acquire())
            await until_waiting(other, "x")
            [[command, _, keys, key, _, addition, *more]] = heard.asked
            assert (command, keys, key, more) == ("EVALSHA", 1, "holdfast:{addition only}:record:x", [])
            assert addition.startswith("!lock/")
        async with asyncio.timeout(BOUND):
            await again


async def test_a_hand_over_sends_what_has_changed_and_tells_who_is_woken_all_but_the_first_row():
    async with AsyncExitStack() as stack:
        one, two, other = await crew(stack, "hand over", 3)
        client = await stack.enter_async_context(redis.asyncio.Redis.from_url(shared().url))
        listener = await stack.enter_async_context(client.pubsub(ignore_subscribe_messages=True))
        await listener.subscribe(f"holdfast:{{hand over}}:wake:{two.id}")
        first, second = one.lock("x"), two.lock("x")
        await first.acquire()
        waiter = asyncio.create_task(second.acquire())
        await until_waiting(other, "x")
        await eventually(lambda: two.id in one.engine._known.versions["x"].text)
        heard = Heard(one)
        await first.release()
        async with asyncio.timeout(BOUND):
            await waiter
            while (packet := await listener.get_message(timeout=BOUND)) is None:
                pass
        [[*_, middle, woken, message]] = heard.asked
        text = await other.engine.read("x")
        assert (woken, message) == (two.id, "=")
        assert len(middle) < len(text) / 2
        assert two.id not in middle
        row, _, rest = text.partition("\n")
        assert packet["data"].endswith(rest.replace(two.id, "\1").encode())
        assert row.encode() not in packet["data"]
        await second.release()


async def test_who_is_woken_and_does_not_know_the_first_row_reads_the_text():
    async with AsyncExitStack() as stack:
        one, two, other = await crew(stack, "first row", 3)
        first, second = one.lock("x"), two.lock("x")
        await first.acquire()
        waiter = asyncio.create_task(second.acquire())
        await until_waiting(other, "x")
        two.engine._known.versions.clear()
        await first.release()
        async with asyncio.timeout(BOUND):  # it does not look by itself for as long
            await waiter
        await second.release()


async def test_who_has_joined_unseen_soon_sees_whom_to_watch():
    """The holder dies, and who waits looks by itself only once in a long time."""
    async with AsyncExitStack() as stack:
        [waits] = await crew(stack, "unseen", 1)
        dying = await opened(shared().url, namespace="unseen", ttl=TTL)
        await dying.lock("x").acquire()
        heard = Heard(waits)
        waiter = asyncio.create_task(waits.lock("x").acquire())
        await eventually(lambda: heard.asked)
        dying.engine.renew = never
        async with asyncio.timeout(BOUND):
            await waiter
        await dying.close()


async def test_who_holds_something_there_is_told_to_what_it_has_added():
    """It has to see whether the record still knows what it holds."""
    async with AsyncExitStack() as stack:
        [session] = await crew(stack, "at stake", 1)
        async with session.lock("x"):
            heard = Heard(session)
            waiter = asyncio.create_task(session.lock("x").acquire())
            await eventually(lambda: heard.asked)
            [[*_, addition]] = heard.asked
            assert addition.startswith("+lock/")
        await waiter


async def test_a_pool_closes_a_connection_that_was_given_back_as_it_was():
    """As when the closing of a session was cancelled. redis-py waits until it hears that the connection is closed."""
    client = redis.asyncio.Redis(port=shared().port, protocol=2)
    connection = Connection(client.connection_pool, BOUND)
    await connection.open(BOUND)
    assert await connection.request("PING") == b"PONG"
    await client.connection_pool.release(connection._connection)
    await client.aclose()  # it raises TimeoutError after 5 seconds


async def test_a_transport_that_keeps_its_protocol_is_read_from(monkeypatch):
    """As rloop's does."""

    def refuse(transport, protocol):
        if isinstance(protocol, Line):
            raise NotImplementedError
        set_protocol(transport, protocol)

    transports, broken = asyncio.selector_events._SelectorTransport, []
    set_protocol = transports.set_protocol
    async with Proxy(shared().port) as proxy:
        monkeypatch.setattr(transports, "set_protocol", refuse)
        async with holdfast.connect(proxy.url, ttl=TTL, namespace=f"kept {proxy.port}") as session:
            async with session.lock("x") as grant:
                proxy.cut()
                assert await session.names() == ["x"]  # over another connection
                grant.check()
        client = redis.asyncio.Redis(port=proxy.port, protocol=2)
        connection = Connection(client.connection_pool, BOUND, lambda: broken.append(1))
        await connection.open(BOUND)
        assert await asyncio.gather(*(connection.request("ECHO", n) for n in range(5))) == [b"%d" % n for n in range(5)]
        proxy.cut()
        await eventually(lambda: broken)
        await connection.close()
        await client.aclose()
