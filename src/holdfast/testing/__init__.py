"""Every schedule of a piece of asyncio code, within bounds, with cancellation as a choice."""

from .decorator import explored as explored
from .report import Counterexample as Counterexample
from .report import ExplorationError as ExplorationError
from .report import Report as Report
from .run import Run as Run
from .search import explore as explore

__all__ = ["Counterexample", "ExplorationError", "Report", "Run", "explore", "explored"]
