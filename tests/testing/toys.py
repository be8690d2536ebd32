"""Faulty primitives, to be found out."""

import asyncio
from collections import deque


class ForgetfulLock:
    """Loses the wake-up when a waiter is cancelled after it was woken, as asyncio's did (bpo-27585)."""

    def __init__(self):
        self._locked = False
        self._waiters = deque()

    async def acquire(self):
        if self._locked or self._waiters:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)
        self._locked = True

    def release(self):
        self._locked = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
                break

    async def __aenter__(self):
        await self.acquire()

    async def __aexit__(self, *exc_info):
        self.release()


def three_users(lock_class):
    """Two tasks that hold a lock for a moment, and one that comes late."""

    def scenario(run):
        lock = lock_class()
        inside = []

        async def user(name):
            async with lock:
                inside.append(name)
                run.log(f"{name} in")
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.remove(name)

        run.spawn(user, "A", name="A")
        run.spawn(user, "B", name="B")
        run.late(user, "C", name="C")
        run.invariant(lambda: len(inside) <= 1)

    return scenario
