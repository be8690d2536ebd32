"""What holdfast tells of itself to a hook of the program: waits, holdings, calls of the engine, the life of sessions.

    hook             what a hook is told
    installed        the hooks of this process, and how they are told
    periods          a wait and a holding, from the beginning to the end
    metric_names     which names have metrics of their own
    prometheus       a hook for prometheus-client
    opentelemetry    a hook for OpenTelemetry

The tiers use the first three. The last two need an extra each, and are loaded when the program first uses them.
"""

from typing import TYPE_CHECKING

from holdfast._hooks import named as named

from .hook import Hook as Hook
from .installed import instrument as instrument

if TYPE_CHECKING:
    from .opentelemetry import OpenTelemetryHook as OpenTelemetryHook
    from .prometheus import PrometheusHook as PrometheusHook

__all__ = ["Hook", "OpenTelemetryHook", "PrometheusHook", "instrument", "named"]
# What repr() and tracebacks say is what users import.
Hook.__module__ = named.__module__ = __name__
instrument.__module__ = "holdfast"


def __getattr__(name: str) -> object:
    """Load the hook of a library when it is first used. Raises ImportError without its extra."""
    if name == "PrometheusHook":
        from .prometheus import PrometheusHook

        return PrometheusHook
    if name == "OpenTelemetryHook":
        from .opentelemetry import OpenTelemetryHook

        return OpenTelemetryHook
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
