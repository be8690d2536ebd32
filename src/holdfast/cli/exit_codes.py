"""The exit codes, besides those of CMD. They are those of timeout(1), env(1) and the shells. docs/cli.md lists them."""

OK = 0
NO = 1
"""The event is not set, or nobody uses the name."""
DEADLOCK = 1
"""There is a deadlock."""
USAGE = 2
"""The command line was wrong."""
LEASE_LOST = 123
"""The lease was lost while CMD ran, and CMD was ended."""
TIMED_OUT = 124
"""The time of --timeout has passed."""
FAILED = 125
"""holdfast itself failed: the engine cannot be used, or the name is in use for something else."""
NOT_EXECUTABLE = 126
NOT_FOUND = 127
BY_SIGNAL = 128
"""Plus the number of the signal by which CMD, or holdfast while it waited, was ended."""
READER_GONE = BY_SIGNAL + 13
"""Nobody reads stdout any more. Other programs are ended by SIGPIPE then; Python ignores it, and Windows has none."""
