"""Suppresses what libraries print and warn, in Python or in C++."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

__all__ = ["suppress_output"]


@contextmanager
def suppress_output() -> Iterator[None]:
    """Discard warnings and prints inside the context; exceptions pass through.

    Libraries in C++ write to the process's own standard output and error, which are redirected as well: meanwhile
    other threads cannot print either.
    """
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
        yield


@contextmanager
def _redirect(descriptor: int, target: int) -> Iterator[None]:
    original = os.dup(descriptor)
    os.dup2(target, descriptor)
    try:
        yield
    finally:
        os.dup2(original, descriptor)
        os.close(original)
