"""How long the imports take, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from statistics import median

_PROGRAM = """
from time import process_time
start = process_time()
import asyncio
between = process_time()
import holdfast
print(between - start, process_time() - between)
"""


def import_times(rounds: int) -> tuple[float, float]:
    """The median seconds of CPU time of `import asyncio`, and of `import holdfast` after it."""
    runs = [
        subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(rounds)
    ]
    return median(float(run[0]) for run in runs), median(float(run[1]) for run in runs)
