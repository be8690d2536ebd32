"""The programs in examples/, each run against a real thing on localhost."""

import ast
import asyncio
import collections
import contextlib
import importlib.util
import json
import random
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType

import aiohttp
import pytest
from aiohttp import web
from interpreters import BOUND
from tests.cluster.postgres import FAST, PostgresServer, needs_postgres
from tests.ports import free_port

import holdfast

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    """Import an example, which is a program and not part of a package."""
    spec = importlib.util.spec_from_file_location(f"examples_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def start(name: str, *arguments: object) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    program = str(EXAMPLES / f"{name}.py")
    return await asyncio.create_subprocess_exec(
        sys.executable, program, *map(str, arguments), stdin=pipe, stdout=pipe, stderr=pipe
    )


async def finish(process: asyncio.subprocess.Process, text: str = "") -> tuple[int, str, str]:
    """Give the program its input; return its exit code, output and errors."""
    try:
        async with asyncio.timeout(BOUND):
            out, err = await process.communicate(text.encode())
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        pytest.fail(f"the program did not end within {BOUND} s: {out.decode()} {err.decode()}")
    return process.returncode, out.decode(), err.decode()


async def run(name: str, *arguments: object, text: str = "") -> tuple[int, str, str]:
    return await finish(await start(name, *arguments), text)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.01)


