"""How a session reaches a server of etcd: by a URL, with rights, by TLS; and what it is told where it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
import subprocess
from base64 import b64decode, b64encode
from textwrap import dedent

import pytest
from interpreters import BOUND

import holdfast
from holdfast.cluster import EngineError, EtcdFence
from holdfast.cluster.engines.etcd.server import server_for_url

from .etcd_servers import BINARIES, NO_ETCD, EtcdServer, shared_etcd
from .history import stale
from .proxy import ETCD, Proxy
from .test_faults import PAUSED_BEFORE_ITS_WRITE, run
from .test_server_rights import use_everything
from .worker import Worker, WorkerError

__all__ = ["run"]  # the fixture

needs_etcd = pytest.mark.skipif(BINARIES is None, reason=NO_ETCD)


# URLs


def test_a_url_names_members_and_who_logs_in():
    server = server_for_url("etcd://me%40home:a%3Ab@one,two:1234,[::1]:5/")
    assert server.members == (("one", 2379), ("two", 1234), ("::1", 5))
    assert (server.user, server.password, server.tls) == ("me@home", "a:b", None)
    assert str(server) == "etcd at one:2379,two:1234,[::1]:5"
    assert isinstance(server_for_url("etcds://one").tls, ssl.SSLContext)


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("etcd://", "no host"),
        ("etcd://one,", "no host"),
        ("etcd://one:x", "a wrong host, or a wrong port"),
        ("etcd://one:70000", "a wrong host, or a wrong port"),
        ("etcd://[::1,two", "a wrong host, or a wrong port"),
        ("etcd:one", "no '//' before the host"),
        ("etcd://one/3", "something after the hosts"),
        ("etcd://one/#x", "something after the hosts"),
        ("etcd://secret@one", "no password, or no name"),
        ("etcd://:secret@one", "no password, or no name"),
        ("etcd://one?timeout=3", "an option after '\\?' that is not one of cacert, cert, key"),
        ("etcds://one?cert=a&cert=b", "an option after"),
        ("etcd://one?cacert=x", "files for TLS, which only etcds://"),
        ("etcds://one?cert=x", "only one of 'cert' and 'key'"),
    ],
)
def test_a_wrong_url_is_refused_and_no_password_shown(url, wrong):
    with pytest.raises(ValueError, match=f"the URL has {wrong}.*write etcd://HOST:PORT,HOST:PORT/") as caught:
        holdfast.connect(url)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="a file that the URL names after '\\?' cannot be used for TLS"):
        holdfast.connect(f"etcds://one?cacert={tmp_path}/none.pem")


# Rights


@pytest.fixture(scope="module")
def secured():
    """A server on which the user "app" may use one namespace."""
    with EtcdServer(options=("--auth-token-ttl", "1")) as server:
        member = server.members[0]

        def coded(text):
            return b64encode(text.encode()).decode()

        for user, role in (("root", "root"), ("app", "holdfast")):
            member.ask("auth/role/add", name=role)
            member.ask("auth/user/add", name=user, password="PASSWORD")
            member.ask("auth/user/grant", user=user, role=role)
        permitted = {"key": coded("holdfast/default/"), "range_end": coded("holdfast/default0")}
        member.ask("auth/role/grant", name="holdfast", perm={"permType": "READWRITE", **permitted})
        member.ask("auth/enable")
        yield server


@needs_etcd
async def test_a_user_may_do_all_in_a_namespace_with_the_right_that_the_message_names(secured):
    await use_everything(secured.url.replace("//", "//app:PASSWORD@"))


@needs_etcd
async def test_a_token_that_is_too_old_is_renewed(secured):
    async with holdfast.connect(secured.url.replace("//", "//app:PASSWORD@"), ttl=20) as session:
        tokens = {session.engine._link._token}
        for _ in range(2):
            await asyncio.sleep(2.5)  # nobody uses it for longer than the server keeps it
            async with session.lock("x"):
                tokens.add(session.engine._link._token)
        assert len(tokens) > 1


@needs_etcd
async def test_a_lack_of_rights_is_said(secured):
    how = "etcdctl role grant-permission ROLE readwrite --prefix=true 'holdfast/other/'"
    with pytest.raises(EngineError, match=f"does not permit this user all that is needed: .*permission denied.*{how}"):
        async with holdfast.connect(secured.url.replace("//", "//app:PASSWORD@"), namespace="other"):
            pass


@needs_etcd
async def test_a_wrong_password_is_said(secured):
    for url in (secured.url, secured.url.replace("//", "//app:secret@")):
        with pytest.raises(EngineError, match="does not let this user in; the URL needs the right name") as caught:
            async with holdfast.connect(url):
                pass
        assert "secret" not in str(caught.value)


# TLS


@needs_etcd
async def test_tls(tmp_path):
    certificate = tmp_path / "certificate.pem"
    command = [
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(certificate)),
    ]
    if shutil.which("openssl") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs openssl, to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    async with Proxy(shared_etcd().members[0].port, tls=context, protocol=ETCD) as proxy:
        url = f"etcds://127.0.0.1:{proxy.port}/?cacert={certificate}"
        async with (
            holdfast.connect(url, ttl=5, namespace="tls") as one,
            holdfast.connect(shared_etcd().url, ttl=5, namespace="tls") as two,
        ):
            async with one.lock("x"):
                assert not await two.lock("x").try_acquire()
        with pytest.raises(EngineError, match=r"cannot be reached: .*[Cc]ertificate"):
            async with holdfast.connect(f"etcds://127.0.0.1:{proxy.port}", ttl=2):
                pass


# Something else in its place


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
            "is not etcd 3.4 or later, or its gateway is switched",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", "cannot be reached: what was answered is not etcd's"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhello", "cannot be reached"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "cannot do it now: HTTP status 502"),
        (b"+PONG\r\n", "cannot be reached"),
        (b"", "cannot be reached"),
    ],
)
async def test_who_answers_is_not_etcd(answer, said):
    async def serve(reader, writer):
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asyncio.timeout(BOUND):
            with pytest.raises(EngineError, match=said):
                async with holdfast.connect(f"etcd://127.0.0.1:{port}", ttl=2):
                    pass


async def test_a_server_that_is_too_old_is_refused():
    async def serve(reader, writer):
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().split(b"content-length: ")[1].split()[0])
                await reader.readexactly(length)
                body = json.dumps({"version": "3.3.27"} if b"status" in head else {"responses": []}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(EngineError, match=r"is etcd 3\.3\.27; holdfast needs etcd 3\.4 or later"):
            async with holdfast.connect(f"etcd://127.0.0.1:{port}", ttl=2):
                pass


# Fences


@needs_etcd
def test_older_tokens_are_refused_and_the_same_is_not():
    fence, ask = EtcdFence("fenced/accounts"), shared_etcd().members[0].ask

    def admits(token):
        body = {"requestPut": {"key": b64encode(b"written").decode(), "value": b64encode(b"%d" % token).decode()}}
        return ask("kv/txn", **fence.guarded(token, {"success": [body]})).get("succeeded", False)

    tried = [3, 3, 2, 1795564756874984, 1795564756874983, 99, 1795564756874984, 1795564756874985]
    assert [token for token in tried if admits(token)] == [3, 3, tried[3], tried[3], tried[-1]]
    end = {"key": b64encode(b"fenced/").decode(), "range_end": b64encode(b"fenced0").decode()}
    assert ask("kv/range", **end)["count"] == "1", "lower ones are forgotten"


def test_a_transaction_keeps_what_it_has():
    mine = {"compare": [{"a": 1}], "success": [{"b": 2}], "failure": [{"c": 3}]}
    guarded = EtcdFence("x").guarded(7, mine)
    assert (guarded["compare"][0], guarded["success"][0], guarded["failure"]) == ({"a": 1}, {"b": 2}, [{"c": 3}])
    assert mine == {"compare": [{"a": 1}], "success": [{"b": 2}], "failure": [{"c": 3}]}


@pytest.mark.parametrize("token", ["3", None, 0, -1, True, 1.0])
def test_a_token_is_a_number(token):
    with pytest.raises(TypeError, match="a token is a positive int"):
        EtcdFence("fence").guarded(token, {})


WRITE = """
    import json
    import urllib.request
    from base64 import b64encode
    from holdfast.cluster import EtcdFence, StaleToken

    def write(token):
        key = b64encode(b"writes {fenced}/%d" % token).decode()
        transaction = {{"success": [{{"requestPut": {{"key": key, "value": ""}}}}]}}
        if {fenced}:
            transaction = EtcdFence("fence {fenced}").guarded(token, transaction)
        with urllib.request.urlopen("{url}/v3/kv/txn", json.dumps(transaction).encode()) as answer:
            if not json.load(answer).get("succeeded"):
                raise StaleToken("refused")
