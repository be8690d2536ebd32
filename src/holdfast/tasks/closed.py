"""Closing a primitive, and what those get who wait for it."""

from __future__ import annotations


class Closed(RuntimeError):  # noqa: N818  # what happened, as in asyncio's CancelledError
    """The primitive was closed with `close()`, so nobody can wait for it any more.

    Its `__cause__` is the reason, if that is an exception.
    """

    reason: object
    """What close() was given."""

    def __init__(self, message: str, reason: object = None) -> None:
        """Called by the primitive."""
        super().__init__(message)
        self.reason = reason


def closed_message(primitive: object, reason: object) -> str:
    """What those get told who wait. It is made by close(), before that changes anything."""
    if reason is None:
        return f"{primitive!r} is closed"
    try:
        return f"{primitive!r} is closed: {reason}"
    except Exception as exc:
        return f"{primitive!r} is closed: for a reason of type {type(reason).__name__}, whose str() has raised {exc!r}"


def closed_error(message: str, reason: object) -> Closed:
    """Make the error that one task raises."""
    error = Closed(message, reason)
    if isinstance(reason, BaseException):
        error.__cause__ = reason
    return error


class Closable:
    """A primitive that can be closed.

    Example::

        calls = holdfast.Semaphore(10)
        calls.close("the service stops")
        try:
            await calls.acquire()
        except holdfast.Closed as closed:
            print(closed.reason)

    Source: the semaphores and channels of tokio.
    """

    __slots__ = ()

    def close(self, reason: object = None) -> None:
        """Close it for good: nobody waits for it any more. Never waits.

        reason: why, for the error that others get: a text, an exception, or whatever they need to know.

        Those that wait get Closed, and so does every later call that takes something or would have to wait. Who holds
        something goes on, and gives it back as ever; so does who was granted something and has not run yet. A second
        call does nothing. The lock of a Condition stays open.
        """
        self._close(reason)

    def is_closed(self) -> bool:
        """Return True if close() has been called."""
        return self._is_closed()

    def _close(self, reason: object) -> None:
        raise NotImplementedError

    def _is_closed(self) -> bool:
        raise NotImplementedError
