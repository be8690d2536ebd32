"""The Barrier: what the tests over all mutexes do not cover."""

import threading

import pytest
from tests.test_idle import kept_by

from holdfast import threads


def meet(barrier, loops):
    """Complete a round with two tasks of different loops."""
    tasks = [loop.start(barrier.wait()) for loop in loops]
    loops[0].turn()
    assert [task.result() for task in tasks] == [0, 1]


def test_the_next_round_begins_when_the_last_one_has_left(loops):
    here, there = loops
    barrier = threads.Barrier(2)
    first, second = here.start(barrier.wait()), there.start(barrier.wait())
    assert second.result() == 1
    early = [there.start(barrier.wait()) for _ in range(2)]
    there.turn()
    assert not any(task.done() for task in early)
    here.turn()
    assert first.result() == 0
    there.turn()
    assert {task.result() for task in early} == {0, 1}


def test_a_thread_that_ran_out_of_time_is_gone_from_the_next_round(loops, instead_of_waiting):
    barrier = threads.Barrier(2)
    idle = kept_by(barrier)
    instead_of_waiting(lambda: None)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.sync.wait(1)
    barrier.sync.reset()
    for _ in range(2):
        meet(barrier, loops)
    assert kept_by(barrier) == idle


def test_a_thread_that_is_interrupted_does_not_count(loops, instead_of_waiting):
    barrier = threads.Barrier(2)
    idle = kept_by(barrier)

    def interrupt():
        assert barrier.n_waiting == 1
        raise KeyboardInterrupt

    instead_of_waiting(interrupt)
    with pytest.raises(KeyboardInterrupt):
        barrier.sync.wait()
    assert barrier.n_waiting == 0
    meet(barrier, loops)
    assert kept_by(barrier) == idle


def test_abort_by_a_thread(loops):
    barrier = threads.Barrier(2)
    task = loops[0].start(barrier.wait())
    barrier.sync.abort()
    loops[0].turn()
    assert isinstance(task.exception(), threads.BrokenBarrierError)
    assert barrier.sync.broken
    assert repr(barrier.sync).endswith(": broken>")
    barrier.sync.reset()
    assert repr(barrier.sync).endswith(": waiters=0/2>")
    meet(barrier, loops)
