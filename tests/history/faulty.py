"""Frozen re-creations of faults that well-known libraries shipped, in as little code as shows them.

They are written anew, with the faulty logic of the original and nothing else of it. Do not mend them.
"""

import asyncio
from collections import deque
from contextlib import suppress

from holdfast import Lock


class _Entered:
    """`async with`, by acquire() and release(), and what all the lines below have in common."""

    def __init__(self):
        self.line = deque()

    def join(self):
        waiter = asyncio.get_running_loop().create_future()
        self.line.append(waiter)
        return waiter

    async def __aenter__(self):
        await self.acquire()

    async def __aexit__(self, *exc_info):
        self.release()


class _LockByFlag(_Entered):
    """Locked is a flag. release() clears it and wakes somebody, who sets it again."""

    taken = False

    async def acquire(self):
        if self.taken or self.line:
            await self.wait()
        self.taken = True

    def release(self):
        self.taken = False
        self.wake()

    def locked(self):
        return self.taken


class ForgetfulLock(_LockByFlag):
    """bpo-27585, asyncio.Lock before 3.7: who is cancelled after it was woken wakes nobody in its place."""

    async def wait(self):
        waiter = self.join()
        try:
            await waiter
        finally:
            self.line.remove(waiter)

    def wake(self):
        for waiter in self.line:
            if not waiter.done():
                waiter.set_result(None)
                break


class OverzealousLock(ForgetfulLock):
    """bpo-32734, the fix of bpo-27585 in asyncio.Lock before 3.8: who is cancelled wakes somebody in its place, also
    when somebody has been woken already. Both then take the lock."""

    async def wait(self):
        try:
            await super().wait()
        except asyncio.CancelledError:
            if not self.taken:
                self.wake()
            raise


class LockThatIgnoresClosing(_LockByFlag):
    """asyncio.Lock to this day, unreported: only a CancelledError passes the wake-up on. A coroutine that is closed,
    as the collector does, raises GeneratorExit."""

    async def wait(self):
        waiter = self.join()
        try:
            await waiter
        except asyncio.CancelledError:
            self.line.remove(waiter)
            if not self.taken:
                self.wake()
            raise
        except GeneratorExit:
            self.line.remove(waiter)
            raise
        self.line.remove(waiter)

    def wake(self):
        if self.line and not self.line[0].done():
            self.line[0].set_result(None)


class LockThatQueuesBehindTheDead(_Entered):
    """anyio #1145, its Lock in 4.13: a waiter that was cancelled and has not run yet still stands in the line. So
    release() finds nobody to hand the lock to, and yet a newcomer queues, whom nobody will wake."""

    owner = None

    async def acquire(self):
        me = asyncio.current_task()
        if self.owner is None and not self.line:
            self.owner = me
            return
        waiter = self.join()
        waiter.task = me
        try:
            await waiter
        except asyncio.CancelledError:
            self.line.remove(waiter)
            if self.owner is me:
                self.release()
            raise
        self.line.remove(waiter)

    def release(self):
        waiter = next((waiter for waiter in self.line if not waiter.cancelled()), None)
        self.owner = waiter and waiter.task
        if waiter is not None:
            waiter.set_result(None)


class BargingSemaphore(_Entered):
    """bpo-45997, asyncio.Semaphore before 3.11: release() makes the permit free for all. Who releases and comes back
    takes it before the task that was woken has run."""

    def __init__(self, permits=1):
        super().__init__()
        self.free = permits

    async def acquire(self):
        while not self.free:
            waiter = self.join()
            try:
                await waiter
            except asyncio.CancelledError:
                if self.free:
                    self.wake()
                raise
        self.free -= 1

    def release(self):
        self.free += 1
        self.wake()

    def wake(self):
        while self.line:
            waiter = self.line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break


