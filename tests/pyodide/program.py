"""What a program does with holdfast: run here and in Pyodide, it must come to the same. Each function returns it."""

import asyncio
import types

import holdfast
from holdfast.testing import explore


@types.coroutine
def one_iteration():
    """As asyncio.sleep(0), whose line in a story is another one in each version."""
    yield


async def hand_off():
    """First come, first served; nobody slips in."""
    lock, order = holdfast.Lock(), []

    async def use(number):
        async with lock:
            order.append(number)
            await one_iteration()
            assert lock.locked()

    await lock.acquire()
    tasks = [asyncio.create_task(use(number)) for number in range(5)]
    await asyncio.sleep(0)
    waiting = lock.statistics().tasks_waiting
    lock.release()
    late = asyncio.create_task(use("late"))
    await asyncio.gather(*tasks, late)
    return waiting, order, lock.locked()


async def primitives():
    """The other five, and what they let through."""
    event, condition = holdfast.Event(), holdfast.Condition()
    semaphore, bounded, barrier = holdfast.Semaphore(2), holdfast.BoundedSemaphore(1), holdfast.Barrier(3)
    seen, inside, most = [], 0, 0

    async def wait():
        return await event.wait()

    async def consume(name):
        async with condition:
            await condition.wait()
            seen.append(name)

    async def crowd():
        nonlocal inside, most
        async with semaphore:
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.001)
            inside -= 1

    waiters = [asyncio.create_task(wait()) for _ in range(3)]
    consumers = [asyncio.create_task(consume(name)) for name in "ABC"]
    await asyncio.sleep(0.001)
    event.set()
    for number in (1, 2):
        async with condition:
            condition.notify(number)
    woken = await asyncio.gather(*waiters)
    await asyncio.gather(*consumers)
    await asyncio.gather(*(crowd() for _ in range(6)))
    indices = await asyncio.gather(*(barrier.wait() for _ in range(3)))
    async with bounded:
        pass
    try:
        bounded.release()
    except ValueError as error:
        refused = str(error)
    return woken, seen, most, sorted(indices), refused


async def cancellation():
    """Who is cancelled with the grant in its hands gives it back; a limit in time works."""
    lock = holdfast.Lock()
    await lock.acquire()
    first, second = asyncio.create_task(lock.acquire()), asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    lock.release()
    first.cancel()
    got = await second
    try:
        async with asyncio.timeout(0.01):
            await lock.acquire()
    except TimeoutError:
        return first.cancelled(), got, lock.statistics().tasks_waiting


async def session():
    """`memory:`, with two sessions that want the same lock, one of which holds it longer than its lease."""
    tokens, order = [], []
    async with holdfast.connect("memory:", ttl=0.2) as one, holdfast.connect("memory:", ttl=0.2) as two:

        async def use(session, name):
            async with session.lock("deploy") as grant:
                tokens.append(grant.token)
                order.append(name)
                await asyncio.sleep(0.5)

        await asyncio.gather(use(one, "one"), use(two, "two"))
        async with one.semaphore("api", 2), two.semaphore("api", 2):
            third = await two.semaphore("api", 2).try_acquire()
        return order, tokens[0] < tokens[1], third, await one.names()


def users(run):
    """Three of a Lock."""
    lock = holdfast.Lock()

    async def use():
        async with lock:
            await one_iteration()

    for name in "ABC":
        run.spawn(use, name=name)
    run.at_end(lambda: not lock.locked())


def forgetful(run):
    """Three of a lock that loses a grant to who is cancelled."""
    line, busy = [], [False]

    async def use():
        if busy[0]:
            waiter = asyncio.get_running_loop().create_future()
            line.append(waiter)
            await waiter
        busy[0] = True
        await one_iteration()
        busy[0] = False
        if line:
            line.pop(0).set_result(None)

    for name in "ABC":
        run.spawn(use, name=name)


def searches():
    """All schedules of the one, and a schedule that fails of the other."""
    around = asyncio._get_running_loop(), current_task()
    good = [explore(users, cancels=2, kills=1, ends=1), explore(users, reorders=1, timers=0, reduce=False)]
    bad = explore(forgetful)
    again = explore(forgetful, replay=bad.counterexample.replay)
    assert (asyncio._get_running_loop(), current_task()) == around
    assert str(again.counterexample) == str(bad.counterexample)
    verdicts = [(report.passed, report.exhausted, report.schedules) for report in good]
    return verdicts, bad.schedules, str(bad.counterexample)


def current_task():
    return None if asyncio._get_running_loop() is None else asyncio.current_task()


def nested():
    """To explore within a scenario is refused everywhere."""

    async def scenario():
        explore(users)

    return explore(scenario).counterexample.message


async def everything():
    return [await hand_off(), await primitives(), await cancellation(), await session()]
