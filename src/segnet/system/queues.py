"""Background threads that read or write while the model runs; a bounded queue limits the memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from queue import Full, Queue
from threading import Event, Thread, get_native_id
from types import TracebackType
from typing import Generic, Self, TypeVar

__all__ = ["Background", "prefetch"]

Item = TypeVar("Item")

_CAPACITY = 4
_POLL_S = 0.1  # seconds between checks whether the other side has stopped


@dataclass(frozen=True)
class _End:
    """Marks the end of the queue."""

    error: BaseException | None = None


def prefetch(items: Generator[Item]) -> Generator[Item]:
    """The items, each produced in a thread while the caller works on earlier ones; at most four wait.

    An error in ``items`` is raised at its place. When the caller stops, ``items`` is closed and the thread ends.
    """
    queue: Queue[Item | _End] = Queue(_CAPACITY)
    stopped = Event()
    run = copy_context().run
    thread = Thread(target=run, args=(_fill, queue, items, stopped), name="segnet-read", daemon=True)
    thread.start()
    try:
        while not isinstance(item := queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stopped.set()
        thread.join()


def _fill(queue: Queue[Item | _End], items: Generator[Item], stopped: Event) -> None:
    try:
        for item in items:
            _put(queue, item, stopped)
            if stopped.is_set():
                break
        _put(queue, _End(), stopped)
    except BaseException as error:  # raised again in the caller's thread
        _put(queue, _End(error), stopped)
    finally:
        items.close()


def _put(queue: Queue[Item | _End], item: Item | _End, stopped: Event) -> None:
    while not stopped.is_set():
        try:
            queue.put(item, timeout=_POLL_S)
            return
        except Full:
            continue


class Background(Generic[Item]):
    """Calls ``work`` with one item after the other in a thread; at most four wait.

    The end of the block waits for all items; if Ctrl-C comes while it waits, only for the item in hand. An error in the
    work is raised by the next ``put``, or at the end; an error or Ctrl-C in the block itself takes precedence.
    """

    def __init__(self, work: Callable[[Item], None]) -> None:
        self._work = work
        self._queue: Queue[Item | _End] = Queue(_CAPACITY)
        self._error: BaseException | None = None
        self._done = Event()
        self._thread = Thread(target=copy_context().run, args=(self._run,), name="segnet-write", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._finish()
        except BaseException as interrupt:  # nobody may close what the thread still writes to
            self._error = interrupt
            self._finish()
            raise
        if error is None:
            self._raise_error()

    def put(self, item: Item) -> None:
        """Add an item; waits while the queue is full."""
        self._raise_error()
        self._queue.put(item)

    def _finish(self) -> None:
        self._queue.put(_End())
        self._done.wait()  # Python 3.11 takes a thread for ended once Ctrl-C came during join
        self._thread.join()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        _lower_priority()
        while not isinstance(item := self._queue.get(), _End):
            try:
                if self._error is None:  # else drain the queue, so that ``put`` never waits forever
                    self._work(item)
            except BaseException as error:  # raised again in the caller's thread
                self._error = error
        self._done.set()


def _lower_priority() -> None:
    """Lower the priority of this thread and of its child threads below the model's; only Linux can."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), 10)
