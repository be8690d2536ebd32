"""What people do with primitives, and what must hold meanwhile.

Each takes what makes the primitive, so that a faulty and a sound one go through the same. The tasks are A, B, C and
D, and main, which is not interfered with.
"""

import asyncio


def users(make, early="AB", late="C", permits=1):
    """Each goes in, stays for an iteration, and leaves. So many at a time, and nobody is left outside."""

    def scenario(run):
        lock = make()
        inside = []

        async def use(name):
            async with lock:
                inside.append(name)
                run.log(f"inside: {' '.join(inside)}")
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.remove(name)

        for name in early:
            run.spawn(use, name, name=name)
        for name in late:
            run.late(use, name, name=name)

        def no_more_inside_than_permits():
            return len(inside) <= permits

        run.invariant(no_more_inside_than_permits)

    return scenario


def turns(make):
    """A comes back without a pause while B waits. First come, first served."""

    def scenario(run):
        lock = make()
        asked, entered = [], []

        async def use(name, times):
            for _ in range(times):
                asked.append(name)
                async with lock:
                    entered.append(name)
                    run.log(f"{name} enters")
                    await asyncio.sleep(0)

        run.spawn(use, "A", 2, name="A")
        run.spawn(use, "B", 1, name="B")

        def first_come_first_served():
            return entered == asked[: len(entered)]

        run.invariant(first_come_first_served)

    return scenario


def askers(make):
    """As users; and while somebody waits, `locked()` says so."""

    def scenario(run):
        lock = make()
        waiting = []

        async def use(name):
            waiting.append(name)
            async with lock:
                waiting.remove(name)
                await asyncio.sleep(0)

        for name in "ABC":
            run.spawn(use, name, name=name)

        def locked_while_somebody_waits():
            return not waiting or lock.locked()

        run.invariant(locked_while_somebody_waits)

    return scenario


def consumers(make):
    """B and C take one item each; two are brought. No item lies about while a consumer sleeps."""

    def scenario(run):
        condition = make()
        items = []
        sleeping = []
        holding = []

        async def consume(name):
            async with condition:
                holding.append(name)
                try:
                    while not items:
                        await sleep(name)
                    run.log(f"{name} takes {items.pop(0)}")
                finally:
                    holding.remove(name)

        async def sleep(name):
            holding.remove(name)
            sleeping.append(name)
            try:
                await condition.wait()
            finally:
                sleeping.remove(name)
                holding.append(name)

        async def bring(item):
            async with condition:
                holding.append("main")
                items.append(item)
                condition.notify()
                run.log(f"{item} for somebody")
                await asyncio.sleep(0)
                holding.remove("main")

        for name in "BC":
            run.spawn(consume, name, name=name)

        async def main():
            for item in ("eggs", "milk"):
                await asyncio.sleep(1)
                await bring(item)

        def one_holds_the_lock():
            return len(holding) <= 1

        def no_item_while_a_consumer_sleeps():
            return not (items and sleeping)

        run.invariant(one_holds_the_lock)
        run.at_rest(no_item_while_a_consumer_sleeps)
        return main()

    return scenario


def listeners(make):
    """B and C wait until all are notified. Nobody wakes before."""

    def scenario(run):
        condition = make()
        notified = False

        async def listen():
            async with condition:
                await condition.wait()
                assert notified, "woken, though nobody has notified"

        async def main():
            nonlocal notified
            await asyncio.sleep(1)
            async with condition:
                notified = True
                condition.notify_all()
                await asyncio.sleep(0)

        for name in "BC":
            run.spawn(listen, name=name)
        return main()

    return scenario


def reasons(make):
    """B is notified, and then cancelled for a reason, which it must be told."""

    def scenario(run):
        condition = make()

        async def listen():
            async with condition:
                try:
                    await condition.wait()
                except asyncio.CancelledError as cancelled:
                    if cancelled.args != ("no longer needed",):
                        raise AssertionError(f"the reason is gone: {cancelled!r}") from None
                    raise

        async def main():
            await asyncio.sleep(1)
            async with condition:
                condition.notify()
                await asyncio.sleep(0)
                listener.cancel("no longer needed")
                await asyncio.sleep(0)

        listener = run.spawn(listen, name="B")
        return main()

    return scenario


def parties(make):
    """Of A, B, C and D, three meet, and who is left over is sent home. Each has another index."""

    def scenario(run):
        barrier = make(3)
        indices = []

        async def meet(name):
            try:
                index = await barrier.wait()
            except asyncio.BrokenBarrierError:
                return
            run.log(f"{name} has index {index}")
            indices.append(index)

        async def main():
            await asyncio.sleep(1)
            await barrier.abort()

        def no_index_twice():
            return len(indices) == len(set(indices))

        for name in "AB":
            run.spawn(meet, name, name=name)
        for name in "CD":
            run.late(meet, name, name=name)
        run.invariant(no_index_twice)
        return main()

    return scenario


def readers(make):
    """A and C read, B writes. While A reads for a while, C may too, unless somebody writes or waits for that."""

    def scenario(run):
        lock = make()
        reading, waiting_to_read, writing = [], [], []

        async def read(name, seconds):
            waiting_to_read.append(name)
            try:
                await lock.reader.acquire()
            finally:
                waiting_to_read.remove(name)
            try:
                reading.append(name)
                run.log(f"{name} reads")
                await asyncio.sleep(seconds)
            finally:
                reading.remove(name)
                lock.reader.release()

        async def write(name):
            writing.append(name)
            try:
                await lock.writer.acquire()
                try:
                    run.log(f"{name} writes")
                    await asyncio.sleep(0)
                finally:
                    lock.writer.release()
            finally:
                writing.remove(name)

        run.spawn(read, "A", 1, name="A")
        run.spawn(write, "B", name="B")
        run.spawn(read, "C", 0, name="C")

        def readers_read_together():
            return not (reading and waiting_to_read) or bool(writing)

        run.at_rest(readers_read_together)

    return scenario
