"""What a hook is told."""

from __future__ import annotations

from typing import Literal

Outcome = Literal["granted", "cancelled", "closed", "failed"]
"""How a wait ended. A timeout is a cancellation, as everywhere in asyncio."""


class Hook:
    """What `holdfast.instrument()` takes. Override the methods that you need; those of this class do nothing.

    They are called in the thread of the session that tells something, which is the thread of its event loop, or in the
    thread of the task, or in the thread, that waits for a primitive. Several threads call them at the same time. A
    method has to return soon, as the event loop waits for it. If it raises, nothing else is disturbed: the logger
    `holdfast.instrumentation` has the first error of each hook.

    kind: of a session's, what it is, as in reports: "lock", "semaphore", "reader-writer lock", "rate limiter", "event",
    "barrier", "condition". Of a primitive of this process, the same and who waits: "lock of tasks" is one of
    `holdfast`, "lock of threads" one of `holdfast.threads`. There are "keyed lock of tasks" and "keyed lock of threads"
    as well.
    name: as the program has given it to the session's method, or to `named()`. Empty if a primitive was given none.
    session: the session's name, `connect(name=…)`.
    """

    def began_to_wait(self, kind: str, name: str) -> None:
        """A task or thread has asked for something that is not free, and stands in line; or it waits for an event."""

    def waited(self, kind: str, name: str, seconds: float, outcome: Outcome) -> None:
        """A wait is over, of which `began_to_wait()` has told.

        seconds: since it was asked for.
        outcome: "granted"; "cancelled", also by a timeout, or because the event loop was closed; "closed" by
            `close()`; "failed" if the session was lost, the engine failed, a barrier was broken, or another error came.
        """

    def acquired(self, kind: str, name: str) -> None:
        """A lock, some permits, or a side of a reader-writer lock of a session are held from now on.

        It is not told of primitives of tasks and threads: who takes a free one asks nothing, and nothing is asked where
        it is released.
        """

    def held(self, kind: str, name: str, seconds: float) -> None:
        """A holding is over, of which `acquired()` has told: it was released or lost."""

    def lease_lost(self, kind: str, name: str) -> None:
        """A holding was lost: its holder gets LeaseLost. `held()` tells of its end as well."""

    def engine_call(self, engine: str, operation: str, seconds: float, error: BaseException | None) -> None:
        """A request to the engine is done. Renewals that a thread makes while the loop is blocked are not told.

        engine: "embedded", "memory", "redis", "postgres", "etcd"; of an engine of yours its class, without "Engine".
        operation: the method of the engine contract: "apply", "renew", "read", "look", …
        error: why it failed: an EngineError, a SessionLost; a CancelledError if nobody waits for it any more.
        """

    def session_opened(self, session: str) -> None:
        """A session was opened for the first time."""

    def session_reopened(self, session: str) -> None:
        """A session has opened again after a loss."""

    def session_lost(self, session: str, why: Exception) -> None:
        """A session was lost, with all that it held."""

    def session_closed(self, session: str) -> None:
        """A session was closed by its program."""

    def session_evicted(self, session: str, by: str) -> None:
        """A session of this process has ended another one. session: the id of that one. by: who has asked for it."""
