"""install() puts holdfast in asyncio's place, for libraries too; uninstall() takes it out again."""

import asyncio
import asyncio.locks
import contextlib
import gc
import random
import subprocess
import sys
import threading
from collections import Counter

import aiohttp
import pytest
from aiohttp import web
from interpreters import BOUND, PYPY

import holdfast

NAMES = ["Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"]
OURS = {name: getattr(holdfast, name) for name in NAMES}
THEIRS = {name: getattr(asyncio, name) for name in NAMES}
PLACES = [asyncio, asyncio.locks]


def found_in(place: object) -> dict[str, type]:
    return {name: getattr(place, name) for name in NAMES}


@pytest.fixture(autouse=True)
def _uninstalled():
    assert [found_in(place) for place in PLACES] == [THEIRS, THEIRS]
    yield
    holdfast.uninstall()


@contextlib.contextmanager
def installed():
    holdfast.install()
    try:
        yield
    finally:
        holdfast.uninstall()


def test_install_reaches_asyncio_and_asyncio_locks():
    holdfast.install()
    assert [found_in(place) for place in PLACES] == [OURS, OURS]
    holdfast.uninstall()
    assert [found_in(place) for place in PLACES] == [THEIRS, THEIRS]


def test_both_may_be_called_again():
    holdfast.uninstall()
    assert [found_in(place) for place in PLACES] == [THEIRS, THEIRS]
    for _ in range(2):
        holdfast.install()
        assert [found_in(place) for place in PLACES] == [OURS, OURS]
    for _ in range(2):
        holdfast.uninstall()
        assert [found_in(place) for place in PLACES] == [THEIRS, THEIRS]


def make_all(place: object) -> dict[str, object]:
    return {name: getattr(place, name)(*([2] if name == "Barrier" else [])) for name in NAMES}


def test_what_is_made_after_install_is_ours_and_an_instance_of_the_original_too():
    with installed():
        made = make_all(asyncio)
        for name, primitive in made.items():
            assert type(primitive) is OURS[name]
            assert isinstance(primitive, THEIRS[name])  # a name imported before install()
            assert isinstance(primitive, getattr(asyncio, name))
    for name, primitive in made.items():
        assert isinstance(primitive, getattr(asyncio, name))


def test_ours_are_subclasses_whether_installed_or_not():
    for name, primitive in make_all(holdfast).items():
        assert isinstance(primitive, getattr(asyncio, name))
    assert issubclass(holdfast.BoundedSemaphore, asyncio.BoundedSemaphore)
    assert issubclass(holdfast.BoundedSemaphore, holdfast.Semaphore)


def test_out_of_reach_are_names_and_objects_from_before():
    from asyncio import Lock  # a library that did this before install()

    before = asyncio.Lock()
    with installed():
        assert type(Lock()) is THEIRS["Lock"]
        assert type(before) is THEIRS["Lock"]
        assert not isinstance(before, asyncio.Lock)
        assert isinstance(before, Lock)
        holdfast.Condition(before)  # still welcome
        asyncio.Condition(Lock())


def test_objects_made_meanwhile_outlive_uninstall():
    with installed():
        lock = asyncio.Lock()
        condition = asyncio.Condition(lock)

    async def main():
        async with condition:
            assert lock.locked()
            waiting = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting
        lock.release()
        assert not lock.locked()

    asyncio.run(main())


def test_subclasses_of_the_original_are_left_alone():
    class TheirOwn(THEIRS["Lock"]):
        pass

    with installed():
        assert not isinstance(TheirOwn(), holdfast.Lock)


@pytest.mark.parametrize("queue", ["Queue", "LifoQueue", "PriorityQueue"])
def test_queues_use_what_is_installed(queue):
    """asyncio's queues wait in join() for an Event; asyncio's tests of them are in test_asyncio_suite.py."""

    async def main():
        jobs = getattr(asyncio, queue)(maxsize=2)
        made = [event for event in gc.get_referents(*gc.get_referents(jobs), jobs) if isinstance(event, holdfast.Event)]
        done = []

        async def work():
            while True:
                done.append(await jobs.get())
                jobs.task_done()

        worker = asyncio.create_task(work())
        for job in range(5):
            await jobs.put(job)
        await asyncio.wait_for(jobs.join(), 10)
        worker.cancel()
        assert sorted(done) == [0, 1, 2, 3, 4]
        return len(made)

    assert asyncio.run(main()) == 0
    with installed():
        assert asyncio.run(main()) == 1


