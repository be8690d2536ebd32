"""A bank that moves money between accounts, and comes to a stop: each transfer locks two accounts, as it names them.

    python examples/bank_transfers.py --accounts 5 --transfers 200
    python examples/bank_transfers.py --ordered

holdfast.debug.watch(raises=True) breaks each deadlock: one of the transfers in it gets DeadlockError, whose message
names both tasks and their lines, and is tried again. With --ordered, both accounts are locked in one order for all, by
KeyedLock.all(), and there is no deadlock. The sum of all accounts is the same at the end in either case.
"""

import argparse
import asyncio
import logging
import random
import sys

import holdfast
from holdfast.debug import DeadlockError


class Bank:
    """Accounts of 100 each, with a lock for each."""

    def __init__(self, accounts: int, ordered: bool) -> None:
        self.balances = [100] * accounts
        self.broken: list[str] = []
        """The message of each deadlock that was broken."""
        self._locks = holdfast.KeyedLock[int]()
        self._ordered = ordered

    async def transfer(self, source: int, target: int, amount: int) -> None:
        """Move money. A transfer that was in a deadlock begins anew."""
        while True:
            try:
                await (self._in_order if self._ordered else self._as_named)(source, target, amount)
                return
            except DeadlockError as exc:
                self.broken.append(str(exc))

    async def _as_named(self, source: int, target: int, amount: int) -> None:
        async with self._locks[source]:
            await asyncio.sleep(0)  # asks a database for the balance
            async with self._locks[target]:
                self._move(source, target, amount)

    async def _in_order(self, source: int, target: int, amount: int) -> None:
        async with self._locks.all(source, target):
            await asyncio.sleep(0)
            self._move(source, target, amount)

    def _move(self, source: int, target: int, amount: int) -> None:
        self.balances[source] -= amount
        self.balances[target] += amount


async def main(accounts: int, transfers: int, ordered: bool) -> int:
    """Make the transfers, four at a time; print the deadlocks and the sum, and return the exit code."""
    bank = Bank(accounts, ordered)
    drawn = random.Random(1)
    pairs = [drawn.sample(range(accounts), 2) for _ in range(transfers)]
    at_once = holdfast.Semaphore(4)

    async def one(number: int, source: int, target: int) -> None:
        async with at_once:
            await bank.transfer(source, target, number % 10)

    async with asyncio.TaskGroup() as group:
        for number, (source, target) in enumerate(pairs):
            group.create_task(one(number, source, target), name=f"transfer {number}")
    for message in bank.broken:
        print(message)
    print(f"{transfers} transfers, {len(bank.broken)} deadlocks broken, {sum(bank.balances)} in all accounts")
    return 0 if sum(bank.balances) == 100 * accounts else 1


def several(text: str) -> int:
    """The value of an option that has to be 2 or more."""
    number = int(text)
    if number < 2:
        raise argparse.ArgumentTypeError("must be 2 or more")
    return number


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Move money between accounts, with and without deadlocks.")
    parser.add_argument("--accounts", type=several, default=5, metavar="N", help="how many accounts there are (5)")
    parser.add_argument("--transfers", type=several, default=50, metavar="N", help="how many transfers to make (50)")
    parser.add_argument("--ordered", action="store_true", help="lock the accounts in one order, and have no deadlock")
    options = parser.parse_args()
    logging.getLogger("holdfast.debug").addHandler(logging.NullHandler())  # each deadlock is printed at the end
    with holdfast.debug.watch(raises=True):
        sys.exit(asyncio.run(main(options.accounts, options.transfers, options.ordered)))
