"""What a benchmark says on stderr while it runs."""

from __future__ import annotations

import sys
from time import perf_counter


def progress(start: float, what: str) -> None:
    """Say what is being done, behind the seconds since `start`."""
    print(f"{perf_counter() - start:4.0f} s  {what}", file=sys.stderr, flush=True)
