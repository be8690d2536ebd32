"""What variables of the environment begin when holdfast is imported."""

from __future__ import annotations

import os
import warnings

from .foreign_release import notes
from .signals import on_signal, signal_of
from .watching import watch

ON_SIGNAL = "HOLDFAST_DUMP_ON_SIGNAL"
DEBUG = "HOLDFAST_DEBUG"
FOREIGN_RELEASE = "HOLDFAST_WARN_FOREIGN_RELEASE"


def begin() -> None:
    """Do what the variables say. What cannot be had is a warning: the program runs all the same."""
    name = os.environ.get(ON_SIGNAL)
    if name:
        try:
            on_signal(signal_of(name))
        except (ValueError, OSError) as exc:
            warnings.warn(f"{ON_SIGNAL}={name} has no effect: {exc}", RuntimeWarning, stacklevel=3)
    if os.environ.get(FOREIGN_RELEASE, "0") not in ("", "0"):
        notes.begin()
    debug = os.environ.get(DEBUG, "0")
    if debug not in ("", "0"):
        try:
            watch(raises=True)
        except RuntimeError as exc:  # there are no threads here, as in a browser
            warnings.warn(f"{DEBUG}={debug} has no effect: {exc}", RuntimeWarning, stacklevel=3)