# A library that knows nothing of holdfast


@contextlib.contextmanager
def counting(monkeypatch: pytest.MonkeyPatch):
    """Count the primitives that are made: (in which module, of which class). Not what is a part of another."""
    made: Counter[tuple[str, type]] = Counter()
    with monkeypatch.context() as patch:
        for cls in (*OURS.values(), *THEIRS.values()):

            def init(self, *args, original=cls.__init__, cls=cls, **kwargs):
                module = sys._getframe(1).f_globals["__name__"]
                if type(self) is cls and module.partition(".")[0] != "holdfast" and module != "asyncio.locks":
                    made[module, cls] += 1
                original(self, *args, **kwargs)

            patch.setattr(cls, "__init__", init)
        yield made


def seen_within_install(talk, monkeypatch: pytest.MonkeyPatch, made_by: str) -> dict[str, object]:
    """What `talk()` sees with install() active; fail unless it sees the same without, and `made_by` made primitives."""
    with counting(monkeypatch) as made_without:
        without = asyncio.run(talk())
    with installed(), counting(monkeypatch) as made_within:
        within = asyncio.run(talk())
    assert {cls for _, cls in made_without} <= set(THEIRS.values())
    assert made_within == {(module, OURS[cls.__name__]): n for (module, cls), n in made_without.items()}
    assert any(module.partition(".")[0] == made_by for module, _ in made_within)
    assert within == without
    return within


class Service:
    """A small HTTP service, which knows who is in, and who left how."""

    def __init__(self) -> None:
        self.inside = 0
        self.arrived = asyncio.Semaphore(0)
        self.let_go = asyncio.Event()
        self.in_pairs = asyncio.Barrier(2)
        self.log: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.inside += 1
        self.arrived.release()
        try:
            if name.startswith("pair"):
                await self.in_pairs.wait()
            elif name.startswith("slow"):
                await self.let_go.wait()
        except asyncio.CancelledError:
            self.log.append(f"{name} disconnected")
            raise
        finally:
            self.inside -= 1
        return web.Response(text=f"hello {name}")

    async def echo_lengths(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(str(len(message.data)))
        return socket


@contextlib.asynccontextmanager
async def served(service: Service):
    """Serve it; give the URL, and the call that shuts down gracefully."""
    app = web.Application()
    app.router.add_get("/echo", service.echo_lengths)
    app.router.add_get("/{name}", service.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=10)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}", runner.cleanup
    finally:
        await runner.cleanup()


async def talk_over_http() -> dict[str, object]:
    """Talk to a service through a pool of two connections; return what a user of aiohttp sees."""
    seen: dict[str, object] = {}
    service = Service()

    async def get(name: str, **options) -> str:
        async with session.get(f"/{name}", **options) as response:
            return f"{response.status} {await response.text()}"

    def start_all(*names: str) -> list[asyncio.Task]:
        return [asyncio.create_task(get(name)) for name in names]

    async def end_of(*tasks: asyncio.Task) -> list[str]:
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        return [end if isinstance(end, str) else type(end).__name__ for end in ends]

    async with (
        served(service) as (url, shut_down),
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=2)) as session,
    ):
        seen["concurrent"] = await end_of(*start_all(*(f"pair{i}" for i in range(10))))
        for _ in range(10):
            await service.arrived.acquire()

        # Two hold the connections, three wait for one; one of each is cancelled.
        held = start_all("slow0", "slow1")
        for _ in held:
            await service.arrived.acquire()
        queued = start_all("queued0", "queued1", "queued2")
        await asyncio.sleep(0.05)
        seen["queued"] = [task.done() for task in queued]
        held[0].cancel()
        queued[0].cancel()
        seen["cancelled"] = await end_of(held[0], queued[0])
        seen["the others go on"] = await end_of(*queued[1:])

        # One connection is held still. The service is too slow for one request, another gets no connection.
        seen["timeouts"] = await end_of(
            asyncio.create_task(get("slow to answer", timeout=aiohttp.ClientTimeout(total=3))),
            asyncio.create_task(get("no connection", timeout=aiohttp.ClientTimeout(connect=1))),
        )
        seen["after timeouts"] = await get("again")

        # Shutting down waits for the request that is inside.
        closing = asyncio.create_task(shut_down())
        await asyncio.sleep(0.05)
        seen["shut down early"] = closing.done()
        service.let_go.set()
        seen["held"] = await end_of(held[1])
        await closing
        seen["too late"] = await end_of(*start_all("too late"))
    seen["log"] = service.log
    seen["inside"] = service.inside
    return seen


