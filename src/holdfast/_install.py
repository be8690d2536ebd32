"""install() and uninstall(), for the whole process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tasks.install import put_asyncios, put_ours

if TYPE_CHECKING:
    from .debug.watching import Watch

_watch: Watch | None = None
"""That of `install(debug=True)`."""


def install(*, debug: bool = False) -> None:
    """Put holdfast's classes in the place of `asyncio.Lock` and its kin, for the whole process.

    From then on, `asyncio.Lock()`, asyncio.Queue and every library that looks the names up in `asyncio` when it makes a
    primitive use holdfast. Call it first, before you import the code that should use it: it cannot reach objects that
    were made before, nor names that were imported before with `from asyncio import Lock`.

    holdfast's classes are subclasses of asyncio's, so `isinstance(lock, asyncio.Lock)` is true of a holdfast lock
    before and after the call, also with a name that was imported before. After the call it is false of a lock that
    asyncio made before.

    debug: whether a `holdfast.debug.watch(raises=True)` is on until uninstall(): one of the tasks that wait in a circle
    gets `holdfast.debug.DeadlockError`, also if the primitives are asyncio's.

    A second call changes nothing, or begins the watch.
    """
    global _watch
    put_ours()
    if debug and _watch is None:
        from .debug.watching import watch

        _watch = watch(raises=True)


def uninstall() -> None:
    """Undo install(). Objects that were made meanwhile keep working. A second call changes nothing."""
    global _watch
    put_asyncios()
    if _watch is not None:
        _watch.stop()
        _watch = None
