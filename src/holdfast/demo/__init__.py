"""`holdfast demo`: the primitives in one event loop, and then in four processes, one of which is killed."""

import os


def demo(url: str | None = None) -> int:
    """Show both screens; return the exit code, 1 if a check failed.

    url: the engine of the second screen. The default is one in a temporary directory.
    """
    from . import tasks

    failed = tasks.demo()
    if os.name == "posix":
        from . import processes

        print()  # noqa: T201
        failed |= processes.demo(url)
    if not failed:
        print("\nWhat next: docs/tutorial.md goes from one event loop to several machines, and")  # noqa: T201
        print("'holdfast lock NAME -- CMD' keeps a command from running twice at once.")  # noqa: T201
    return failed
