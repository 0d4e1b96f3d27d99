"""Threads: how many compute, and those that read files while the model runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from segnet.errors import ConfigError

Item = TypeVar("Item")
Read = TypeVar("Read")

__all__ = ["available_cores", "check_threads", "map_ahead", "read_ahead"]

_MOST = 1024  # many more crash the libraries instead of raising an error


def available_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_threads(threads: int) -> None:
    """Refuse a number of compute threads that no library can start; 0 means its default.

    Raises:
        ConfigError: The number is below 0 or above 1024.
    """
    if not 0 <= threads <= _MOST:
        raise ConfigError(f"threads={threads} is not possible; give 1 to {_MOST}, or 0 for the library's default")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], *, ahead: int = 4, threads: int = 2
) -> Iterator[tuple[Item, Future[Read]]]:
    """Items in order with a future of their content, which is read in a thread while the caller works.

    Args:
        items: what to read.
        read: called in a thread; its errors are raised by ``result()`` of the future.
        ahead: number of items that are read before they are requested; bounds the memory.
        threads: number of items that are read at the same time.
    """
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: list[tuple[Item, Future[Read]]] = []
        try:
            for item in items:
                waiting.append((item, pool.submit(copy_context().run, read, item)))
                if len(waiting) > ahead:
                    yield waiting.pop(0)
            yield from waiting
        except GeneratorExit:  # nobody wants the others
            for _, future in waiting:
                future.cancel()
            raise


def map_ahead(items: Iterable[Item], work: Callable[[Item], Read], *, threads: int) -> Iterator[tuple[Item, Read]]:
    """Items in order with what ``work`` makes of them: in so many threads, or with one when each is requested."""
    if threads == 1:
        for item in items:
            yield item, work(item)
    else:
        for item, made in read_ahead(items, work, ahead=threads, threads=threads):
            yield item, made.result()
