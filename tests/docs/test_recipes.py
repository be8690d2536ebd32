"""What the how-to pages have people copy, under every schedule within bounds, with a cancellation at any moment."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import holdfast
from holdfast.testing import explored

HOW_TO = Path(__file__).parents[2] / "docs" / "howto"


def names_of(page: str, function: str = "", **names: Any) -> dict[str, Any]:
    """What the first block of a page defines; or the first one that defines this function."""
    text = (HOW_TO / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(next(block for block in blocks if f"def {function}" in block), names)
    return names


@explored(cancels=1, timers=2)
def test_a_timeout_for_the_wait_alone(run):
    lock = holdfast.Lock()

    async def use():
        try:
            async with asyncio.timeout(5) as limit:
                async with lock:
                    limit.reschedule(None)
                    await asyncio.sleep(6)  # longer than the limit, which has no say here
        except TimeoutError:
            assert limit.expired()

    for name in "ABC":
        run.spawn(use, name=name)
    run.at_end(lambda: not lock.locked())