"""


@needs_etcd
@pytest.mark.parametrize("fenced", [True, False])
async def test_a_holder_that_was_paused_for_longer_than_its_ttl(fenced):
    """Its late write is refused by a fenced resource. One without a fence accepts it, and the check must see that."""
    member, options = shared_etcd().members[0], {"ttl": 3, "namespace": f"fenced {fenced}"}
    write = dedent(WRITE.format(url=member.url, fenced=fenced))
    url = shared_etcd().url
    async with Worker(url, **options) as paused, Worker(url, **options) as other:
        first = paused.begin(write + dedent(PAUSED_BEFORE_ITS_WRITE))
        _, token = await paused.event()
        await paused.until_stopped()
        await other.do(write + "async with session.lock('x') as grant:\n    write(grant.token)")
        paused.go_on()
        with pytest.raises(WorkerError) as caught:
            await first
    prefix = f"writes {fenced}/".encode()
    asked = {"key": b64encode(prefix).decode(), "range_end": b64encode(prefix[:-1] + b"0").decode()}
    found = member.ask("kv/range", **asked, sort_target="CREATE")["kvs"]
    accepted = [int(b64decode(each["key"]).rpartition(b"/")[2]) for each in found]
    if fenced:
        assert "StaleToken" in str(caught.value) or "LeaseLost" in str(caught.value)
        assert token not in accepted
        assert not stale(accepted)
    else:
        assert stale(accepted) == [token], "the check does not see a stale write"
