"""Threads: how many compute, and those that read files while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from segnet.errors import ConfigError

Item = TypeVar("Item")
Read = TypeVar("Read")

__all__ = ["check_threads", "read_ahead"]

_MOST = 1024  # many more crash the libraries instead of raising an error


def check_threads(threads: int) -> None:
    """Refuse a number of compute threads that no library can start; 0 means its default.

    Raises:
        ConfigError: The number is below 0 or above 1024.
    """
    if not 0 <= threads <= _MOST:
        raise ConfigError(f"threads={threads} is not possible; give 1 to {_MOST}, or 0 for the library's default")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], *, ahead: int = 4
) -> Iterator[tuple[Item, Future[Read]]]:
    """Items in order with a future of their content, which is read in a thread while the caller works.

    Args:
        items: what to read.
        read: called in a thread; its errors are raised by ``result()`` of the future.
        ahead: number of items that are read before they are requested; bounds the memory.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: list[tuple[Item, Future[Read]]] = []
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > ahead:
                yield waiting.pop(0)
        yield from waiting
