"""`python -m holdfast demo`."""

import argparse
import sys

from . import __version__


def main() -> int:
    """Run the command that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m holdfast", description="asyncio's synchronization primitives, drop-in."
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    parser.add_argument("command", choices=["demo"], help="show each primitive at work, checked and timed")
    parser.parse_args()

    from ._demo import demo

    try:
        return demo()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
