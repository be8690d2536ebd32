"""Run other people's suites as they are and with holdfast in asyncio's place, and demand the same, test by test.

    python -m tests.third_party [--only NAME ...] [--freeze]

Run by `make third-party` on each Python. The environments and the logs of pytest are below build/third-party.
With HOLDFAST_PURE_PYTHON=1 the twin in Python is run, and nothing of that is written into the docs.
To add a library: a row in libraries.py, and a run with --freeze on each Python, which takes the newest versions of what
the tests need, in place of those in constraints/, and notes them there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from .environments import PURE, PYTHON, NotRunError, environment, wheel
from .libraries import LIBRARIES, Library
from .outcomes import compare
from .report import keep, row, tell, write_page


def main() -> int:
    names = [library.name for library in LIBRARIES]
    parser = argparse.ArgumentParser(prog="python -m tests.third_party")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--freeze", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        holdfast = wheel(Path(folder))
        bad = [
            library.name
            for library in LIBRARIES
            if library.name in arguments.only and not is_green(library, holdfast, arguments.freeze)
        ]
    print(f"not green: {', '.join(bad)}" if bad else "all green")
    return 1 if bad else 0


def is_green(library: Library, holdfast: Path, freeze: bool) -> bool:
    """Run the suite of a library with this wheel of holdfast, tell what came out, and keep it."""
    started = time.monotonic()
    print(f"{library.name} {library.version} on Python {PYTHON}", flush=True)
    try:
        comparison = compare(environment(library, holdfast, freeze).run, library.expected)
    except NotRunError as error:
        print(f"  {error}", flush=True)
        return False
    tell(library, comparison)
    print(f"  {time.monotonic() - started:.0f} s", flush=True)
    if not PURE:
        keep({library.name: row(library, comparison)})
        write_page()
    return not comparison.complaints


if __name__ == "__main__":
    sys.exit(main())
