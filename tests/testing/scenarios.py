"""What the primitives promise, as scenarios over an implementation: the module holdfast or asyncio."""

import asyncio


def lock(library, tasks=2):
    def scenario(run):
        lock = library.Lock()
        inside = []

        async def user(name):
            async with lock:
                inside.append(name)
                run.log(f"{name} in")
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.remove(name)

        async def afterwards():
            # One holds the lock, another waits for it, and gets it.
            await asyncio.gather(user("X"), user("Y"))

        for name in "ABCDE"[:tasks]:
            run.spawn(user, name, name=name)
        run.late(user, "late", name="late")
        run.invariant(lambda: len(inside) <= 1)
        run.invariant(lambda: lock.locked() or not inside)
        run.at_rest(lambda: not lock.locked())
        run.at_end(lambda: not lock._waiters)
        run.afterwards(afterwards)

    return scenario


def semaphore(library, tasks=3, value=2):
    def scenario(run):
        semaphore = library.Semaphore(value)
        inside = []

        async def user(name):
            async with semaphore:
                inside.append(name)
                run.log(f"{name} in")
                try:
                    await asyncio.sleep(0)
                finally:
                    inside.remove(name)

        async def afterwards():
            await asyncio.gather(*map(user, range(value + 1)))

        for name in "ABCDE"[:tasks]:
            run.spawn(user, name, name=name)
        run.late(user, "late", name="late")
        run.invariant(lambda: len(inside) <= value)
        run.at_rest(lambda: not semaphore.locked())
        run.at_end(lambda: semaphore._value == value and not semaphore._waiters)
        run.afterwards(afterwards)

    return scenario


def condition(library, consumers=2):
    """A queue without a bound: no item is left while a consumer waits for one."""

    def scenario(run):
        condition = library.Condition()
        items = []
        inside = []
        waiting = []

        async def consumer(name):
            async with condition:
                inside.append(name)
                try:
                    while not items:
                        inside.remove(name)
                        waiting.append(name)
                        try:
                            await condition.wait()
                        finally:
                            waiting.remove(name)
                            inside.append(name)
                    run.log(f"{name} gets {items.pop()}")
                finally:
                    inside.remove(name)

        async def producer(name):
            async with condition:
                inside.append(name)
                try:
                    items.append(name)
                    condition.notify()
                    await asyncio.sleep(0)
                finally:
                    inside.remove(name)

        async def afterwards():
            items.clear()
            inside.clear()
            waiting.clear()
            await asyncio.gather(consumer("X"), producer("Y"))

        for name in "ABCDE"[:consumers]:
            run.spawn(consumer, name, name=name, must_finish=False)
        run.spawn(producer, "P", name="P")
        run.late(producer, "late", name="late")
        run.invariant(lambda: len(inside) <= 1)
        run.at_rest(lambda: not (items and waiting))
        run.at_rest(lambda: not condition.locked())
        run.afterwards(afterwards)

    return scenario


def event(library, waiters=2):
    def scenario(run):
        event = library.Event()

        async def waiter(name):
            await event.wait()
            run.log(f"{name} woken")

        async def setter():
            waiting = len(event._waiters)
            event.set()
            run.log(f"{waiting} wait")
            event.clear()

        async def set_later():
            event.set()

        async def afterwards():
            event.clear()
            await asyncio.gather(waiter("X"), set_later())

        for name in "ABCDE"[:waiters]:
            run.spawn(waiter, name, name=name, must_finish=False)
        run.late(setter)
        run.at_end(lambda: not event._waiters)
        run.afterwards(afterwards)

    return scenario


def barrier(library, tasks=3, parties=2):
    def scenario(run):
        barrier = library.Barrier(parties)

        async def party(name):
            run.log(f"{name} is {await barrier.wait()}")

        async def afterwards():
            await asyncio.gather(*(barrier.wait() for _ in range(parties)))

        for name in "ABCDE"[:tasks]:
            run.spawn(party, name, name=name, must_finish=False)
        run.late(party, "late", name="late", must_finish=False)
        run.at_rest(lambda: barrier.n_waiting < parties)
        run.afterwards(afterwards)

    return scenario


ALL = [lock, semaphore, condition, event, barrier]
