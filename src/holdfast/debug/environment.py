"""What variables of the environment begin when holdfast is imported."""

from __future__ import annotations

import os
import warnings

from .signals import on_signal, signal_of
from .watching import watch

ON_SIGNAL = "HOLDFAST_DUMP_ON_SIGNAL"
DEBUG = "HOLDFAST_DEBUG"


def begin() -> None:
    """Do what the variables say. A signal that cannot be had is a warning: the program runs all the same."""
    name = os.environ.get(ON_SIGNAL)
    if name:
        try:
            on_signal(signal_of(name))
        except (ValueError, OSError) as exc:
            warnings.warn(f"{ON_SIGNAL}={name} has no effect: {exc}", RuntimeWarning, stacklevel=3)
    if os.environ.get(DEBUG, "0") not in ("", "0"):
        watch(raises=True)
