"""A crawler that is polite: so many requests a second, so many bytes of pages.

    python examples/polite_crawler.py http://127.0.0.1:8080/ --rate 10

It begins at the address, follows the links of that site, and prints each page
with its size. A RateLimiter spaces the requests evenly. A BoundedSemaphore has
a permit for each byte: a large page takes many at once, and small ones that
come after it do not keep it waiting. It needs aiohttp.
"""

import argparse
import asyncio
import re
import sys
from urllib.parse import urldefrag, urljoin, urlsplit

import aiohttp

from holdfast import BoundedSemaphore, RateLimiter

LINK = re.compile(r"""href=["']([^"']+)["']""")


class Crawler:
    """One crawl of one site."""

    def __init__(self, session: aiohttp.ClientSession, start: str, pages: int, rate: float, memory: int) -> None:
        self._session = session
        self._site = urlsplit(start).netloc
        self._pages = pages
        self._requests = RateLimiter(rate, burst=1)
        self._memory = BoundedSemaphore(memory)
        self._largest = memory
        self._known: set[str] = set()
        self.sizes: dict[str, int] = {}
        """The size of each page in bytes."""
        self.refused: dict[str, str] = {}
        """What the server has answered where a page was not there."""

    async def crawl(self, url: str) -> None:
        """Fetch a page, and then all pages of the site that it links to."""
        if url in self._known or len(self._known) == self._pages:
            return
        self._known.add(url)
        size = await self._size_of(url)
        if size is None:
            return
        async with self._memory.permits(min(max(size, 1), self._largest)):
            async with self._requests, self._session.get(url) as response:
                text = await response.text()
            self.sizes[url] = len(text.encode())
            links = {urldefrag(urljoin(url, link)).url for link in LINK.findall(text)}
        await asyncio.gather(*(self.crawl(link) for link in sorted(links) if urlsplit(link).netloc == self._site))

    async def _size_of(self, url: str) -> int | None:
        """The number of bytes of a page; None if there is no such page."""
        async with self._requests, self._session.head(url) as response:
            if response.ok:
                return response.content_length or 0
            self.refused[url] = f"{response.status} {response.reason}"
            return None


async def main(start: str, pages: int, rate: float, memory: int) -> int:
    """Crawl, print, and return the exit code."""
    async with aiohttp.ClientSession() as session:
        crawler = Crawler(session, start, pages, rate, memory)
        try:
            await crawler.crawl(start)
        except aiohttp.ClientError as error:
            print(f"{start}: {error}", file=sys.stderr)
            return 1
    if start in crawler.refused:
        print(f"{start}: the server answers a HEAD request with {crawler.refused[start]}", file=sys.stderr)
        return 1
    for url, size in sorted(crawler.sizes.items()):
        print(f"{size:>9} {url}")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start", help="where to begin")
    parser.add_argument("--pages", type=int, default=100, help="how many pages at most")
    parser.add_argument("--rate", type=float, default=10, help="requests a second")
    parser.add_argument("--memory", type=int, default=1_000_000, help="bytes of pages that are held at the same time")
    arguments = parser.parse_args()
    if min(arguments.pages, arguments.rate, arguments.memory) <= 0:
        parser.error("--pages, --rate and --memory must be more than 0")
    sys.exit(asyncio.run(main(arguments.start, arguments.pages, arguments.rate, arguments.memory)))
