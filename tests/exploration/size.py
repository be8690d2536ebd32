"""The size of the searches."""

import os

import pytest

SIZES = ("small", "large", "deep")
SIZE = os.environ.get("HOLDFAST_EXPLORE") or "small"
MINUTES = float(os.environ.get("HOLDFAST_EXPLORE_MINUTES") or 60)
"""For all searches of the size deep together."""

if SIZE not in SIZES:
    raise pytest.UsageError(f"HOLDFAST_EXPLORE must be one of {', '.join(SIZES)}, not {SIZE}")

PROCESSES = (os.cpu_count() or 1) if SIZE == "deep" and hasattr(os, "fork") else 1
"""That share each search. The smaller sizes are run by several processes of pytest, which costs less CPU time."""
