"""The exit codes besides CMD's own, chosen like those of timeout(1), env(1) and the shells. In docs/cli.md."""

OK = 0
NO = 1
"""The event is not set, or nobody uses the name."""
USAGE = 2
"""The command line was wrong."""
LEASE_LOST = 123
"""The lease was lost while CMD ran, and CMD was ended."""
TIMED_OUT = 124
"""It was not granted within --timeout."""
FAILED = 125
"""holdfast itself failed: the engine cannot be used, the name is in use for something else."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
BY_SIGNAL = 128
"""Plus the signal's number: CMD, or holdfast while it waited, was ended by it."""
READER_GONE = BY_SIGNAL + 13
"""Nobody reads stdout any more: what SIGPIPE does to other programs. (Python ignores it, and Windows has none.)"""