async def iterations() -> None:
    """Have the loop read what has arrived, and act on it."""
    for _ in range(50):
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def http_server(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve every path with `handler` on a free port; the URL of the server."""
    runner = web.AppRunner(make_app(handler), shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def make_app(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    return app


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_each_example_tells_how_to_use_it(name: str) -> None:
    code, out, err = asyncio.run(run(name, "--help"))
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: {name}.py")


@pytest.mark.parametrize(
    "command_line",
    [
        ["capped_client", "http://127.0.0.1/{}", "--limit", 0],
        ["polite_crawler", "http://127.0.0.1:1/", "--rate", 0],
        ["adaptive_client", "http://127.0.0.1/{}", "--most", 0],
        ["shared_file", "prices.json", "--readers", 0],
        ["connection_pool", "127.0.0.1", 7, "--size", 0],
        ["heat_diffusion", "--workers", 0],
        ["bank_transfers", "--accounts", 1],
    ],
)
def test_what_could_never_end_is_refused(command_line: list[object]) -> None:
    code, out, err = asyncio.run(run(*command_line))
    assert (code, out) == (2, "")
    assert "error: " in err


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_help_of_an_example_fits_into_a_terminal(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text))
    assert doc
    if "RawDescriptionHelpFormatter" in text:  # argparse leaves its lines as they are
        assert max(map(len, doc.splitlines())) <= 80


# The capped client


class Api:
    """Serves items, and records how many requests it has seen, and the most at a time."""

    def __init__(self, hold_until: int) -> None:
        self.under_way = self.peak = 0
        self.requests: collections.Counter[int] = collections.Counter()
        self.hold_until = hold_until
        self.crowded = asyncio.Event()

    async def item(self, request: web.Request) -> web.Response:
        number = int(request.match_info["path"])
        self.requests[number] += 1
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        try:
            # Nobody is answered before so many are here; then there is time for one too many to come.
            if self.under_way == self.hold_until:
                self.crowded.set()
            await self.crowded.wait()
            await asyncio.sleep(0.005)
            if number % 10 == 3 and self.requests[number] == 1:
                raise web.HTTPServiceUnavailable
            if number % 50 == 7:
                raise web.HTTPNotFound
            return web.Response(body=b"x" * 100)
        finally:
            self.under_way -= 1


@pytest.mark.parametrize("limit", [1, 7, 150])
def test_the_capped_client_never_exceeds_its_cap_and_uses_all_of_it(limit: int) -> None:
    async def main() -> None:
        api = Api(hold_until=limit)
        async with http_server(api.item) as url:
            code, out, err = await run("capped_client", url + "/{}", "--items", 200, "--limit", limit)
        assert api.peak == limit
        assert api.under_way == 0
        assert api.requests == {number: 2 if number % 10 == 3 else 1 for number in range(200)}
        missing = [7, 57, 107, 157]
        assert code == 1
        assert err == ""
        first, *failures = out.splitlines()
        assert first == "fetched 196 of 200 items, 19600 bytes"
        assert [line.split(":")[0] for line in failures] == [f"item {number}" for number in missing]
        assert all("404" in line for line in failures)

    asyncio.run(main())


def test_the_capped_client_goes_on_when_requests_time_out() -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path == "/2":
            await asyncio.sleep(BOUND)
        return web.Response(text="hello")

    async def main() -> None:
        async with http_server(answer) as url:
            code, out, err = await run("capped_client", url + "/{}", "--items", 5, "--limit", 1, "--timeout", 5)
        assert (code, err) == (1, "")
        first, failure = out.splitlines()
        assert first == "fetched 4 of 5 items, 20 bytes"
        assert failure.startswith("item 2: ")

    asyncio.run(main())


def test_the_polite_crawler_keeps_its_rate_and_its_memory_and_takes_each_page_once() -> None:
    sizes = {"/": 300, "/a": 50, "/large": 1000, "/b": 400, "/c": 10}
    asked: list[tuple[str, str, float]] = []
    held = most = 0

    async def site(request: web.Request) -> web.StreamResponse:
        nonlocal held, most
        asked.append((request.method, request.path, asyncio.get_running_loop().time()))
        if request.path not in sizes:
            return web.Response(status=404)
        links = "".join(f'<a href="{path}#part">' for path in [*sizes, "/missing", "http://127.0.0.2:1/"])
        text = (links if request.path == "/" else "").ljust(sizes[request.path], ".")
        if request.method == "GET":
            held += len(text)
            most = max(most, held)
            await asyncio.sleep(0.05)
            held -= len(text)
        return web.Response(text=text, content_type="text/html")

    async def main() -> None:
        async with http_server(site) as url:
            code, out, err = await run("polite_crawler", f"{url}/", "--rate", 50, "--memory", 1000)
            assert (code, err) == (0, "")
            assert {line.split()[1].removeprefix(url): int(line.split()[0]) for line in out.splitlines()} == sizes
            code, out, err = await run("polite_crawler", f"{url}/", "--rate", 1000, "--pages", 2)
            assert (code, len(out.splitlines())) == (0, 2)

    asyncio.run(main())
    first = asked[: 2 * len(sizes) + 1]
    assert sorted(path for method, path, _ in first if method == "GET") == sorted(sizes)
    assert first[-1][2] - first[0][2] >= 0.02 * (len(first) - 1) * 0.9
    assert most <= 1000


@pytest.mark.parametrize(("status", "says"), [(404, "404 Not Found"), (501, "501 Not Implemented")])
def test_the_polite_crawler_says_that_it_cannot_begin(status: int, says: str) -> None:
    async def site(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status if request.method == "HEAD" else 200)

    async def main() -> None:
        async with http_server(site) as url:
            expected = f"{url}/: the server answers a HEAD request with {says}\n"
            assert await run("polite_crawler", f"{url}/") == (1, "", expected)

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process on Windows")
def test_an_interrupted_capped_client_ends_at_once() -> None:
    async def main() -> None:
        api = Api(hold_until=1000)  # never answers
        async with http_server(api.item) as url:
            process = await start("capped_client", url + "/{}", "--limit", 10)
            await until(lambda: api.under_way == 10)
            process.send_signal(signal.SIGINT)
            assert await finish(process) == (130, "", "interrupted\n")
            assert api.requests.total() == 10

    asyncio.run(main())


# The connection pool


class EchoServer:
    """Sends each line back, and counts its connections.

    After a line with "break" it closes the connection without a reply, after one with "last" with one. A line with
    "silence" has no reply, and the connection stays until the client closes it.
    """

    def __init__(self) -> None:
        self.connections = self.peak = self.total = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.total += 1
        self.connections += 1
        self.peak = max(self.peak, self.connections)
        try:
            while line := await reader.readline():
                if b"break" in line:
                    break
                if b"silence" in line:
                    continue
                writer.write(line)
                await writer.drain()
                if b"last" in line:
                    break
        except ConnectionError:
            pass
        finally:
            self.connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def on_free_port(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]
            await until(lambda: self.connections == 0)  # whoever leaks a connection fails here


def test_the_pool_asks_everything_over_few_connections() -> None:
    async def main() -> None:
        echo = EchoServer()
        lines = [f"line {number}" for number in range(300)]
        async with echo.on_free_port() as port:
            code, out, err = await run("connection_pool", "127.0.0.1", port, "--size", 5, text="\n".join(lines))
        assert (code, err) == (0, "")
        assert out.splitlines() == [f"{line} -> {line}" for line in lines]
        assert (echo.peak, echo.total) == (5, 5)

    asyncio.run(main())


def test_the_pool_survives_broken_connections_and_impatient_users() -> None:
    async def main() -> None:
        echo = EchoServer()
        words = ["hello", "break", "hello", "silence", "hello"]
        lines = [f"{words[number % 5]} {number}" for number in range(50)]
        async with echo.on_free_port() as port:
            code, out, err = await run(
                "connection_pool", "127.0.0.1", port, "--size", 20, "--patience", 5, text="\n".join(lines)
            )
        assert (code, err) == (0, "")
        assert echo.peak <= 20
        results = dict(line.split(" -> ") for line in out.splitlines())
        assert list(results) == lines
        for line, result in results.items():
            if line.startswith("break"):
                assert result.startswith("(failed: ")
            elif line.startswith("silence"):
                assert result == "(no reply in time)"
            else:
                assert result == line

    asyncio.run(main())


def test_the_pool_does_not_hand_out_what_the_server_has_closed() -> None:
    pool_module = load("connection_pool")

    async def main() -> None:
        echo = EchoServer()
        async with echo.on_free_port() as port, pool_module.ConnectionPool("127.0.0.1", port, 1) as pool:
            for number in range(3):
                assert await pool_module.ask(pool, f"last {number}", BOUND) == f"last {number}"
                await until(lambda: echo.connections == 0)
                await iterations()  # until the news has come
            assert await pool_module.ask(pool, "hello", BOUND) == "hello"
            assert (echo.connections, echo.peak, echo.total) == (1, 1, 4)

    asyncio.run(main())


def test_the_pool_says_so_when_nobody_listens() -> None:
    code, out, err = asyncio.run(run("connection_pool", "127.0.0.1", free_port(), text="hello\nhello"))
    assert (code, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines()] == ["hello -> (failed"] * 2


@pytest.mark.parametrize("seed", range(5))
def test_cancelled_users_and_broken_connections_leak_nothing(seed: int) -> None:
    pool_module = load("connection_pool")
    rng = random.Random(seed)
    words = ["hello"] * 10 + ["break", "last", "silence"]
    size = 4

    async def main() -> None:
        echo = EchoServer()
        async with asyncio.timeout(BOUND), echo.on_free_port() as port:
            async with pool_module.ConnectionPool("127.0.0.1", port, size) as pool:
                lines = [f"{rng.choice(words)} {number}" for number in range(200)]
                users = [asyncio.create_task(pool_module.ask(pool, line, 0.5)) for line in lines]
                victims = set(rng.sample(range(200), 100))
                for number in victims:  # at all stages: in the line, connecting, writing, reading, giving back
                    users[number].cancel()
                    for _ in range(rng.randrange(20)):
                        await asyncio.sleep(0)
                replies = await asyncio.gather(*users, return_exceptions=True)
                for number, reply in enumerate(replies):
                    if isinstance(reply, asyncio.CancelledError):
                        assert number in victims
                    elif not reply.startswith("("):
                        assert reply == lines[number]  # its own, and not that of somebody who was cancelled
                assert any(reply in lines for reply in replies)
                assert echo.peak <= size

                # All of the pool is there: so many can hold a connection at the same time, and each of them works.
                await iterations()  # until the pool knows which ones the server has closed
                together = asyncio.Barrier(size)

                async def use_together(number: int) -> None:
                    async with pool.connection() as (reader, writer):
                        await together.wait()
                        writer.write(b"still %d\n" % number)
                        assert await reader.readline() == b"still %d\n" % number

                await asyncio.gather(*map(use_together, range(size)))
            assert echo.peak == size

    asyncio.run(main())


# The graceful start-up


class Rates:
    """Where the rates come from: fails at first, and then takes its time."""

    def __init__(self) -> None:
        self.requests = 0
        self.available = asyncio.Event()

    async def serve(self, request: web.Request) -> web.Response:
        self.requests += 1
        if self.requests == 1:
            raise web.HTTPInternalServerError
        await self.available.wait()
        return web.Response(text=json.dumps({"EUR": 0.5, "CHF": 0.75}), content_type="application/json")


@contextlib.asynccontextmanager
async def converter(
    rates_url: str, *arguments: object
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Callable[[str], Awaitable[tuple[int, str]]]]]:
    """The service as a process of its own, and a function that asks it; ready for requests, not for answers."""
    port = free_port()
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                return response.status, await response.text()

        process = await start("graceful_startup", rates_url, "--port", port, *arguments)
        try:
            async with asyncio.timeout(BOUND):
                while True:
                    try:
                        await get("/health")
                        break
                    except aiohttp.ClientConnectionError:
                        assert process.returncode is None
                        await asyncio.sleep(0.02)
            yield process, get
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def test_requests_that_come_early_are_answered_once_the_service_is_ready() -> None:
    async def main() -> None:
        rates = Rates()
        async with http_server(rates.serve) as url, converter(url) as (process, get):
            assert await get("/health") == (503, "warming up\n")
            early = [asyncio.create_task(get(f"/convert?amount={n}&to=EUR")) for n in range(20)]
            await until(lambda: rates.requests == 2)
            assert await get("/health") == (503, "warming up\n")
            await asyncio.sleep(0.2)
            assert not any(request.done() for request in early)

            rates.available.set()
            assert await asyncio.gather(*early) == [(200, f"{n / 2:.2f}\n") for n in range(20)]
            assert await get("/health") == (200, "ready\n")
            assert await get("/convert?amount=8&to=CHF") == (200, "6.00\n")
            assert (await get("/convert?amount=8&to=XYZ"))[0] == 400
            assert (await get("/convert"))[0] == 400
            if sys.platform != "win32":
                process.terminate()
                code, out, err = await finish(process)
                assert (code, err) == (0, "")
                assert "no rates yet, next attempt in 0.1 s: 500" in out
                assert "ready with 2 rates" in out

    asyncio.run(main())


def test_early_requests_do_not_wait_longer_than_their_patience() -> None:
    async def main() -> None:
        rates = Rates()
        async with http_server(rates.serve) as url, converter(url, "--patience", 0.1) as (_, get):
            assert await get("/convert?amount=1&to=EUR") == (503, "still warming up\n")
            rates.available.set()
            async with asyncio.timeout(BOUND):
                while (await get("/health"))[0] != 200:
                    await asyncio.sleep(0.02)
            assert await get("/convert?amount=1&to=EUR") == (200, "0.50\n")

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM on Windows")
def test_the_service_can_be_stopped_before_it_is_ready() -> None:
    async def main() -> None:
        async with http_server(Rates().serve) as url, converter(url) as (process, _):
            process.terminate()
            code, _, err = await finish(process)
            assert (code, err) == (0, "")

    asyncio.run(main())


# The phased computation


def settle(size: int, tolerance: float) -> tuple[list[list[float]], int]:
    """The same computation in one piece, without workers."""
    now = [[100.0] * size] + [[0.0] * size for _ in range(size - 1)]
    steps = 0
    while True:
        then = [row[:] for row in now]
        for y in range(1, size - 1):
            for x in range(1, size - 1):
                then[y][x] = (now[y - 1][x] + now[y + 1][x] + now[y][x - 1] + now[y][x + 1]) / 4
        change = max(abs(a - b) for row, old in zip(then, now, strict=True) for a, b in zip(row, old, strict=True))
        now = then
        steps += 1
        if change <= tolerance:
            return now, steps


@pytest.mark.parametrize("workers", [1, 3, 8, 20])
def test_workers_compute_what_the_sequential_program_does(workers: int) -> None:
    plate = asyncio.run(load("heat_diffusion").solve(size=18, workers=workers, tolerance=0.05))
    assert (plate.now, plate.steps) == settle(size=18, tolerance=0.05)


def test_heat_diffusion_prints_the_plate() -> None:
    code, out, err = asyncio.run(run("heat_diffusion", "--size", 10, "--workers", 3, "--tolerance", 0.05))
    assert (code, err) == (0, "")
    grid, steps = settle(10, 0.05)
    first, *rows = out.splitlines()
    assert first == f"10 x 10 points settled after {steps} steps of 3 workers"
    assert rows == ["".join(" .:-=+*#%@"[min(int(degrees / 10), 9)] for degrees in row) for row in grid]


def test_a_worker_that_fails_does_not_leave_the_others_at_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    heat = load("heat_diffusion")
    compute = heat.Plate.compute

    def fail_later(plate: object, rows: range) -> float:
        if plate.steps == 5 and 1 in rows:
            raise OverflowError("too hot")
        return compute(plate, rows)

    monkeypatch.setattr(heat.Plate, "compute", fail_later)

    async def main() -> None:
        async with asyncio.timeout(BOUND):
            await heat.solve(size=18, workers=4, tolerance=0.05)

    with pytest.raises(ExceptionGroup) as failure:
        asyncio.run(main())
    assert [type(error) for error in failure.value.exceptions] == [OverflowError]


@pytest.fixture
def sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with the sales of a day, and a place for its locks."""
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    path = tmp_path / "sales.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE sales (day TEXT, shop TEXT, amount REAL)")
        sold = [("2026-11-30", "north", 2.5), ("2026-11-30", "south", 4.0), ("2026-11-30", "north", 1.5)]
        database.executemany("INSERT INTO sales VALUES (?, ?, ?)", [*sold, ("2026-11-29", "north", 100.0)])
    return path


