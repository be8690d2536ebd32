"""What holdfast tells of itself to a hook of the program: waits, holdings, calls of the engine, the life of sessions.

    hook             what a hook is told
    installed        the hooks of this process, and how they are told
    periods          a wait and a holding, from the beginning to the end
    metric_names     which names have metrics of their own
    prometheus       a hook for prometheus-client
    opentelemetry    a hook for OpenTelemetry

The tiers use the first three. The last two need an extra each, and are imported by the program alone.
"""

from .hook import Hook as Hook
from .installed import instrument as instrument

# What repr() and tracebacks say is what users import.
Hook.__module__ = instrument.__module__ = __name__
