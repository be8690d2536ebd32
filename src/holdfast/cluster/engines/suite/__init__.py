"""The tests that any engine must pass, for the authors of engines. Users import it as `holdfast.testing.engine_suite`.

The promises are those of `holdfast.cluster.engines.contract`, with its numbers. Each file tests some of them;
`EngineSuite` is all of them. A test gets its sessions from `bench.py`, and changes texts by what is in `changes.py`.
"""

from .additions import AdditionPromises
from .evictions import EvictionPromises
from .removal import RemovalPromises
from .sessions import SessionPromises
from .texts import TextPromises
from .wake_ups import WakeUpPromises


class EngineSuite(TextPromises, SessionPromises, WakeUpPromises, EvictionPromises, RemovalPromises, AdditionPromises):
    """Inherit from it, and say how an engine is made."""
