"""`with lock:` in place of `with lock.sync:`."""

import pytest

from holdfast import threads


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (threads.Lock, "lock"),
        (threads.Condition, "condition"),
        (threads.Semaphore, "semaphore"),
        (threads.BoundedSemaphore, "semaphore"),
    ],
)
def test_the_error_says_what_to_write(make, name):
    mutex = make()
    with pytest.raises(TypeError, match=f"write 'with {name}.sync:', or in a coroutine 'async with {name}:'"):
        with mutex:
            pass
    assert not mutex.locked()
