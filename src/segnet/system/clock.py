"""The clock of this process, which starts before anything slow is imported."""

from __future__ import annotations

import time

__all__ = ["STARTED", "now"]


def now() -> float:
    """Seconds on a clock that never goes back."""
    return time.monotonic()


STARTED = now()
"""When this module was first imported; the command line imports it first of all."""
