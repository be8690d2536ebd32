"""`holdfast web` over HTTP: who may ask, what the answers are, and that nobody looks where nobody asks."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from urllib.parse import quote

import pytest
from interpreters import BOUND

import holdfast
import holdfast.cli.web.watched
from holdfast.cli.web.access import Hosts, is_token
from holdfast.cli.web.wait_times import BOUNDS, WaitTimes
from holdfast.cli.web.watched import Watched
from holdfast.cluster.errors import EngineError, SessionLost

from .running import run, started
from .serving import Page, page

pytest.importorskip("aiohttp", reason="the page needs the extra `web`")
from holdfast.cli.web.server import application
from holdfast.cli.web.server import served as served_there

HOSTILE = [
    "<script>document.title='caught'</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></tr></table><h1>big",
    "a/b?c=d&e#f%00+ ",
    "\x1b[31mred\n\u202etxt.exe",
    "Überraschung 🔒",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """One page for the tests that leave its engine alone."""
    with page("--url", f"sqlite://{tmp_path_factory.mktemp('web')}/locks") as found:
        yield found


PATHS = ["/", "/page.js", "/page.css", "/icon.svg", "/api/overview", "/api/name?name=x", "/api/graph", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_told_without_the_token(served, path):
    port = served.port
    for headers in (
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": f"Basic {served.token}"},
        {"Cookie": f"holdfast-web-{port}=x"},
        {"Cookie": f"holdfast-web-{port}="},
        {"Cookie": f"other={served.token}"},
    ):
        response = served.ask(path, token=False, **headers)
        assert response.status == 401
        assert b"token" in response.body
        assert response.getheader("Set-Cookie") is None
    mark = "&" if "?" in path else "?"
    for wrong in ("", served.token[:-1], served.token + "x", "%00", "%ff", served.token.swapcase()):
        assert served.ask(f"{path}{mark}token={wrong}", token=False).status == 401


def test_the_url_with_the_token_gives_a_cookie_and_leads_to_one_without(served):
    response = served.ask(f"/?token={served.token}", token=False)
    assert response.status == 303
    assert response.getheader("Location") == "./"
    cookie, *attributes = response.getheader("Set-Cookie").split("; ")
    assert cookie == f"holdfast-web-{served.port}={served.token}"
    assert {*attributes} == {"HttpOnly", "SameSite=Strict", "Path=/"}
    for path in ("/", "/api/overview", "/page.js"):
        assert served.ask(path, token=False, Cookie=cookie).status == 200


def test_two_pages_have_tokens_of_their_own(served):
    with page() as other:
        assert other.token != served.token
        assert len(other.token) >= 40
        assert other.ask("/", token=False, Authorization=f"Bearer {served.token}").status == 401


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", [True, False])
def test_what_a_browser_is_told_stands_on_every_answer(served, path, token):
    response = served.ask(path, token)
    policy = dict(each.strip().split(" ", 1) for each in response.getheader("Content-Security-Policy").split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert response.getheader("Referrer-Policy") == "no-referrer"
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("X-Content-Type-Options") == "nosniff"
    assert response.getheader("X-Frame-Options") == "DENY"
    assert response.getheader("Access-Control-Allow-Origin") is None
    assert response.getheader("Server") == "holdfast"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_it_is_read_only(served, method):
    for path in ("/", "/api/overview", f"/?token={served.token}"):
        response = served.ask(path, method=method)
        assert response.status == 405
        assert response.getheader("Allow") == "GET, HEAD"


@pytest.mark.parametrize("path", PATHS)
def test_head_is_get_without_the_body(served, path):
    got, head = served.ask(path), served.ask(path, method="HEAD")
    assert head.status == got.status == (404 if path in ("/nothing", "/api/name?name=x") else 200)
    assert head.body == b""
    assert head.getheader("Content-Type") == got.getheader("Content-Type")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:{port}", "localhost.evil.example", "192.0.2.7:{port}", "", None]
)
def test_a_host_that_is_not_this_machine_is_refused(served, host):
    for path in ("/", f"/?token={served.token}", "/api/overview"):
        response = served.ask(path, Host=host and host.format(port=served.port))
        assert response.status in (400, 403)
        assert response.getheader("Set-Cookie") is None


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST", "[::1]:9000", "127.0.0.1"])
def test_the_names_of_this_machine_are_accepted(served, host):
    assert served.ask("/", Host=host.format(port=served.port)).status == 200


def test_where_it_listens_for_others_any_address_is_accepted_and_its_own_names():
    hosts = Hosts(["Locks.example.org", "web1"], only_loopback=False)
    for right in ("192.0.2.7:80", "[2001:db8::1]:4653", "locks.example.org", "WEB1:4653", "localhost", "web1."):
        assert hosts.admit([right]), right
    for wrong in (
        "evil.example",
        "web1.evil.example",
        "web1:x",
        "a@web1",
        "web1 ",
        "[web1]",
        "[::1",
        "",
        "web1:4653:1",
    ):
        assert not hosts.admit([wrong]), wrong
    assert not hosts.admit([])
    assert not hosts.admit(["web1", "web1"])


def test_a_token_is_compared_whatever_its_letters_are():
    assert is_token("abc", "abc")
    assert not any(is_token(wrong, "abc") for wrong in (None, "", "ab", "abcd", "äbc", "\udc80", "\0"))


def test_the_page_takes_nothing_from_elsewhere(served):
    html = served.ask("/").body.decode()
    assert "://" not in html
    assert "<style" not in html
    assert "style=" not in html
    assert " on" + "click" not in html
    assert html.count("<script") == html.count('<script src="page.js" defer></script>') == 1
    for file, kind in (("page.js", "text/javascript"), ("page.css", "text/css"), ("icon.svg", "image/svg+xml")):
        response = served.ask(f"/{file}")
        assert response.getheader("Content-Type") == f"{kind}; charset=utf-8"
        text = response.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "innerHTML" not in text
        assert "eval(" not in text


def test_the_overview_is_what_top_prints(directory):
    async def main():
        async with holdfast.connect(name="one") as one, holdfast.connect(name="two") as two:
            await one.semaphore("api", 3).acquire()
            await one.lock("deploy").acquire()
            waiting = asyncio.create_task(two.lock("deploy").acquire())
            await until_so_many_wait(one, 1)
            await asyncio.to_thread(look)
            waiting.cancel()

    def look():
        first = found.told("/api/overview")
        second = found.told(f"/api/overview?after={first['look']}")
        top = json.loads(run("top", "--json", "--all", "--sort", "name").stdout)
        detail = found.told("/api/name?name=deploy")
        shown = json.loads(run("show", "deploy", "--json").stdout)
        assert second["look"] > first["look"]
        assert second["at"] > first["at"]
        assert second["deadlocks"] == second["unreadable"] == []
        assert [row["name"] for row in second["names"]] == ["api", "deploy"]
        assert [row["grants_per_second"] for row in second["names"]] == [None, 0]
        for one, other in zip(second["names"], top, strict=True):
            changing = dict.fromkeys(["held", "longest_wait", "grants_per_second"])
            assert one | changing == other | changing
        for key in ("kind", "made_by", "state", "holders", "waiters", "dead", "evictions"):
            assert detail[key] == shown[key]
        assert sum(each["under_way"] for each in detail["wait_times"]) == 1

    with page() as found:
        asyncio.run(main())


def test_hostile_names_arrive_as_they_are(directory):
    async def main():
        async with holdfast.connect(name="<b>&'\"") as session:
            for name in HOSTILE:
                await session.lock(name).acquire()
            await asyncio.to_thread(look)

    def look():
        response = found.ask("/api/overview")
        assert response.getheader("Content-Type") == "application/json"
        rows = {row["name"]: row for row in json.loads(response.body)["names"]}
        assert rows.keys() == {*HOSTILE}
        assert rows[HOSTILE[0]]["holders"] == ["<b>&'\""]
        for name in HOSTILE:
            assert found.told(f"/api/name?name={quote(name, safe='')}")["name"] == name

    with page() as found:
        asyncio.run(main())


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 30, ""])
def test_a_wrong_number_is_refused(served, after):
    assert served.ask(f"/api/overview?after={after}").status == 400


def test_a_taken_port_is_said():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("web", "--port", str(port))
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == (
        f"holdfast: port {port} of 127.0.0.1 is taken; choose another one with --port, or a free one with --port 0\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", ""], 2, "--host"),
        (["--host", "no such host"], 2, "is no address and no known name"),
        (["--host", "192.0.2.7"], 125, "cannot listen at port"),
        (["--port", "70000"], 2, "70000"),
        (["--url", "memory:"], 2, "memory: is seen by one process alone"),
    ],
)
def test_bad_input(arguments, code, message):
    done = run("web", "--port", "0", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr


def test_without_the_extra_it_says_so(tmp_path):
    (tmp_path / "aiohttp.py").write_text("raise ImportError")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import holdfast.cli; sys.exit(holdfast.cli.main())"
    done = subprocess.run([sys.executable, "-c", program, "web"], capture_output=True, text=True, timeout=BOUND)
    assert done.returncode == 2
    assert "install holdfast with its extra 'web'" in done.stderr


def test_what_is_no_http_is_refused_and_said_nowhere(served):
    for nonsense in (b"\x16\x03\x01\x02\x00\x01\x00\x01", b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /\r\n\r\n"):
        with socket.create_connection((served.host, served.port), timeout=BOUND) as connection:
            connection.sendall(nonsense + b"\r\n\r\n")
            assert connection.recv(1000).split()[1] in (b"400", b"403")


def test_where_others_can_reach_it_a_line_warns():
    with started("web", "--port", "0", "--host", "0.0.0.0") as process:
        assert "others can reach the page at 0.0.0.0, and the connection is not encrypted" in process.stderr.readline()
        assert process.stdout.readline().startswith(f"http://{socket.gethostname()}:")


def test_ctrl_c_ends_it_also_while_a_browser_waits():
    with started("web", "--port", "0", "--every", "1000") as process:
        found = Page(process.stdout.readline().strip())
        found.told("/api/overview")
        place = found.host, found.port
        with socket.create_connection(place), socket.create_connection(place) as waiting:
            lines = "GET /api/overview?after=1 HTTP/1.1", "Host: localhost", f"Authorization: Bearer {found.token}"
            waiting.sendall("".join(f"{line}\r\n" for line in (*lines, "")).encode())
            found.told("/api/overview")  # by then it has come
            process.send_signal(signal.SIGINT)
            assert process.wait(BOUND) == 128 + signal.SIGINT
        assert process.stderr.read() == ""


class Counting:
    """A session whose looks are counted."""

    def __init__(self, session):
        self.session = session
        self.looks = 0

    async def inspect_all(self, on_error):
        self.looks += 1
        return await self.session.inspect_all(on_error=on_error)


def test_nobody_looks_where_nobody_asks_and_all_pages_share_a_look():
    async def main():
        async with holdfast.connect("memory:") as session:
            counting = Counting(session)
            watched = Watched(counting, 0.05, "here")
            await asyncio.sleep(0.2)
            assert counting.looks == 0
            first = [json.loads(each) for each in await asyncio.gather(*(watched.overview(0) for _ in range(5)))]
            assert [each["look"] for each in first] == [1] * 5
            assert counting.looks == 1
            began = asyncio.get_running_loop().time()
            second = [json.loads(each) for each in await asyncio.gather(*(watched.overview(1) for _ in range(5)))]
            assert [each["look"] for each in second] == [2] * 5
            assert counting.looks == 2
            assert asyncio.get_running_loop().time() - began > 0.04
            given_up = asyncio.create_task(watched.overview(2))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.sleep(0.2)
            assert counting.looks == 2

    asyncio.run(main())


def test_what_was_counted_is_forgotten_where_nobody_was_there(monkeypatch):
    async def main():
        async with holdfast.connect("memory:") as session:
            await session.lock("deploy").acquire()
            watched = Watched(session, 0.3, "here")
            looks = [json.loads(await watched.overview(after)) for after in range(3)]
            begun = json.loads(await watched.detail("deploy"))["watched_since"]
            assert [look["names"][0]["grants_per_second"] for look in looks] == [None, 0, 0]
            monkeypatch.setattr(holdfast.cli.web.watched, "UNWATCHED", 0.1)
            await asyncio.sleep(0.3 + 0.1 + 0.2)
            assert json.loads(await watched.overview(0))["names"][0]["grants_per_second"] is None
            assert json.loads(await watched.detail("deploy"))["watched_since"] > begun

    asyncio.run(main())


class Failing:
    """A session that fails as it is told to."""

    def __init__(self):
        self.error = None

    async def inspect_all(self, on_error):
        if self.error is not None:
            raise self.error
        return []


def test_an_engine_that_fails_is_told_and_asked_again_and_a_lost_session_ends_it():
    async def main():
        session, over = Failing(), asyncio.get_running_loop().create_future()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            found = Page(f"http://127.0.0.1:{listening.getsockname()[1]}/?token=secret")
            made = application(Watched(session, 0, "here"), "secret", Hosts([], True), "cookie", over)
            async with served_there(made, listening):
                session.error = EngineError("the server cannot be reached")
                response = await asyncio.to_thread(found.ask, "/api/overview")
                assert (response.status, response.body) == (503, b"the server cannot be reached\n")
                session.error = None
                assert (await asyncio.to_thread(found.told, "/api/overview"))["names"] == []
                assert not over.done()
                session.error = SessionLost("it was evicted")
                for _ in range(2):
                    assert (await asyncio.to_thread(found.ask, "/api/overview?after=1")).status == 503
                with pytest.raises(SessionLost, match="it was evicted"):
                    await over

    asyncio.run(main())


async def until_so_many_wait(session, tasks):
    """What inspect_all() finds then."""
    async with asyncio.timeout(BOUND):
        while True:
            found = await session.inspect_all()
            if sum(waiting.tasks for one in found for waiting in one.waiters) == tasks:
                return found
            await asyncio.sleep(0.001)


def test_wait_times_under_way_and_seen_to_end():
    async def main():
        async with holdfast.connect("memory:", name="one") as session:
            lock = session.lock("deploy")
            await lock.acquire()
            waiting = [asyncio.create_task(lock.acquire()) for _ in range(3)]
            found = await until_so_many_wait(session, 3)
            (since,) = {each.since.timestamp() for each in found[0].waiters}
            times = WaitTimes()
            times.see(found, since + 4)
            assert counts(times.histogram(found[0], since + 4)) == {5.0: (3, 0)}
            assert counts(times.histogram(found[0], since + 40000)) == {None: (3, 0)}
            waiting[0].cancel()
            found = await until_so_many_wait(session, 2)
            times.see(found, since + 50)
            assert counts(times.histogram(found[0], since + 50)) == {60.0: (2, 1)}
            await lock.release()
            await waiting[1]
            await lock.release()
            await waiting[2]
            found = await session.inspect_all()
            times.see(found, since + 90)
            times.see(found, since + 500)
            assert counts(times.histogram(found[0], since + 500)) == {60.0: (0, 1), 120.0: (0, 2)}
            times.see([], since + 501)
            times.see(found, since + 502)
            assert counts(times.histogram(found[0], since + 502)) == {}

    def counts(classes):
        assert [each.up_to for each in classes] == [*BOUNDS, None]
        return {each.up_to: (each.under_way, each.ended) for each in classes if each.under_way or each.ended}

    asyncio.run(main())