def test_aiohttp_client_and_server(monkeypatch):
    assert seen_within_install(talk_over_http, monkeypatch, __name__) == {
        "concurrent": [f"200 hello pair{i}" for i in range(10)],
        "queued": [False, False, False],
        "cancelled": ["CancelledError", "CancelledError"],
        "the others go on": ["200 hello queued1", "200 hello queued2"],
        "timeouts": ["TimeoutError", "ConnectionTimeoutError"],
        "after timeouts": "200 hello again",
        "shut down early": False,
        "held": ["200 hello slow1"],
        "too late": ["ClientConnectorError"],
        "log": ["slow0 disconnected", "slow to answer disconnected"],
        "inside": 0,
    }


async def talk_over_a_websocket() -> dict[str, object]:
    """Several tasks send compressed messages on one socket, for which aiohttp has a lock; one is cancelled in it."""
    seen: dict[str, object] = {}
    big = random.Random(1).randbytes(4 << 20)  # compressed in a thread, with the lock held
    async with (
        served(Service()) as (url, _),
        aiohttp.ClientSession(url) as session,
        session.ws_connect("/echo", compress=15) as socket,
    ):
        tasks = []
        for size in (len(big), 1, 2, 3, len(big) - 1, 4):
            tasks.append(asyncio.create_task(socket.send_bytes(big[:size])))
            for _ in range(5):
                await asyncio.sleep(0)
        seen["waiting"] = [task.done() for task in tasks]
        tasks[2].cancel()
        seen["sent"] = await asyncio.gather(*tasks, return_exceptions=True)
        seen["sent"] = [type(end).__name__ for end in seen["sent"]]
        seen["echoed"] = [len(big) - int(await socket.receive_str(timeout=BOUND)) for _ in range(len(tasks) - 1)]
        await socket.close()
        seen["closed"] = socket.close_code
    return seen


def test_aiohttp_websockets(monkeypatch):
    big = 4 << 20
    assert seen_within_install(talk_over_a_websocket, monkeypatch, "aiohttp") == {
        "waiting": [False] * 6,
        "sent": ["NoneType", "NoneType", "CancelledError", "NoneType", "NoneType", "NoneType"],
        "echoed": [0, big - 1, big - 3, 1, big - 4],
        "closed": 1000,
    }


@pytest.mark.skipif(PYPY, reason="holders are found as CPython has them")
async def test_debug_raises_in_place_of_a_deadlock() -> None:
    theirs = asyncio.Lock()
    holdfast.install(debug=True)
    holdfast.install(debug=True)
    try:
        ours = asyncio.Lock()
        for lock in (theirs, ours):
            async with lock:
                with pytest.raises(holdfast.debug.DeadlockError):
                    async with lock:
                        pass
    finally:
        holdfast.uninstall()
    assert "holdfast.debug.watch" not in {thread.name for thread in threading.enumerate()}


def test_the_other_tiers_may_be_imported_after_it() -> None:
    program = (
        "import holdfast; holdfast.install()\n"
        "import holdfast.threads, holdfast.cluster, holdfast.testing, holdfast.debug\n"
        "semaphore = holdfast.threads.BoundedSemaphore(2)\n"
        "assert semaphore.sync.acquire(n=2) and not semaphore.try_acquire()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=BOUND)
