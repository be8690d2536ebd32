"""The primitives for any thread and any event loop of one process: asyncio's API, and threading's as `.sync`."""

from .lock import Lock as Lock

__all__ = ["Lock"]
