"""A web service that accepts requests while it warms up, and answers them when it is ready.

    python examples/graceful_startup.py http://127.0.0.1:9000/rates.json --port 8080

It converts an amount of money: GET /convert?amount=12.50&to=EUR. For that it needs the rates, a JSON object such as
{"EUR": 0.92}, which it loads when it starts. Until then /health answers 503, so that a load balancer sends no requests.
A request that comes nevertheless waits on an Event. The program needs aiohttp.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web

from holdfast import Event


class Converter:
    """The service: the rates, and the event that they have been loaded."""

    def __init__(self, rates_url: str, patience: float) -> None:
        self.rates_url = rates_url
        self.patience = patience
        self.rates: dict[str, float] = {}
        self.ready = Event()

    async def warm_up(self) -> None:
        """Load the rates, with as many attempts as it takes, and let all waiting requests go on."""
        pause = 0.1
        async with aiohttp.ClientSession() as session:
            while not self.rates:
                try:
                    async with session.get(self.rates_url) as response:
                        response.raise_for_status()
                        self.rates = dict(await response.json())
                except Exception as error:  # any error: without rates there is no service
                    print(f"no rates yet, next attempt in {pause:g} s: {error}", flush=True)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, 10)
        self.ready.set()
        print(f"ready with {len(self.rates)} rates", flush=True)

    async def run(self, app: web.Application) -> AsyncIterator[None]:
        """Warm up in a task beside the server, which starts to listen at the same time."""
        warming = asyncio.create_task(self.warm_up())
        yield
        warming.cancel()  # the server stops, perhaps before it was ready
        await asyncio.wait([warming])

    async def health(self, request: web.Request) -> web.Response:
        """Answer at once whether the service is ready."""
        if self.ready.is_set():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="warming up\n")

    async def convert(self, request: web.Request) -> web.Response:
        try:
            async with asyncio.timeout(self.patience):
                await self.ready.wait()
        except TimeoutError:
            raise web.HTTPServiceUnavailable(text="still warming up\n", headers={"Retry-After": "5"}) from None
        try:
            amount, rate = float(request.query["amount"]), self.rates[request.query["to"]]
        except (KeyError, ValueError) as error:
            raise web.HTTPBadRequest(text=f"no amount, or a currency without a rate: {error}\n") from None
        return web.Response(text=f"{amount * rate:.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Convert amounts of money, with rates loaded at the start.")
    parser.add_argument("rates", help="URL of the rates")
    parser.add_argument("--port", type=int, default=8080, help="where to listen; 0 for any free one (8080)")
    parser.add_argument("--patience", type=float, default=30, metavar="SECONDS", help="how long requests wait (30)")
    args = parser.parse_args()
    converter = Converter(args.rates, args.patience)
    app = web.Application()
    app.add_routes([web.get("/health", converter.health), web.get("/convert", converter.convert)])
    app.cleanup_ctx.append(converter.run)
    # This returns on Ctrl-C and SIGTERM, when the requests under way have been answered or the time is up.
    web.run_app(app, host="127.0.0.1", port=args.port, shutdown_timeout=5)


if __name__ == "__main__":
    main()
