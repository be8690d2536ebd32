"""An API client with a limit on the number of requests under way, which a Semaphore keeps.

    python examples/capped_client.py 'http://127.0.0.1:8080/items/{}' --items 200 --limit 10

It fetches items 0, 1, ..., each in a task of its own, tries again where that may help, and prints a summary. It needs
aiohttp.
"""

import argparse
import asyncio
import sys

import aiohttp

from holdfast import Semaphore

ATTEMPTS = 3


async def fetch(session: aiohttp.ClientSession, url: str, permits: Semaphore) -> bytes:
    """Return the body at `url`. Raise aiohttp.ClientError or TimeoutError if all attempts fail."""
    attempt = 1
    while True:
        try:
            # The task holds its permit until it has read the body, so a slow download counts as a request under way.
            async with permits, session.get(url) as response:
                response.raise_for_status()
                return await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            if attempt == ATTEMPTS or not may_pass(error):
                raise
        # The permit was released at the end of the block, so another task uses it during this pause.
        await asyncio.sleep(0.05 * 2**attempt)
        attempt += 1


def may_pass(error: Exception) -> bool:
    """Return whether another attempt may succeed. If the server says that the request itself is wrong, it cannot."""
    return not isinstance(error, aiohttp.ClientResponseError) or error.status == 429 or error.status >= 500


async def fetch_all(template: str, items: int, limit: int, timeout: float) -> dict[int, bytes | Exception]:
    """Fetch items 0 to items - 1, at most `limit` at a time; return the body or the error of each."""
    permits = Semaphore(limit)
    results: dict[int, bytes | Exception] = {}

    async def fetch_one(item: int) -> None:
        try:
            results[item] = await fetch(session, template.format(item), permits)
        except (aiohttp.ClientError, TimeoutError) as error:
            results[item] = error  # one failure does not stop the other items

    # aiohttp opens at most 100 connections by default; limit=0 leaves the limit to the semaphore. The time limit starts
    # with the request, and not with the wait for a permit.
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(timeout))
    # On Ctrl-C the task group cancels its tasks and waits for them. Then the session closes its connections.
    async with session, asyncio.TaskGroup() as group:
        for item in range(items):
            group.create_task(fetch_one(item))
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Fetch many items from an API, with a limit on the requests at a time."
    )
    parser.add_argument("url", help="the URL of an item; {} stands for its number")
    parser.add_argument("--items", type=int, default=100, metavar="N", help="how many items (100)")
    parser.add_argument("--limit", type=int, default=10, metavar="N", help="requests under way at a time (10)")
    parser.add_argument("--timeout", type=float, default=10, metavar="SECONDS", help="for each request (10)")
    args = parser.parse_args()
    if args.limit < 1:
        parser.error("with a --limit below 1, nothing would ever be fetched")
    try:
        results = asyncio.run(fetch_all(args.url, args.items, args.limit, args.timeout))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    failures = {item: result for item, result in sorted(results.items()) if isinstance(result, Exception)}
    size = sum(len(result) for result in results.values() if isinstance(result, bytes))
    print(f"fetched {len(results) - len(failures)} of {args.items} items, {size} bytes")
    for item, error in failures.items():
        print(f"item {item}: {type(error).__name__}: {error}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
