"""Suppresses what libraries print and warn, in Python or in C++."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from threading import Lock

__all__ = ["suppress_output"]

_lock = Lock()
_blocks = 0  # that are running, in all threads
_redirections = ExitStack()  # made by the first of them, undone by the last


@contextmanager
def suppress_output() -> Iterator[None]:
    """Discard warnings and prints inside the context; exceptions pass through.

    Libraries in C++ write to the process's own standard output and error, which are redirected as well: meanwhile
    other threads cannot print either.
    """
    global _blocks
    with _lock:
        if not _blocks:
            _redirect_all()
        _blocks += 1
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                _redirections.close()


def _redirect_all() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as stack:
        null = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        for descriptor in (1, 2):
            stack.enter_context(_redirect(descriptor, null.fileno()))
        stack.enter_context(redirect_stdout(null))
        stack.enter_context(redirect_stderr(null))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        _redirections.push(stack.pop_all())


@contextmanager
def _redirect(descriptor: int, target: int) -> Iterator[None]:
    original = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        os.dup2(original, descriptor)
        os.close(original)
