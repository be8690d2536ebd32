"""Who holds what, who waits for what, and why nothing moves: for all tasks and threads of this process."""

from .errors import DeadlockError as DeadlockError
from .foreign_release import ForeignReleaseWarning as ForeignReleaseWarning
from .look import dump as dump
from .signals import on_signal as on_signal
from .story import Deadlock as Deadlock
from .story import Dump as Dump
from .story import Holder as Holder
from .story import Place as Place
from .story import Step as Step
from .story import WaitedFor as WaitedFor
from .story import Waiter as Waiter
from .watching import Watch as Watch
from .watching import watch as watch

# repr(), tracebacks and pickles name the module that users import.
for _public in (Deadlock, DeadlockError, Dump, ForeignReleaseWarning, Holder, Place, Step, WaitedFor, Waiter, Watch):
    _public.__module__ = __name__
del _public

__all__ = [
    "Deadlock",
    "DeadlockError",
    "Dump",
    "ForeignReleaseWarning",
    "Holder",
    "Place",
    "Step",
    "WaitedFor",
    "Waiter",
    "Watch",
    "dump",
    "on_signal",
    "watch",
]
