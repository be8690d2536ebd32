"""RateLimiter, SingleFlight and Once, as scenarios for the explorer, whose time passes only at rest."""

from __future__ import annotations

import asyncio
from types import ModuleType

from holdfast.testing import Run

from .scenarios import Builder, Ledger, Scenario, Setup, must_be_idle

RATE, BURST = 1, 2


def rationed(library: ModuleType, setup: Setup) -> Scenario:
    """Tasks that take tokens, some of them two at once, the first of them twice without a pause."""

    def scenario(run: Run) -> None:
        limiter = library.RateLimiter(RATE, burst=BURST)
        ledger = Ledger(run, setup)
        taken: list[tuple[float, int]] = []
        """When, and how many."""

        def needs(name: str) -> int:
            return 2 if name in "ACX" else 1

        async def take(name: str) -> None:
            ledger.ask(name)
            try:
                if needs(name) > 1:
                    assert await limiter.acquire(needs(name)) is True
                else:
                    async with limiter:
                        pass
            except BaseException as exc:
                ledger.lose(name, exc)
                raise
            ledger.get(name)
            taken.append((asyncio.get_running_loop().time(), needs(name)))

        async def user(name: str) -> None:
            for _ in range(2 if name == "A" else 1):
                try:
                    await setup.around(take(name), setup.patience(name))
                except TimeoutError:
                    run.log(f"{name} is out of time")

        def no_more_than_promised() -> None:
            for place, (first, _) in enumerate(taken):
                # A timer that comes early lets time pass while tasks have tokens and have not run.
                since = 0.0 if setup.timed else first
                for last, (until, _) in enumerate(taken[place:], place):
                    n = sum(n for _, n in taken[0 if setup.timed else place : last + 1])
                    assert n <= BURST + (until - since) * RATE, f"{n} tokens were taken from {since} to {until} s"

        def nobody_waits_in_vain() -> None:
            first = next(iter(ledger.line), None)
            if first is not None:
                there = limiter.statistics().tokens
                assert there < needs(first), f"{first} could have its tokens: {there} are there"
                assert limiter._timer is not None, f"nothing will wake {first}"

        def is_idle() -> None:
            must_be_idle(limiter)
            assert limiter._timer is None

        async def afterwards() -> None:
            ledger.line.clear()
            await asyncio.gather(*map(user, "XYZ"))

        setup.spawn(run, user, more=1)
        run.invariant(no_more_than_promised)
        run.at_rest(nobody_waits_in_vain)
        run.at_end(is_idle)
        run.afterwards(afterwards)

    return scenario


def shared_work(once: bool, the_first_fails: bool = False) -> Builder:
    """Tasks that want the same work done. A body that is cancelled takes a while to end.

    once: whether it is a Once; or calls of a SingleFlight with the same key.
    the_first_fails: whether the first body ends with an error.
    """

    def build(library: ModuleType, setup: Setup) -> Scenario:
        def scenario(run: Run) -> None:
            work = library.Once() if once else library.SingleFlight()
            flights = work._flights if once else work
            begun = ended = 0
            results: list[int] = []
            at_work: dict[int, asyncio.AbstractEventLoop] = {}
            """The bodies, with their loops."""
            callers: set[str] = set()

            async def body() -> int:
                nonlocal begun, ended
                begun += 1
                number, loop = begun, asyncio.get_running_loop()
                run.log(f"body {number} begins")
                assert loop not in at_work.values(), f"body {number} begins beside another one"
                at_work[number] = loop
                try:
                    await asyncio.sleep(1)
                    if the_first_fails and number == 1:
                        raise ValueError
                    results.append(number)
                except asyncio.CancelledError:
                    await asyncio.sleep(0)
                    raise
                finally:
                    run.log(f"body {number} ends")
                    del at_work[number]
                    ended = max(ended, number)
                return number

            async def call(name: str) -> None:
                before = ended
                callers.add(name)
                try:
                    number = await (work.get(body) if once else work.run("key", body))
                except asyncio.CancelledError:
                    task = asyncio.current_task()
                    assert task is not None
                    assert task.cancelling(), f"{name} got the cancellation of another one"
                    raise
                except ValueError:
                    assert the_first_fails
                    assert before == 0, f"{name} got an error that was over when it asked"
                    return
                finally:
                    callers.discard(name)
                assert number in results, f"{name} got the result of a body that has not ended well"
                if once:
                    assert number == results[0], f"{name} got the value {number}, and there was {results[0]} before"
                else:
                    assert number > before, f"{name} got the result of a body that had ended when it asked"

            async def user(name: str) -> None:
                for _ in range(2 if name == "A" else 1):
                    try:
                        await setup.around(call(name), setup.patience(name) * 3)
                    except TimeoutError:
                        run.log(f"{name} is out of time")

            def nobody_works_in_vain() -> None:
                assert callers or not at_work, f"nobody wants the result of body {[*at_work]}"

            def nothing_is_left() -> None:
                assert not at_work
                assert not len(flights)
                if once:
                    assert work.is_made() == bool(results)

            async def afterwards() -> None:
                callers.clear()
                at_work.clear()  # what was left in a loop that has ended
                await asyncio.gather(*map(user, "XYZ"))
                if once:
                    assert await work.get(body) == results[0]

            setup.spawn(run, user)
            run.at_rest(nobody_works_in_vain)
            run.at_end(nothing_is_left)
            run.afterwards(afterwards)

        return scenario

    return build


BEYOND: dict[str, Builder] = {
    "RateLimiter": rationed,
    "SingleFlight": shared_work(once=False),
    "Once, the first fails": shared_work(once=True, the_first_fails=True),
}
"""In these, only tasks of the scenario are cancelled: who cancels a body is told so, which tests/models looks at."""
