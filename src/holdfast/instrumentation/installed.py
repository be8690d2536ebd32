"""The hooks of this process, and how they are told.

`hooks` is a tuple, which is empty as long as the program asks for nothing: whoever has something to tell looks at it
first, and that look is all that it costs then.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .hook import Hook

log = logging.getLogger("holdfast.instrumentation")


class Installed:
    """One hook, from `instrument()` on."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._has_failed = False

    def tell(self, say: Callable[[Hook], object]) -> None:
        """Call the hook. What it raises is logged, once for each hook, and goes no further."""
        try:
            say(self._hook)
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                log.exception(
                    "%r has raised an error, and goes on being called; its later errors are not told", self._hook
                )


hooks: tuple[Installed, ...] = ()
_change = threading.Lock()


def tell(told: tuple[Installed, ...], say: Callable[[Hook], object]) -> None:
    """Call each of these hooks, in the order in which they were installed."""
    for each in told:
        each.tell(say)


def instrument(hook: Hook) -> Callable[[], None]:
    """Tell a hook, from now on, of what sessions of this process wait for, hold, lose, and ask of their engines.

    hook: an object of a subclass of `holdfast.instrumentation.Hook`, as `PrometheusHook()` and `OpenTelemetryHook()`
    are. Several may be installed; each is told everything.

    Returns a function that takes it away again. A second call of that does nothing. A hook that has heard of the
    beginning of a wait or of a holding still hears of its end, so what it counts stays right.

    Raises TypeError if `hook` is no such object.
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
        hooks = (*hooks, installed)


def _remove(installed: Installed) -> None:
    global hooks
    with _change:
        hooks = tuple(each for each in hooks if each is not installed)
