"""Time that each stage of a pipeline takes, also where its stages run in several threads.

Code marks its stages with ``stage``, which costs nothing worth noting while nobody measures. ``StageTimes.measure``
collects them for a block, and for the threads of ``system.queues`` that are started in it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

__all__ = ["StageTime", "StageTimes", "stage", "staged"]

Item = TypeVar("Item")


@dataclass
class StageTime:
    """Time of one stage.

    Attributes:
        seconds: on the clock.
        cpu_seconds: of the processor, in the thread of the stage alone; a library's own threads are not included.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0


class StageTimes:
    """Times of all stages so far, in the order in which they first ended.

    Attributes:
        times: by the name of the stage; of a stage that runs in several threads, the sum.
    """

    def __init__(self) -> None:
        self.times: dict[str, StageTime] = {}
        self._lock = Lock()

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Collect the stages of the block."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def add(self, name: str, seconds: float, cpu_seconds: float) -> None:
        """Add to the times of a stage."""
        with self._lock:
            taken = self.times.setdefault(name, StageTime())
            taken.seconds += seconds
            taken.cpu_seconds += cpu_seconds

    def seconds(self, *names: str) -> float:
        """Of these stages together, on the clock."""
        return sum(self.times[name].seconds for name in names if name in self.times)


_CURRENT: ContextVar[StageTimes | None] = ContextVar("segnet_stages", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Mark the block as part of a stage; stages are not nested."""
    current = _CURRENT.get()
    if current is None:
        yield
        return
    began, cpu = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        current.add(name, time.perf_counter() - began, time.thread_time() - cpu)


def staged(name: str, items: Generator[Item]) -> Generator[Item]:
    """The items, with the production of each marked as a stage."""
    with closing(items):
        while True:
            with stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item
