"""The hooks of this process, and how they are told.

`hooks` is a tuple, which is empty as long as the program asks for nothing: whoever has something to tell looks at it
first, and that look is all that it costs then.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

from holdfast import _hooks

from .hook import Hook

log = logging.getLogger("holdfast.instrumentation")


class Installed:
    """One hook, from `instrument()` on."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self._has_failed = False

    def tell(self, say: Callable[[Hook], object]) -> None:
        """Call the hook. What it raises is logged, once for each hook, and goes no further."""
        try:
            say(self.hook)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a CancelledError as well: it is none of the task that waits
            if not self._has_failed:
                self._has_failed = True
                log.exception(
                    "%r has raised an error, and goes on being called; its later errors are not told", self.hook
                )


hooks: tuple[Installed, ...] = ()
forks = 0
"""How many forks there are between the first process and this one."""
_change = threading.Lock()
_late: deque[Callable[[], object]] = deque()


def tell(told: tuple[Installed, ...], say: Callable[[Hook], object]) -> None:
    """Call each of these hooks, in the order in which they were installed."""
    for each in told:
        each.tell(say)
    tell_what_is_late()


def tell_later(tell: Callable[[], object]) -> None:
    """Have this called when something is told next. For the collector, which may interrupt a hook, and calls none."""
    _late.append(tell)


def tell_what_is_late() -> None:
    """Tell it now."""
    while _late:
        try:
            tell = _late.popleft()
        except IndexError:  # another thread has
            return
        tell()


def instrument(hook: Hook) -> Callable[[], None]:
    """Tell a hook, from now on, of what waits in this process, and what its sessions hold, lose, and ask of engines.

    hook: an object of a subclass of `holdfast.instrumentation.Hook`, as `PrometheusHook()` and `OpenTelemetryHook()`
    are. Several may be installed, each once; each is told everything.

    Returns a function that takes it away again. A second call of that does nothing. A hook that has heard of the
    beginning of a wait or of a holding still hears of its end, so what it counts stays right.

    Of tasks and threads, those that wait for a primitive of `holdfast` or `holdfast.threads` are told from their next
    wait on. What need not wait costs nothing more.

    A forked child has the hooks of its parent. What began before the fork is told in the parent only.

    Raises TypeError if `hook` is no such object, RuntimeError if it is installed already: it would count twice.
    """
    if not isinstance(hook, Hook):
        hint = f"; write {hook.__name__}()" if isinstance(hook, type) else ""
        raise TypeError(
            f"instrument() needs an object of a subclass of holdfast.instrumentation.Hook, not {hook!r}{hint}"
        )
    installed = Installed(hook)
    _install(installed)
    return lambda: _remove(installed)


def _install(installed: Installed) -> None:
    global hooks
    with _change:
        if any(each.hook is installed.hook for each in hooks):
            raise RuntimeError(
                f"{installed.hook!r} is installed already, and would count everything twice; to install it anew, first "
                "call the function that instrument() has returned"
            )
        hooks = (*hooks, installed)
        _hooks.set_installed(True)


def _remove(installed: Installed) -> None:
    global hooks
    with _change:
        hooks = tuple(each for each in hooks if each is not installed)
        _hooks.set_installed(bool(hooks))


def _begin_child() -> None:
    """In a forked child: another thread of the parent may have had the lock."""
    global forks, _change
    forks += 1
    _change = threading.Lock()
    _late.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, nor in a browser
    os.register_at_fork(after_in_child=_begin_child)
