"""Work that goes on in a thread beside the model's, with a queue between the two that bounds the memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread, get_native_id
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Background", "ahead"]

Item = TypeVar("Item")

_AHEAD = 4
_LOOK = 0.1  # seconds between looks at whether the other side has stopped


@dataclass(frozen=True)
class _End:
    """Comes after the last item."""

    error: BaseException | None = None


def ahead(items: Generator[Item]) -> Generator[Item]:
    """The items, each made in a thread while the caller still works on those before; at most four wait.

    What the making raises comes out at its place. When the caller stops, ``items`` is closed and the thread ends.
    """
    queue: Queue[Item | _End] = Queue(_AHEAD)
    stopped = Event()

    def put(item: Item | _End) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_LOOK)
                return
            except Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
            put(_End())
        except BaseException as error:  # goes on in the caller's thread
            put(_End(error))
        finally:
            items.close()

    thread = Thread(target=fill, name="segnet-read", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


class Background(Generic[Item]):
    """Hands items to ``work`` in a thread, one after the other; at most four wait.

    Leaving the block waits until all is done. What the work raises comes out of the next ``put``, or at the end; an
    error or Ctrl-C in the block itself goes first.
    """

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work = work
        self._queue: Queue[Item | _End] = Queue(_AHEAD)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="segnet-write", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(_End())
        self._thread.join()
        if error is None:
            self._complain()

    def put(self, item: Item) -> None:
        """Wait for room, and leave the item there."""
        self._complain()
        self._queue.put(item)

    def _complain(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        _stand_back()
        while not isinstance(item := self._queue.get(), _End):
            try:
                if self._error is None:  # else: make room, so that nobody waits forever
                    self._work(item)
            except BaseException as error:  # goes on in the caller's thread
                self._error = error


def _stand_back() -> None:
    """Let this thread, and those that it starts, use the time that the model leaves; Linux alone has such threads."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), 10)
