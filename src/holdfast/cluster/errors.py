"""What can go wrong in the cluster tier, besides misuse."""


class SessionLost(RuntimeError):  # noqa: N818  # the issue at hand, as in asyncio's CancelledError, is what happened
    """The session is over: it was closed, evicted, or its engine's data is gone. What waited in it waits no more."""


class LeaseLost(SessionLost):
    """Something that was held is not held any more, and somebody else may hold it by now."""


class EngineError(OSError):
    """The engine could not do what it was asked for, and did nothing."""


class FormatError(EngineError):
    """What is stored was written by somebody else, or by another version of holdfast, and this one does not know it."""


class NameConflict(ValueError):  # noqa: N818  # see above
    """The name is in use for another kind of primitive, or for one with another value."""
