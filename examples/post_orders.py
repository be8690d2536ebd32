"""A worker that posts orders to an accounting service, in their order. Any number of them may run, on any machines.

    python examples/post_orders.py postgresql://app@db.example.org/shop https://accounts.example.org/entries

The database has a table `orders(id bigint PRIMARY KEY, amount numeric, posted boolean)`. The locks are in the same
database, and use connections of the same pool, so nothing else has to be set up. One worker at a time posts; the others
wait, and one of them goes on when it is killed. A worker ends when all orders are posted.

Only a database can refuse a write that comes too late, so an order is marked as posted under a fence. A worker that was
killed after it has posted an order, and before it has marked it, leaves it to the next one, which posts it again: the
service knows it by its Idempotency-Key.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator

import aiohttp
import asyncpg

import holdfast
from holdfast.cluster import Grant, PostgresFence

BATCH = 20
"""Orders that a worker posts before it lets another one have its turn."""


async def to_post(pool: asyncpg.Pool) -> AsyncIterator[asyncpg.Record]:
    """The next orders that are not posted, the oldest first."""
    for order in await pool.fetch("SELECT id, amount FROM orders WHERE NOT posted ORDER BY id LIMIT $1", BATCH):
        yield order


async def mark(pool: asyncpg.Pool, order: int, grant: Grant) -> None:
    """Note that an order is posted. Raises StaleToken if somebody else has the lock by now."""
    async with pool.acquire() as connection, connection.transaction():
        await PostgresFence(connection, "orders").check(grant.token)  # in the transaction of the write
        await connection.execute("UPDATE orders SET posted = true WHERE id = $1", order)


async def post_all(pool: asyncpg.Pool, service: str, ttl: float) -> int:
    """Post orders in turns with the other workers until none is left; return how many this one has posted."""
    posted = 0
    async with holdfast.connect(pool, ttl=ttl) as session, aiohttp.ClientSession(raise_for_status=True) as http:
        while await pool.fetchval("SELECT EXISTS (SELECT FROM orders WHERE NOT posted)"):
            async with session.lock("orders") as grant:  # in order of arrival
                async for order in to_post(pool):
                    entry = {"order": order["id"], "amount": str(order["amount"])}
                    async with http.post(service, json=entry, headers={"Idempotency-Key": f"order {order['id']}"}):
                        await mark(pool, order["id"], grant)
                    posted += 1
    return posted


async def main() -> None:
    parser = argparse.ArgumentParser(description="Post orders to an accounting service, one worker at a time.")
    parser.add_argument("database", help="as in postgresql://app@db.example.org/shop")
    parser.add_argument("service", help="the URL that takes an entry by POST")
    parser.add_argument("--ttl", type=float, default=10, help="seconds until a killed worker's turn is over")
    options = parser.parse_args()
    async with asyncpg.create_pool(options.database, min_size=1, max_size=3) as pool:
        async with pool.acquire() as connection:
            await PostgresFence(connection, "orders").prepare()
        print(f"posted {await post_all(pool, options.service, options.ttl)} orders")


if __name__ == "__main__":
    asyncio.run(main())
