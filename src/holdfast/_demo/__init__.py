"""`holdfast demo`: the primitives in one event loop, then in four processes of which one is killed."""

import os


def demo() -> int:
    """Show both screens; return the exit code, 1 if a check failed."""
    from . import tasks

    failed = tasks.demo()
    if os.name == "posix":
        from . import processes

        print()  # noqa: T201
        failed |= processes.demo()
    return failed
