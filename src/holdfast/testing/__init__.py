"""Every schedule of a piece of asyncio code, within bounds, with cancellation as a choice."""

from .decorator import explored as explored
from .exploration import explore as explore
from .report import Counterexample as Counterexample
from .report import ExplorationError as ExplorationError
from .report import Report as Report
from .run import Run as Run

__all__ = ["Counterexample", "ExplorationError", "Report", "Run", "explore", "explored"]

# What repr(), tracebacks and pickles say is what users import.
for _public in (Counterexample, ExplorationError, Report, Run):
    _public.__module__ = __name__
