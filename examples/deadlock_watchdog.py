"""A watchdog for all processes that share names: it prints each deadlock among them, and with --evict it opens it.

    python examples/deadlock_watchdog.py --url redis://localhost --every 5
    python examples/deadlock_watchdog.py --evict --looks 1

To open a deadlock, it ends the session of the one that has begun to wait last. What that session holds goes to the
next in line at once, and its own tasks get LeaseLost, which says why. They have to be ready to begin anew.
"""

import argparse
import asyncio
from datetime import UTC, datetime

import holdfast
from holdfast.cluster import Deadlock, Session

LONG_AGO = datetime.min.replace(tzinfo=UTC)


async def open_it(session: Session, deadlock: Deadlock) -> None:
    """End the session of the one that has begun to wait last."""
    last = max(deadlock.steps, key=lambda step: step.since or LONG_AGO)
    if await session.evict(last.session.id, reason=f"it was in a {deadlock}"[:200]):
        print(f"ended the session of {last.session.name}", flush=True)


async def main(url: str | None, namespace: str, every: float, looks: int | None, evict: bool) -> None:
    """Look again and again. looks: how many times; None: until it is stopped."""
    told: set[str] = set()
    async with holdfast.connect(url, namespace=namespace, name="watchdog") as session:
        while looks is None or looks > 0:
            found = await session.find_deadlocks()
            for deadlock in found:
                if str(deadlock) not in told:
                    print(deadlock, flush=True)
                if evict:
                    await open_it(session, deadlock)
            told = {*map(str, found)}
            if looks is not None:
                looks -= 1
            await asyncio.sleep(every)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--url", help="where the state is; by default HOLDFAST_URL, or a directory of yours")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--every", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--looks", type=int, metavar="N", help="look N times; by default until it is stopped")
    parser.add_argument("--evict", action="store_true", help="end the session of the last one in each deadlock")
    options = parser.parse_args()
    asyncio.run(main(options.url, options.namespace, options.every, options.looks, options.evict))
