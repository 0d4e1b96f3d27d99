"""Progress of long work, on standard error: a bar on a terminal, elsewhere a line every 30 seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

__all__ = ["ProgressBar", "progress_bar"]

_SECONDS_BETWEEN_LINES = 30.0


class ProgressBar:
    """A bar with counts and the time left on a terminal, or a line every 30 seconds elsewhere.

    Args:
        text: the description before the bar, until ``advance`` gives another.
        unit: what is counted, such as step; shown where the number of all is unknown.
    """

    def __init__(self, text: str, *, unit: str = "") -> None:
        self._text = text
        self._unit = unit
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._total: int | None = 0
        self._done = self._first = 0
        self._started_at = self._last_line_at = time.monotonic()

    def start(self, *, total: int | None, done: int = 0) -> None:
        """Show the bar with ``done`` of ``total`` steps finished. ``total`` is None where the number is unknown."""
        self._total, self._done, self._first = total, done, done
        self._started_at = self._last_line_at = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
                TimeElapsedColumn(), TimeRemainingColumn(), console=self._console,
            )  # fmt: skip
            self._bar.add_task(self._text, total=total, completed=done)
            self._bar.start()

    def advance(self, text: str = "", *, by: int = 1) -> None:
        """Count ``by`` more finished steps."""
        self._done += by
        self._text = text or self._text
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=by, description=self._text)
        elif time.monotonic() - self._last_line_at > _SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            print(f"{self._text}  {self._counts()}", file=sys.stderr, flush=True)

    def say(self, line: str) -> None:
        """Print a line that stays above the bar."""
        if self._bar is not None:
            self._console.print(line, highlight=False, markup=False)
        else:
            ended = self._total is None or self._done >= self._total
            print(line if ended else f"{line}  {self._left()} left", file=sys.stderr, flush=True)

    def update(self, done: int, total: int) -> None:
        """Show ``done`` of ``total``, as functions report progress; the first call of a pass shows the bar."""
        if total != self._total or done < self._done:
            self.stop()
            self.start(total=total)
        self.advance(by=done - self._done)

    def stop(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _counts(self) -> str:
        if self._total is None:
            return f"{self._unit} {self._done}" if self._unit else f"{self._done} done"
        return f"{self._done}/{self._total}  {self._left()} left"

    def _left(self) -> str:
        finished = max(1, self._done - self._first)
        seconds = round((time.monotonic() - self._started_at) / finished * max(0, (self._total or 0) - self._done))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


@contextmanager
def progress_bar(text: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
    """Show a bar within a ``with`` block, and remove it whatever happens.

    Args:
        text: the description before the bar.
        total: number of all steps; None: the first progress says it, and there is no bar before.

    Yields:
        A progress callback, called with (steps done, all steps) as library functions call it.
    """
    bar = ProgressBar(text)
    if total is not None:
        bar.start(total=total)
    try:
        yield bar.update
    finally:
        bar.stop()
