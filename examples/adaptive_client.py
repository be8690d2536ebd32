"""An API client that finds out how many requests at a time the server bears.

    python examples/adaptive_client.py 'http://127.0.0.1:8080/{}' --most 20

It begins with two requests at a time. Each success makes room for a little
more, and each 429 or 503 halves it: `resize()` of a BoundedSemaphore, while
tasks hold permits and wait. If the server refuses the client (401 or 403), it
closes the semaphore, so that every task that waits ends with that reason. It
needs aiohttp.
"""

import argparse
import asyncio
import sys

import aiohttp

from holdfast import BoundedSemaphore, Closed

BUSY, REFUSED = {429, 503}, {401, 403}
START = 2
PAUSE = 0.02
"""Seconds until an item is tried again."""


class Client:
    """Fetches items, as many at a time as the server bears."""

    def __init__(self, http: aiohttp.ClientSession, most: int) -> None:
        self._http = http
        self._most = most
        self._limit = min(START, most)
        self._permits = BoundedSemaphore(self._limit)
        self._successes = 0
        self.limits = {self._limit}
        """All limits that there were."""

    async def fetch(self, url: str) -> bytes | None:
        """Return the body; None if the server refuses this client. Raises aiohttp.ClientError."""
        try:
            while True:
                async with self._permits, self._http.get(url) as response:
                    if response.status in REFUSED:
                        self._permits.close(f"the server answers {response.status}")
                    elif response.status in BUSY:
                        self._change_limit(max(1, self._limit // 2))
                    else:
                        response.raise_for_status()
                        body = await response.read()
                        self._succeed()
                        return body
                await asyncio.sleep(PAUSE)
        except Closed:
            return None

    def _succeed(self) -> None:
        self._successes += 1
        if self._successes >= self._limit:  # a round of all that may run went well
            self._change_limit(min(self._limit + 1, self._most))

    def _change_limit(self, limit: int) -> None:
        self._limit, self._successes = limit, 0
        self.limits.add(limit)
        if not self._permits.is_closed():
            self._permits.resize(limit)

    def refused(self) -> bool:
        """Whether the server has refused this client."""
        return self._permits.is_closed()


async def main(template: str, items: int, most: int) -> int:
    """Fetch, print, and return the exit code."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        client = Client(http, most)
        bodies = await asyncio.gather(*(client.fetch(template.format(item)) for item in range(items)))
    fetched = [body for body in bodies if body is not None]
    print(f"fetched {len(fetched)} of {items} items, {min(client.limits)} to {max(client.limits)} at a time")
    if client.refused():
        print("the server refuses this client", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the URL of an item; {} stands for its number")
    parser.add_argument("--items", type=int, default=100, metavar="N", help="how many items (100)")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="requests under way at a time, at most (20)")
    arguments = parser.parse_args()
    if arguments.most < 1:
        parser.error("with --most below 1, nothing would ever be fetched")
    sys.exit(asyncio.run(main(arguments.url, arguments.items, arguments.most)))
