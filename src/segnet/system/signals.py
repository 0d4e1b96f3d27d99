"""SIGTERM and Ctrl-C as requests to finish: what is in hand is completed before the command ends."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event
from types import FrameType
from typing import Any

__all__ = ["TERMINATED", "deferring_interrupt", "exiting_on_termination", "noting_termination", "terminate_on_hangup"]

TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that SIGTERM ended, as shells report it: 143."""


@contextmanager
def noting_termination() -> Iterator[Callable[[], bool]]:
    """Let SIGTERM only be noted in the block, once: a second one does what it did before the block.

    Yields:
        A function that returns whether it arrived; always False outside of the main thread, which alone gets signals.
    """
    with _noting(signal.SIGTERM) as noted:
        yield noted


@contextmanager
def deferring_interrupt() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, where it is raised; a second one is raised at once.

    Where Ctrl-C is ignored, or a program has a handler of its own, that stays.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed in the block.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    with _noting(signal.SIGINT) as noted:
        yield
    if noted():
        raise KeyboardInterrupt


@contextmanager
def exiting_on_termination() -> Iterator[None]:
    """SIGTERM in the block ends the process with ``TERMINATED``, after the blocks around it have cleaned up."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(TERMINATED)

    with _handling(signal.SIGTERM, leave):
        yield


def terminate_on_hangup() -> None:
    """From now on SIGHUP, which the system sends when the terminal closes, does what SIGTERM does, once.

    Where it is ignored (``nohup``), or a program has a handler of its own, that stays. Outside of the main thread
    nothing changes: it alone gets signals.
    """
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        with suppress(ValueError):  # not the main thread
            signal.signal(signal.SIGHUP, _terminate)


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # the shell and the system may both send it
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def _noting(signal_number: signal.Signals) -> Iterator[Callable[[], bool]]:
    noted = Event()
    before: Any = signal.getsignal(signal_number)

    def note(number: int, frame: FrameType | None) -> None:
        noted.set()
        signal.signal(number, before)

    with _handling(signal_number, note):
        yield noted.is_set


@contextmanager
def _handling(number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give a signal to ``handler`` in the block; outside of the main thread nothing changes."""
    before: Any = signal.getsignal(number)
    try:
        signal.signal(number, handler)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(number, before)
