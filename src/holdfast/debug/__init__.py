"""Who holds what, who waits for what, and why nothing moves: for all tasks and threads of this process."""

from .look import dump as dump
from .story import Deadlock as Deadlock
from .story import Dump as Dump
from .story import Holder as Holder
from .story import Place as Place
from .story import Step as Step
from .story import WaitedFor as WaitedFor
from .story import Waiter as Waiter
