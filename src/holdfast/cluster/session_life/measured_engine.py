"""An engine whose calls the hooks of the program are told of. A session that has hooks to tell calls it so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from holdfast.cluster.engines.contract import Engine
from holdfast.cluster.errors import EngineError, SessionLost
from holdfast.instrumentation import installed

T = TypeVar("T")
OPERATIONS = frozenset(
    {
        "apply",
        "close",
        "dead",
        "describe",
        "evict",
        "evictions",
        "look",
        "names",
        "old",
        "open",
        "read",
        "remove",
        "renew",
    }
)
"""The methods of the contract that are awaited."""
FAILURES = EngineError, SessionLost, asyncio.CancelledError
"""Other errors are those of a change, which refuses what it finds: then the engine has done its work."""


class MeasuredEngine:
    """All of the engine; of each call of `OPERATIONS` the hooks are told."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._name = type(engine).__name__.removesuffix("Engine").lower()

    def __repr__(self) -> str:
        return repr(self._engine)

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._engine, name)
        return partial(self._measured, name, attribute) if name in OPERATIONS else attribute

    async def _measured(self, operation: str, call: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        began = time.perf_counter()
        try:
            result = await call(*args, **options)
        except BaseException as exc:
            self._tell(operation, began, exc if isinstance(exc, FAILURES) else None)
            raise
        self._tell(operation, began, None)
        return result

    def _tell(self, operation: str, began: float, error: BaseException | None) -> None:
        seconds = time.perf_counter() - began
        installed.tell(installed.hooks, lambda hook: hook.engine_call(self._name, operation, seconds, error))
