"""Locks on files and folders that end with the process, however it ends.

They are ``flock`` locks of an open file, which the system releases when the process dies: no lock can be stale.
Processes on other machines see them where the network file system passes them on. Where there are no such locks
(Windows, some network drives) ``lock`` returns True and protects nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["lock", "open_locked", "release", "trying_lock"]

_held: set[int] = set()


def lock(descriptor: int) -> bool:
    """Lock an open file or folder for this process alone, until ``release``. Child processes do not inherit the lock.

    Args:
        descriptor: Of the open file. It is closed in child processes that ``fork`` creates.

    Returns:
        Whether no other open file has the lock; True where there are no locks.
    """
    if fcntl is None:
        return True
    _close_in_children()
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    _held.add(descriptor)
    return True


def release(descriptor: int) -> None:
    """Close an open file, and release its lock."""
    _held.discard(descriptor)
    os.close(descriptor)


def open_locked(path: Path, flags: int = os.O_RDONLY) -> int | None:
    """Open a file or folder and lock it.

    Returns:
        The descriptor; None if another open file has the lock, or the path was removed meanwhile.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, flags, 0o666)
    if lock(descriptor):
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
    release(descriptor)
    return None


@contextmanager
def trying_lock(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder for the block if it is free; yields whether it is.

    False also where there are no locks, or the path cannot be opened.
    """
    descriptor = None
    if fcntl is not None:
        with suppress(OSError):
            descriptor = open_locked(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        yield descriptor in _held
    finally:
        if descriptor is not None:
            release(descriptor)


@cache
def _close_in_children() -> None:
    """An open file that a child inherits would keep the lock after the death of this process."""
    os.register_at_fork(after_in_child=_close_held)


def _close_held() -> None:
    while _held:
        with suppress(OSError):
            os.close(_held.pop())
