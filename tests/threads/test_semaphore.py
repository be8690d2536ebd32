"""The semaphores on both of their paths: in one step while there is no waiter, and in the critical section."""

import asyncio
import sys
import threading
from typing import ClassVar

import pytest

from holdfast import threads
from holdfast.threads import semaphore as semaphore_module
from holdfast.threads.critical_section import Section

from .by_hand import at_line, lines

KINDS = [threads.Semaphore, threads.BoundedSemaphore]


def value_of(semaphore):
    return semaphore.statistics().value


@pytest.mark.usefixtures("either_way")
def test_only_without_the_gil_it_changes_in_the_section():
    class Watched(threads.Semaphore):
        in_section: ClassVar[list[bool]] = []

        @property
        def _value(self):
            return self.permits

        @_value.setter
        def _value(self, permits):
            self.in_section.append(self._section._is_owned())
            self.permits = permits

    semaphore = Watched()
    semaphore.in_section.clear()
    assert semaphore.sync.acquire()
    semaphore.release()
    assert semaphore.in_section == [not semaphore_module.ONE_AT_A_TIME] * 2


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("kind", KINDS)
def test_who_comes_while_a_permit_is_on_its_way_does_not_overtake(kind, loops):
    """Two permits are released and one task waits. The second permit can be had only when that task has run."""
    here, there = loops
    semaphore = kind(2)
    assert semaphore.sync.acquire()
    assert semaphore.sync.acquire()
    first = here.start(semaphore.acquire())
    semaphore.sync.release(2)
    second = there.start(semaphore.acquire())
    assert not second.done()
    assert not semaphore.sync.acquire(False)
    assert not semaphore.try_acquire()
    here.turn()
    assert first.result()
    there.turn()
    assert second.result()
    assert value_of(semaphore) == 0
    semaphore.sync.release(2)
    assert value_of(semaphore) == 2


class Entered(Section):
    """A section before which another thread does something, just as it is entered."""

    __slots__ = ("faster",)

    def __enter__(self):
        faster, self.faster = self.faster, None
        if faster is not None:
            faster()
        return super().__enter__()


@pytest.fixture
def often():
    """Have the interpreter switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often")
def test_of_permits_that_threads_take_and_give_back_none_is_lost_or_made():
    """This includes PyPy, which may switch threads in the middle of a statement."""
    semaphore = threads.Semaphore(3)

    def use():
        for _ in range(50_000):
            if semaphore.try_acquire():
                semaphore.release()
            with semaphore.sync:
                pass

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert value_of(semaphore) == 3


@pytest.fixture(name="no_gil")
def without_the_gil(monkeypatch):
    monkeypatch.setattr(semaphore_module, "ONE_AT_A_TIME", False)


@pytest.mark.usefixtures("no_gil")
def test_another_takes_the_last_permit_first():
    semaphore = threads.Semaphore(1)
    semaphore._section = Entered()
    taken = []
    semaphore._section.faster = lambda: taken.append(semaphore.sync.acquire(False))
    assert not semaphore.sync.acquire(False)
    assert taken == [True]
    assert value_of(semaphore) == 0


@pytest.mark.usefixtures("no_gil")
@pytest.mark.parametrize("call", ["acquire", "release"])
def test_another_joins_first(call, loops):
    here, _ = loops
    semaphore = threads.Semaphore(1)
    semaphore._section = Entered()
    tasks = []

    def join():
        assert semaphore.try_acquire()
        tasks.append(here.start(semaphore.acquire()))
        if call == "acquire":
            semaphore.sync.release(2)

    semaphore._section.faster = join
    if call == "acquire":
        assert not semaphore.sync.acquire(False)
        assert value_of(semaphore) == 1
    else:
        semaphore.release()
        assert value_of(semaphore) == 0
    here.turn()
    assert tasks[0].result()


@pytest.mark.usefixtures("either_way")
def test_within_a_change_of_another_it_enters_no_section():
    """Otherwise two threads, each inside one section and waiting for the other's, would wait for ever."""
    semaphore, other = threads.Semaphore(1), threads.Lock()
    semaphore._section = Entered()

    def refuse():
        raise AssertionError("it waits for a section within a section")

    semaphore._section.faster = refuse
    taken = other._section.run(semaphore.sync.acquire, False)
    assert taken is semaphore_module.ONE_AT_A_TIME
    other._section.run(semaphore.release)
    assert semaphore._section.faster is refuse
    assert value_of(semaphore) == (1 if taken else 2)


def test_handler_releases_a_bounded_one_within_a_change_of_another():
    """Whether the release is deferred or comes at once, it counts, and one too many is refused."""

    def scenario(number):
        semaphore, other = threads.BoundedSemaphore(1), threads.Semaphore(0)
        errors = []
        assert semaphore.try_acquire()
        there = at_line(number, semaphore.release, other.try_acquire)
        assert value_of(semaphore) == there

        def release_too_often():
            with pytest.raises(ValueError, match="too many times") as raised:
                semaphore.sync.release(2)
            errors.append(raised.value)

        at_line(number, release_too_often, other.try_acquire)
        assert len(errors) == there
        assert value_of(semaphore) == there
        return there

    lines(scenario)


@pytest.mark.parametrize("kind", KINDS)
def test_no_more_than_it_has_nor_less_than_one_is_released(kind):
    semaphore = kind(3)
    assert semaphore.sync.acquire()
    for n in (0, -1):
        with pytest.raises(ValueError, match="one or more"):
            semaphore.sync.release(n)
    assert value_of(semaphore) == 2


def test_timeout_in_the_past_is_over_at_once(instead_of_waiting):
    instead_of_waiting(lambda: pytest.fail("it waits"))
    assert not threads.Semaphore(0).sync.acquire(timeout=-5)
    assert threads.Semaphore(1).sync.acquire(timeout=-5)


@pytest.mark.parametrize("timeout", [-1, 0, 1])
def test_no_timeout_without_blocking(timeout):
    """threading refuses it too."""
    semaphore = threads.Semaphore(1)
    with pytest.raises(ValueError, match="timeout"):
        semaphore.sync.acquire(False, timeout)
    assert value_of(semaphore) == 1


def test_a_call_that_does_not_block_is_no_error_in_a_coroutine():
    async def main():
        semaphore = threads.Semaphore(0)
        assert not semaphore.sync.acquire(False)
        assert not semaphore.sync.acquire(timeout=0)

    asyncio.run(main())