class DeadSemaphore(BargingSemaphore):
    """gh-90155, the fix of bpo-45997 in asyncio.Semaphore of 3.9.12 to 3.10.7: the flag that says that somebody has
    been woken stays up when that one is cancelled. From then on everybody waits."""

    on_the_way = False

    async def acquire(self):
        while self.on_the_way or not self.free:
            waiter = self.join()
            try:
                await waiter
                self.on_the_way = False
            except asyncio.CancelledError:
                self.wake()
                raise
        self.free -= 1

    def wake(self):
        waiting = len([waiter for waiter in self.line if not waiter.done()])
        super().wake()
        self.on_the_way = self.on_the_way or waiting > 0


class OpenSemaphore(DeadSemaphore):
    """gh-97028, asyncio.Semaphore before 3.11: locked() looks at the number of free permits only, though acquire()
    lets those who wait go first."""

    def locked(self):
        return not self.free


class SemaphoreThatIgnoresClosing(_Entered):
    """asyncio.Semaphore to this day, unreported: release() hands the permit to a waiter, and it is lost if that one's
    coroutine is closed."""

    def __init__(self, permits=1):
        super().__init__()
        self.free = permits

    async def acquire(self):
        if self.free and not self.line:
            self.free -= 1
            return
        waiter = self.join()
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.release()
            raise
        finally:
            with suppress(ValueError):
                self.line.remove(waiter)

    def release(self):
        while self.line:
            waiter = self.line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.free += 1


class OvergenerousLimiter(_Entered):
    """anyio #1170, its CapacityLimiter in 4.13: who is woken has left the line and has not taken its token yet.
    Whoever comes in between sees no line and a free token, and takes it too."""

    def __init__(self, tokens=1):
        super().__init__()
        self.tokens = tokens
        self.borrowed = 0

    async def acquire(self):
        if self.line or self.borrowed >= self.tokens:
            waiter = self.join()
            try:
                await waiter
            except BaseException:
                with suppress(ValueError):
                    self.line.remove(waiter)
                if not waiter.cancelled():
                    self.wake()
                raise
        self.borrowed += 1

    def release(self):
        self.borrowed -= 1
        self.wake()

    def wake(self):
        while self.line and self.borrowed < self.tokens:
            waiter = self.line.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break


class _Condition(_Entered):
    """A condition over a sound lock. Subclasses say what happens between being woken and having the lock again."""

    def __init__(self):
        super().__init__()
        self.lock = Lock()
        self.acquire = self.lock.acquire
        self.release = self.lock.release

    def notify(self, n=1):
        for waiter in [waiter for waiter in self.line if not waiter.done()][:n]:
            waiter.set_result(None)

    def notify_all(self):
        self.notify(len(self.line))

    async def sleep(self):
        self.release()
        waiter = self.join()
        try:
            await waiter
        finally:
            self.line.remove(waiter)

    async def acquire_patiently(self):
        """Return what cancelled this in the meantime."""
        cancelled = None
        while True:
            try:
                await self.acquire()
                return cancelled
            except asyncio.CancelledError as exc:
                cancelled = exc


class ConditionThatReturnsUnlocked(_Condition):
    """bpo-22970, asyncio.Condition before 3.5.2: cancelled while it takes the lock again, wait() raises without it."""

    async def wait(self):
        try:
            await self.sleep()
        finally:
            await self.acquire()


class DeafCondition(_Condition):
    """bpo-32841, asyncio.Condition before 3.7: cancelled while it takes the lock again, wait() returns as if not."""

    async def wait(self):
        try:
            await self.sleep()
        finally:
            await self.acquire_patiently()


class ConditionThatForgetsTheReason(_Condition):
    """gh-111693, asyncio.Condition before 3.13: cancelled while it takes the lock again, wait() raises a
    CancelledError of its own, without the message."""

    async def wait(self):
        try:
            await self.sleep()
        finally:
            if await self.acquire_patiently():
                raise asyncio.CancelledError


class ConditionThatLosesNotifications(_Condition):
    """gh-112202, asyncio.Condition before 3.13: who is notified and then cancelled notifies nobody in its place."""

    async def wait(self):
        try:
            await self.sleep()
        finally:
            cancelled = await self.acquire_patiently()
            if cancelled:
                raise cancelled


