"""A cache before a slow web server: a page is fetched once, however many ask.

    python examples/page_cache.py http://127.0.0.1:8000 --port 8080

A SingleFlight fetches a page for all who miss it, also if the first of them
hangs up meanwhile. When the last one has, the fetch is cancelled. A Once opens
the connection to the server at the first miss. At SIGTERM or Ctrl-C it says how
much it has saved. It needs aiohttp.
"""

import argparse
import asyncio
import signal
import sys
from contextlib import AsyncExitStack

import aiohttp
from aiohttp import web

from holdfast import Event, Once, SingleFlight


class Cache:
    """The pages of one server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._client = Once[aiohttp.ClientSession]()
        self._flights = SingleFlight()
        self._pages: dict[str, bytes] = {}
        self._closing = AsyncExitStack()
        self.asked = self.fetched = 0

    async def answer(self, request: web.Request) -> web.Response:
        """Serve a page."""
        self.asked += 1
        path = request.rel_url.path_qs
        page = self._pages.get(path)
        if page is None:
            try:
                page = await self._flights.run(path, self._fetch, path)
            except aiohttp.ClientError as error:
                return web.Response(status=502, text=f"{error}\n")  # it is not kept: the next one asks again
        return web.Response(body=page)

    async def _fetch(self, path: str) -> bytes:
        client = await self._client.get(self._open)
        self.fetched += 1
        async with client.get(self._server + path) as response:
            response.raise_for_status()
            page = self._pages[path] = await response.read()
        return page

    async def _open(self) -> aiohttp.ClientSession:
        return await self._closing.enter_async_context(aiohttp.ClientSession())

    async def close(self) -> None:
        """Close the connections, if there are any."""
        await self._closing.aclose()


async def main(server: str, port: int) -> None:
    """Serve until the process is told to stop."""
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    cache = Cache(server)
    app = web.Application()
    app.router.add_get("/{path:.*}", cache.answer)
    # With handler_cancellation, a client that hangs up cancels its handler, and with it its call of run().
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print(f"serving on port {port}", flush=True)
    await stopping.wait()
    await runner.cleanup()
    await cache.close()
    print(f"{cache.asked} requests, {cache.fetched} fetches")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="the URL of the server, without a path")
    parser.add_argument("--port", type=int, default=8080, help="where to serve (8080)")
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.server.rstrip("/"), arguments.port)))
