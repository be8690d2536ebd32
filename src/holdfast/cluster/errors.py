"""The errors and warnings of the cluster tier, besides misuse."""


class SessionLost(RuntimeError):  # noqa: N818  # the issue at hand, as in asyncio's CancelledError, is what happened
    """The session is over: it was closed or evicted, or its engine's data is gone. Its tasks do not wait any more."""


class LeaseLost(SessionLost):
    """What was held is not held any more, and another session may hold it by now."""


class EngineError(OSError):
    """The engine could not do what it was asked for, and has done nothing."""


class FormatError(EngineError):
    """What is stored was written by another program or another version of holdfast. This version does not know it."""


class NameConflict(ValueError):  # noqa: N818  # see above
    """The name is in use for another kind of primitive, or for the same kind with another value."""


class PrivateTmpWarning(RuntimeWarning):
    """This process has a /tmp of its own, so its locks in the default directory are not those of other programs."""
