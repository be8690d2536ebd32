"""`holdfast demo`: the primitives in one event loop, then in four processes of which one is killed."""

import os


def demo(url: str | None = None) -> int:
    """Show both screens; return the exit code, 1 if a check failed.

    url: where the processes of the second one meet; by default in a directory of their own.
    """
    from . import tasks

    failed = tasks.demo()
    if os.name == "posix":
        from . import processes

        print()  # noqa: T201
        failed |= processes.demo(url)
    return failed
