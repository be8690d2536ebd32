"""The Event: what the tests over all mutexes do not cover."""

import asyncio
import threading

import pytest
from tests.test_idle import kept_by

from holdfast import threads
from holdfast.threads.critical_section import Section


class Entered(Section):
    """A section before which another thread does something, just as it is entered."""

    __slots__ = ("faster",)

    def acquire(self, blocking=True, timeout=-1):
        faster, self.faster = self.faster, None
        if faster is not None:
            thread = threading.Thread(target=faster)
            thread.start()
            thread.join()
        return super().acquire(blocking, timeout)


@pytest.mark.parametrize("who", ["task", "thread"])
def test_set_between_the_look_and_the_joining(who, loops, instead_of_waiting):
    event = threads.Event()
    event._section = Entered()
    event._section.faster = event.set
    if who == "task":
        assert loops[0].start(event.wait()).result()
    else:
        instead_of_waiting(lambda: pytest.fail("it waits"))
        assert event.sync.wait()
    assert event.is_set()
    assert event._queue is None


def test_who_leaves_does_not_wait_any_more(loops, instead_of_waiting):
    event = threads.Event()
    idle = kept_by(event)

    def interrupt():
        raise KeyboardInterrupt

    task = loops[0].start(event.wait())
    task.cancel()
    loops[0].turn()
    assert task.cancelled()
    instead_of_waiting(interrupt)
    with pytest.raises(KeyboardInterrupt):
        event.sync.wait()
    assert event.statistics().tasks_waiting == 0
    assert "waiters" not in repr(event)
    assert kept_by(event) == idle


def test_a_call_that_does_not_block_is_no_error_in_a_coroutine():
    async def main():
        event = threads.Event()
        assert event.sync.wait(0) is False
        assert event.sync.wait(-5) is False

    asyncio.run(main())


def test_repr_of_the_view():
    event = threads.Event()
    assert repr(event.sync).endswith(": unset>")
    event.set()
    assert repr(event.sync).endswith(": set>")