class JumpyCondition(ConditionThatLosesNotifications):
    """asyncio.Condition since the fix of gh-112202: who is cancelled notifies another, also when nobody has notified
    it. Documented there as a spurious wake-up."""

    async def wait(self):
        try:
            await super().wait()
        except asyncio.CancelledError:
            self.notify()
            raise


class ConditionThatMovesItsWaiters(_Condition):
    """trio 0.35's Condition, in idea: notify() moves the waiter to the line of the lock, so that it wakes with the
    lock. If it is cancelled there, it takes the lock, raises, and nobody else is notified."""

    def __init__(self):
        super().__init__()
        self.to_lock = deque()
        self.acquire = self.take
        self.release = self.hand_over

    async def take(self):
        if self.lock.locked():
            waiter = asyncio.get_running_loop().create_future()
            self.to_lock.append(waiter)
            await self.wait_in_line_of_lock(waiter)
        else:
            self.lock.try_acquire()

    def hand_over(self):
        while self.to_lock:
            waiter = self.to_lock.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self.lock.release()

    async def wait_in_line_of_lock(self, waiter):
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self.hand_over()
            raise

    def notify(self, n=1):
        for _ in range(min(n, len(self.line))):
            self.to_lock.append(self.line.popleft())

    async def wait(self):
        self.hand_over()
        waiter = self.join()
        try:
            await self.wait_in_line_of_lock(waiter)
        except asyncio.CancelledError:
            if waiter in self.line:
                self.line.remove(waiter)
            await self.acquire_patiently()
            raise


class ConditionThatIgnoresClosing(JumpyCondition):
    """asyncio.Condition to this day, unreported: a coroutine that is closed in wait() cannot wait for the lock, and the
    `async with` around it releases the lock all the same: that of another task."""


class BarrierThatCountsBackwards(_Entered):
    """gh-155233, asyncio.Barrier to this day: the index is the number of those who wait. When one of them is cancelled,
    the next one gets the index of another who still waits."""

    def __init__(self, parties):
        super().__init__()
        self.parties = parties
        self.waiting = 0
        self.leaving = self.broken = False

    async def wait(self):
        await self.until(lambda: not self.leaving)
        index = self.waiting
        self.waiting += 1
        try:
            if self.waiting == self.parties:
                self.leaving = True
                self.wake_all()
            await self.until(lambda: self.leaving)
            return index
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.leaving = False
                self.wake_all()

    async def until(self, true):
        while not true():
            waiter = self.join()
            try:
                await waiter
            finally:
                self.line.remove(waiter)
            if self.broken:
                raise asyncio.BrokenBarrierError

    def wake_all(self):
        for waiter in self.line:
            if not waiter.done():
                waiter.set_result(None)

    async def abort(self):
        self.broken = True
        self.wake_all()


class ReaderWriterLockWithGhosts:
    """aiorwlock 1.5.1: readers wait behind a writer that waits. If the writer is cancelled, nobody looks whether they
    could go now; they stay until the reader inside leaves."""

    def __init__(self):
        self.readers_inside = 0
        self.writer_inside = False
        self.writers = deque()
        self.readers = deque()
        self.reader = _Side(self.acquire_to_read, self.release_by_reader)
        self.writer = _Side(self.acquire_to_write, self.release_by_writer)

    async def acquire_to_read(self):
        if self.writer_inside or self.writers:
            await self.wait(self.readers)
        self.readers_inside += 1

    async def acquire_to_write(self):
        if self.writer_inside or self.readers_inside:
            await self.wait(self.writers)
        self.writer_inside = True

    def release_by_reader(self):
        self.readers_inside -= 1
        self.wake()

    def release_by_writer(self):
        self.writer_inside = False
        self.wake()

    async def wait(self, line):
        waiter = asyncio.get_running_loop().create_future()
        line.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            self.wake()
            raise
        finally:
            line.remove(waiter)

    def wake(self):
        if not self.readers_inside and not self.writer_inside:
            for waiter in list(self.writers)[:1] or list(self.readers):
                if not waiter.done():
                    waiter.set_result(None)


class _Side:
    def __init__(self, acquire, release):
        self.acquire = acquire
        self.release = release
