"""A disk that is full, for what is written meanwhile."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def little_room() -> Iterator[None]:
    """Files may grow to 4 KB, as on a disk that is full then; not for longer than the writing, since what pytest prints
    may go to a file as well."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