def totals_in(path: Path) -> list[tuple[str, float]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT shop, amount FROM totals ORDER BY shop").fetchall()


def test_daily_totals(sales: Path) -> None:
    for _ in range(2):
        assert asyncio.run(run("daily_totals", sales, "2026-11-30")) == (0, "2026-11-30: 2 shops\n", "")
    assert totals_in(sales) == [("north", 4.0), ("south", 4.0)]


def test_daily_totals_of_a_file_without_sales(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    path, text = tmp_path / "new.db", tmp_path / "text.db"
    text.write_text("This is a text, and no database at all." * 20)
    expected = f"{path} has no table sales(day, shop, amount), which this job adds up\n"
    assert asyncio.run(run("daily_totals", path, "2026-11-30")) == (1, "", expected)
    assert asyncio.run(run("daily_totals", text, "2026-11-30")) == (1, "", f"{text}: file is not a database\n")


def test_daily_totals_while_another_run_is_at_it(sales: Path) -> None:
    with holdfast.connect().sync as session, session.lock(f"totals of {sales}"):
        arguments = sales, "2026-11-30", "--patience", 0
        assert asyncio.run(run("daily_totals", *arguments)) == (75, "", "another run is at it\n")


def test_daily_totals_that_hang(sales: Path, capsys: pytest.CaptureFixture[str]) -> None:
    totals = load("daily_totals")

    def hang() -> None:
        """Until another run has had its turn."""
        assert totals.run(str(sales), "2026-11-30", patience=BOUND, limit=BOUND) == 0

    assert totals.run(str(sales), "2026-11-30", patience=BOUND, limit=0.05, progress=hang) == 75
    assert "has come too late" in capsys.readouterr().err
    assert totals_in(sales) == [("north", 4.0), ("south", 4.0)]


# Several processes


def test_a_shared_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    code, out, err = asyncio.run(run("shared_file", tmp_path / "prices.json", "--reads", 20, "--editions", 5))
    assert (code, err) == (0, "")
    seen = re.fullmatch(r"60 reads saw (\d) of 5 editions, each of them whole\n", out)
    assert seen is not None
    assert int(seen[1]) >= 1
    lines = (tmp_path / "prices.json").read_text().splitlines()
    assert {json.loads(line)["edition"] for line in lines} == {5}


def test_a_reader_of_the_shared_file_that_comes_between_two_pieces_says_so(tmp_path: Path) -> None:
    prices = load("shared_file")
    (tmp_path / "prices.json").write_text('{"edition": 1}\n')
    with pytest.raises(ValueError, match="half of an edition: 1 lines"):
        prices.read(str(tmp_path / "prices.json"), 1)


@pytest.mark.skipif(sys.platform == "win32", reason="no add_signal_handler() on Windows")
def test_a_ticker_whose_leader_is_killed_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    path = tmp_path / "ticks.db"

    def ticks() -> list[tuple[int, int]]:
        with contextlib.closing(sqlite3.connect(path)) as database, contextlib.suppress(sqlite3.OperationalError):
            return database.execute("SELECT token, pid FROM ticks ORDER BY rowid").fetchall()
        return []

    async def main() -> None:
        processes = {}
        for _ in range(3):
            process = await start("ticker", path, "--every", 0.01)
            processes[process.pid] = process
            async with asyncio.timeout(BOUND):
                assert await process.stdout.readline() == b"stands\n"
        await until(lambda: len(ticks()) > 2)
        leader = ticks()[-1][1]
        processes.pop(leader).kill()
        await until(lambda: ticks()[-1][1] != leader)
        for process in processes.values():
            process.terminate()
        outcomes = [await finish(process) for process in processes.values()]
        assert [(code, err) for code, _, err in outcomes] == [(0, "")] * 2
        assert any(out.startswith("leads, with token ") for _, out, _ in outcomes)

    asyncio.run(main())
    tokens = [token for token, _ in ticks()]
    assert tokens == sorted(tokens)
    assert len({*ticks()}) == len({*tokens}) >= 2  # one process for each term


# Servers


@contextlib.asynccontextmanager
async def serving(name: str, *arguments: object) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run an example that serves, until it is told to stop."""
    port = free_port()
    process = await start(name, *arguments, "--port", port)
    try:
        async with asyncio.timeout(BOUND):
            assert await process.stdout.readline() == f"serving on port {port}\n".encode()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def text_of(client: aiohttp.ClientSession, url: str, method: str = "GET") -> tuple[int, str]:
    async with client.request(method, url) as response:
        return response.status, await response.text()


@pytest.mark.skipif(sys.platform == "win32", reason="no add_signal_handler() on Windows")
def test_a_page_is_fetched_once_for_all_and_a_caller_that_hangs_up_ends_nobody_elses() -> None:
    asked: collections.Counter[str] = collections.Counter()
    go_on = asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        asked[request.path] += 1
        if request.path == "/missing":
            raise web.HTTPNotFound
        await go_on.wait()
        return web.Response(text=f"page {request.path}")

    async def main() -> None:
        async with http_server(slow) as server, serving("page_cache", server) as (process, url):
            async with aiohttp.ClientSession() as client, aiohttp.ClientSession() as impatient:
                first = asyncio.create_task(text_of(impatient, url + "/a"))
                await until(lambda: asked["/a"] == 1)
                others = [asyncio.create_task(text_of(client, f"{url}/{path}")) for path in "aaaab"]
                await until(lambda: asked["/b"] == 1)
                first.cancel()
                await asyncio.gather(first, return_exceptions=True)
                await impatient.close()
                go_on.set()
                assert await asyncio.gather(*others) == [(200, "page /a")] * 4 + [(200, "page /b")]
                for _ in range(2):  # an error is not kept
                    status, _ = await text_of(client, url + "/missing")
                    assert status == 502
            process.terminate()
            assert await finish(process) == (0, "8 requests, 4 fetches\n", "")
        assert asked == {"/a": 1, "/b": 1, "/missing": 2}

    asyncio.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no add_signal_handler() on Windows")
def test_no_visit_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving("visit_counter", tmp_path / "counts") as (process, url), aiohttp.ClientSession() as client:
            requests = [text_of(client, f"{url}/{'ab'[number % 2]}") for number in range(40)]
            moves = [text_of(client, f"{url}/{way}", "POST") for way in ("a?into=b", "b?into=a") * 5]
            await asyncio.gather(*requests, *moves)
            assert await text_of(client, f"{url}/a?into=b", "POST") == (200, "40\n")
            assert (await text_of(client, f"{url}/a?into=a", "POST"))[0] == 400
            process.terminate()
            assert await finish(process) == (0, "", "")

    asyncio.run(main())
    assert {path.name: path.read_text() for path in (tmp_path / "counts").iterdir()} == {"a": "0", "b": "40"}


# The adaptive client


def test_the_adaptive_client_finds_what_the_server_bears() -> None:
    bears, most, under_way = 6, 0, 0

    async def limited(request: web.Request) -> web.Response:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.002)
            return web.Response(status=429 if under_way > bears else 200, text="item")
        finally:
            under_way -= 1

    async def main() -> None:
        async with http_server(limited) as url:
            code, out, err = await run("adaptive_client", url + "/{}", "--items", 120)
        assert (code, err) == (0, "")
        found = re.fullmatch(r"fetched 120 of 120 items, ([12]) to (\d+) at a time\n", out)
        assert found is not None
        assert bears < int(found[2]) <= 20  # it goes up until that is too many
        assert most <= int(found[2])

    asyncio.run(main())


def test_the_adaptive_client_gives_up_when_it_is_refused() -> None:
    asked = 0

    async def refuse(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=200 if asked <= 10 else 401)

    async def main() -> None:
        async with http_server(refuse) as url:
            code, out, err = await run("adaptive_client", url + "/{}", "--items", 100)
        assert (code, err) == (1, "the server refuses this client\n")
        assert out.startswith("fetched 10 of 100 items, 2 to ")

    asyncio.run(main())
    assert asked < 30  # those under way, and not all


# The bank


def test_a_bank_with_and_without_deadlocks() -> None:
    code, out, err = asyncio.run(run("bank_transfers"))
    *messages, result = out.splitlines()
    assert code == 0
    assert result == f"50 transfers, {len(messages)} deadlocks broken, 500 in all accounts"
    assert messages
    assert all(message.startswith("deadlock: task 'transfer ") for message in messages)
    assert all("(bank_transfers.py:" in message for message in messages)
    assert err == "", "each deadlock is told once"
    code, out, err = asyncio.run(run("bank_transfers", "--ordered"))
    assert (code, out, err) == (0, "50 transfers, 0 deadlocks broken, 500 in all accounts\n", "")


async def test_measured_workers_serve_who_waits_and_for_how_long(tmp_path, monkeypatch):
    pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")
    monkeypatch.setenv("HOLDFAST_URL", f"sqlite://{tmp_path}/locks")
    port = free_port()
    process = await start("measured_workers", "--workers", 4, "--pages", 25, "--port", port)
    scraped = ""

    async def is_contended() -> bool:
        nonlocal scraped
        with contextlib.suppress(aiohttp.ClientConnectionError):
            async with client.get(f"http://127.0.0.1:{port}/metrics") as response:
                scraped = await response.text()
        printer, seats = 'kind="lock",name="printer"', 'kind="semaphore of tasks",name="seats"'
        waiting = {f"holdfast_waiters{{{printer}}} 2.0", f"holdfast_waiters{{{seats}}} 1.0"}
        return waiting <= {*scraped.splitlines()}

    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(BOUND):
            while not await is_contended() and process.returncode is None:
                await asyncio.sleep(0.01)
        assert 'holdfast_holders{kind="lock",name="printer"} 1.0\n' in scraped
    finally:
        code, out, err = await finish(process)
    assert (code, err) == (0, "")
    pages, waits, average = map(int, re.fullmatch(r"(\d+) pages, (\d+) waits of (\d+) ms on average\n", out).groups())
    assert pages == 100
    assert 90 <= waits <= 100
    assert average >= 10


@needs_postgres
async def test_orders_are_posted_once_and_in_order_though_a_worker_is_killed():
    """The entry that it may have posted twice has the key of the first one."""
    import asyncpg

    posted: list[int] = []
    keys: set[str] = set()

    async def take(request: web.Request) -> web.Response:
        if (key := request.headers["Idempotency-Key"]) not in keys:
            keys.add(key)
            posted.append((await request.json())["order"])
        return web.Response()

    with PostgresServer(FAST) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, amount numeric NOT NULL, posted boolean DEFAULT false);"
            "INSERT INTO orders SELECT number, number * 1.5 FROM generate_series(1, 150) AS number"
        )
        async with http_server(take) as service:
            workers = [await start("post_orders", server.url, service, "--ttl", 2) for _ in range(3)]
            await until(lambda: len(posted) > 30 or any(worker.returncode is not None for worker in workers))
            workers[0].kill()
            results = [await finish(worker) for worker in workers]
        assert posted == [*range(1, 151)]
        assert await connection.fetchval("SELECT count(*) FROM orders WHERE posted") == 150
        await connection.close()
    assert [code for code, _, _ in results] == [-signal.SIGKILL, 0, 0]
    assert all(re.fullmatch(r"posted \d+ orders\n", out) for _, out, _ in results[1:])


async def test_the_watchdog_opens_a_deadlock(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/locks"
    held = asyncio.Event()

    async def transfer(session: object, source: str, target: str) -> None:
        async with session.lock(source):
            await held.wait()
            async with session.lock(target):
                pass

    async with holdfast.connect(url) as one, holdfast.connect(url) as two:
        pair = [asyncio.create_task(transfer(one, "a", "b")), asyncio.create_task(transfer(two, "b", "a"))]
        while not (await one.lock("a").locked() and await one.lock("b").locked()):
            await asyncio.sleep(0.01)
        held.set()
        watchdog = await start("deadlock_watchdog", "--url", url, "--every", 0.05, "--evict")
        # A timeout of one that awaits them would open the circle, so nobody does.
        await until(lambda: all(task.done() for task in pair))
        outcomes = await asyncio.gather(*pair, return_exceptions=True)
        watchdog.terminate()
        printed, errors = await watchdog.communicate()
    lost = [each for each in outcomes if each is not None]
    assert len(lost) == 1
    assert isinstance(lost[0], holdfast.LeaseLost | holdfast.SessionLost)
    assert "it was in a deadlock: task '" in str(lost[0]), lost
    assert printed.startswith(b"deadlock: task '"), errors
    assert b"ended the session of " in printed
