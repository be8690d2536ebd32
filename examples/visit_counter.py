"""A web server that counts the visits of each page, in a file per page.

    python examples/visit_counter.py counts/ --port 8080

GET /NAME counts one visit, and answers with the number. POST /NAME?into=OTHER
adds the visits of a page that has moved to those of another one. A KeyedLock
has a lock for each page: visits of one page take turns, and those of different
pages do not wait for each other. However many pages there are, a lock is there
only while it is used. It needs aiohttp.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from aiohttp import web

from holdfast import Event, KeyedLock


class Counter:
    """The counts of a directory, of which no other process may change any."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pages = KeyedLock[str]()

    async def visit(self, request: web.Request) -> web.Response:
        """Count a visit."""
        page = request.match_info["page"]
        async with self._pages[page]:
            visits = await asyncio.to_thread(self._add, page, 1)
        return web.Response(text=f"{visits}\n")

    async def move(self, request: web.Request) -> web.Response:
        """Add the visits of a page to those of another one."""
        page, other = request.match_info["page"], request.query["into"]
        if page == other or not other.isidentifier():
            return web.Response(status=400, text="into= must name another page\n")
        async with self._pages.all(page, other):  # while one request moves a to b, another may move b to a
            visits = await asyncio.to_thread(self._add, page, 0)
            await asyncio.to_thread(self._add, page, -visits)
            total = await asyncio.to_thread(self._add, other, visits)
        return web.Response(text=f"{total}\n")

    def _add(self, page: str, visits: int) -> int:
        """Change a file, in a thread, as disks are slow; return what it says then."""
        path = self._directory / page
        count = (int(path.read_text()) if path.exists() else 0) + visits
        new = path.with_suffix(".new")
        new.write_text(str(count))
        new.replace(path)
        return count


async def main(directory: Path, port: int) -> None:
    """Serve until the process is told to stop."""
    directory.mkdir(exist_ok=True)
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    counter = Counter(directory)
    app = web.Application()
    app.router.add_get(r"/{page:\w+}", counter.visit)
    app.router.add_post(r"/{page:\w+}", counter.move)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"serving on port {port}", flush=True)
    await stopping.wait()
    await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="where the counts are")
    parser.add_argument("--port", type=int, default=8080, help="where to serve (8080)")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.directory, arguments.port)))
