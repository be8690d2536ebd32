"""The error of a barrier for which tasks and threads wait."""

from __future__ import annotations

import asyncio
import threading


class BrokenBarrierError(asyncio.BrokenBarrierError, threading.BrokenBarrierError):
    """The barrier is broken. This is asyncio's and threading's error of that name at the same time."""
