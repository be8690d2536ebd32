"""A session as it is seen from here. `Session` is one: it stands above, as it has `sync`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from holdfast.cluster.deadlock import Deadlock
from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.engines.session_info import SessionInfo
from holdfast.cluster.errors import SessionLost
from holdfast.cluster.inspection import Inspection
from holdfast.cluster.overview import OnError
from holdfast.cluster.primitives.barrier import Barrier
from holdfast.cluster.primitives.condition import Condition
from holdfast.cluster.primitives.event import Event
from holdfast.cluster.primitives.lock import Lock
from holdfast.cluster.primitives.rate_limiter import RateLimiter
from holdfast.cluster.primitives.rw_lock import RWLock
from holdfast.cluster.primitives.semaphore import BoundedSemaphore, Semaphore
from holdfast.cluster.session_life.life import Life


class Asynchronous(Protocol):
    """What a SyncSession needs of its session."""

    label: str
    _life: Life

    @property
    def id(self) -> str: ...

    @property
    def over(self) -> SessionLost | None: ...

    @property
    def engine(self) -> Engine: ...

    def _check(self) -> None: ...

    @property
    def _opens_by_itself(self) -> bool: ...

    def _begin_in_child(self) -> None: ...

    async def _open(self) -> None: ...

    async def _close(self) -> None: ...

    def lock(self, name: str) -> Lock: ...

    def rw_lock(self, name: str) -> RWLock: ...

    def semaphore(self, name: str, value: int = 1) -> Semaphore: ...

    def bounded_semaphore(self, name: str, value: int = 1) -> BoundedSemaphore: ...

    def rate_limiter(self, name: str, rate: float, per: float = 1.0, *, burst: int | None = None) -> RateLimiter: ...

    def event(self, name: str) -> Event: ...

    def condition(self, name: str, lock: Lock | None = None) -> Condition: ...

    def barrier(self, name: str, parties: int) -> Barrier: ...

    async def names(self) -> list[str]: ...

    async def inspect(self, name: str) -> Inspection: ...
    async def inspect_all(self, *, on_error: OnError | None = None) -> list[Inspection]: ...

    async def find_deadlocks(
        self,
        names: Iterable[str] | None = None,
        *,
        within: float = ...,
        on_silent: Callable[[SessionInfo], object] | None = None,
        on_error: OnError | None = None,
    ) -> list[Deadlock]: ...

    async def evict(self, id: str, *, reason: str = "", by: str | None = None) -> bool: ...

    async def reopen(self, name: str) -> bool: ...

    async def tidy(self, seconds: float = ...) -> int: ...
