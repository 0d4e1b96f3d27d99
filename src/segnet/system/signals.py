"""SIGTERM as a request to finish: what is in hand is completed, and the command ends with its own exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Any

__all__ = ["TERMINATED", "noting_termination"]

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended, as shells report it: 143."""


@contextmanager
def noting_termination() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM only be noted in the block, once: a second one does what it did before the block.

    Yields:
        A function that returns whether it arrived; always False outside of the main thread, which alone gets signals.
    """
    noted = Event()
    before: Any = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(number, before)

    try:
        signal.signal(signal.SIGTERM, note)
    except ValueError:  # not the main thread
        yield noted.is_set
        return
    try:
        yield noted.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
