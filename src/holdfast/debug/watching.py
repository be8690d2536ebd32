"""A watch that looks from time to time, and tells of whoever waits long.

It is a thread, so what a task does costs nothing more while it is on: no primitive asks whether there is a watch.
PostgreSQL finds its deadlocks in this way, when somebody has waited for some time. A timer in each event loop would not
ring in a loop that is blocked, and would not see threads.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
import weakref
from typing import Self

from .breaking import break_deadlock
from .edges import Edges
from .errors import DeadlockError
from .event_loops import Loop
from .foreign_release import notes
from .look import Look, look, told
from .times import times

log = logging.getLogger("holdfast.debug")
SHARE = 20
"""A look that takes long is followed by a pause of so many times as long. So a watch takes 5 % of a core at most."""
THOROUGH = 12
"""Each look of so many asks the collector for loops that no frame shows, as does one that sees a new thread."""
SOON = 0.1
"""Seconds between two looks where a deadlock is to raise an error."""


class Watch:
    """What `watch()` returns. It may be used in `with`, which stops it at the end."""

    how_many_raise = 0  # of those that are on

    def __init__(self, after: float, raises: bool, foreign_release: bool) -> None:
        self._after = after
        self._raises = raises
        self._foreign_release = foreign_release
        self._stopped = threading.Event()
        self._loops: weakref.WeakSet[Loop] = weakref.WeakSet()
        self._known_threads: set[int] = set()
        self._looks = 0
        self._edges = Edges()
        self._thread = threading.Thread(target=self._run, name="holdfast.debug.watch", daemon=True)
        self._thread.start()
        times.begin()
        Watch.how_many_raise += raises
        if foreign_release:
            notes.begin()

    def __repr__(self) -> str:
        state = "stopped" if self._stopped.is_set() else "on"
        return f"<holdfast.debug.Watch after={self._after:g} s [{state}]>"

    def stop(self) -> None:
        """Look no more. Waits until a look that is under way is over. A second call does nothing."""
        if not self._stopped.is_set():
            self._stopped.set()
            times.end()
            if self._foreign_release:
                notes.end()
            Watch.how_many_raise = max(0, Watch.how_many_raise - self._raises)  # 0 in a forked child
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        """Return the watch."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop, as stop() does."""
        self.stop()

    def _run(self) -> None:
        pause = min(SOON, self._after / 2) if self._raises else self._after / 2
        took = 0.0
        while not self._stopped.wait(max(pause, SHARE * took)):
            began = time.monotonic()
            try:
                self._look()
            except Exception:
                log.exception("a look at what waits has failed; the watch goes on")
            took = time.monotonic() - began
        self._edges.tell(())

    def _look(self) -> None:
        identifiers = {thread.ident for thread in threading.enumerate() if thread.ident is not None}
        thorough = self._looks % THOROUGH == 0 or not identifiers <= self._known_threads
        self._looks += 1
        seen = look(self._loops, thorough)
        self._known_threads = identifiers
        self._loops = weakref.WeakSet(seen.loops)
        times.note(seen.parties)
        self._edges.tell(seen.primitives)
        self._tell_deadlocks(seen)
        for primitive in seen.primitives:
            if any(times.is_news(party, self._after) for party in primitive.line):
                times.set_told(party for party in primitive.line if times.seconds(party) >= self._after)
                log.warning("waited for longer than %g s: %s", self._after, told(primitive, times.seconds))

    def _tell_deadlocks(self, seen: Look) -> None:
        for deadlock, members in seen.deadlocks:
            after = 0 if deadlock.certain else self._after
            if any(times.is_news(party, after) for party in members):
                times.set_told(members)
                log.error("%s", deadlock)
                if self._raises and deadlock.certain:
                    break_deadlock(sorted(members, key=times.seconds), DeadlockError(deadlock))


def _begin_child() -> None:
    """In a forked child: its threads are gone."""
    Watch.how_many_raise = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_child)


def watch(after: float = 5.0, *, raises: bool = False, foreign_release: bool = False) -> Watch:
    """Look from time to time at who waits for what, in all event loops and threads, and log whoever waits long.

    after: seconds. Whoever has waited so long for a primitive is told in a record of the logger `holdfast.debug`, as a
    warning, once for each wait, with the holders and the others that wait. There is a look each `after / 2` seconds, so
    the record may come that much later.
    raises: whether a certain deadlock also raises DeadlockError, in the one of the circle that has come last. One that
    is in wait() of a condition is passed over. There is a look each 0.1 s then. This is for tests and development.
    foreign_release: whether to warn, with ForeignReleaseWarning, if a task releases a `holdfast.Lock` that another task
    has acquired while the watch was on. asyncio allows that. It makes acquire() and release() of that class slower.

    A deadlock is told as an error at the first look that sees it; one that is not certain, after `after` seconds.

    It looks in a thread of its own. Tasks and threads pay nothing but the time of the looks, some 30 microseconds for
    each task. They take at most 5 % of a core: if there are many tasks, it looks less often. While it is on, `dump()`
    tells for how long each has waited. From Python 3.14 on, it tells asyncio which task waits for which, so that
    `python -m asyncio pstree PID` shows that, as it was at the last look.

    Returns a Watch, which is on until its `stop()`, or until the end of a `with` block. A second watch may be on
    beside it. In a forked child none is on.

    Raises TypeError or ValueError if `after` is not a number of seconds above 0, RuntimeError if no thread can be
    started.

    Example::

        with holdfast.debug.watch(after=5):
            asyncio.run(main())
    """
    if isinstance(after, bool) or not isinstance(after, (int, float)):
        raise TypeError(f"after must be a number of seconds, not {after!r}")
    if not 0 < after < math.inf:
        raise ValueError(f"after must be a number of seconds above 0, not {after!r}")
    return Watch(after, raises, foreign_release)
