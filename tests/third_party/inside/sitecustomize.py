"""Python runs this as it starts, as its folder is on PYTHONPATH: for a suite, and in each process that a test starts.

So holdfast is in asyncio's place before anything else is imported.
"""

import os

if folder := os.environ.get("THIRD_PARTY_COUNTS"):
    import holdfast_counting

    import holdfast

    holdfast.install()
    holdfast_counting.begin(folder)
