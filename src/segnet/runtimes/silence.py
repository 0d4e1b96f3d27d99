"""What libraries print unasked, in Python or below it, is held back."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Show neither warnings nor prints inside; what is raised comes through.

    Libraries in C++ write to the process's own standard output and error, which are turned away as well: other threads
    are silent meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123
        for number in (1, 2):
            stack.enter_context(_turned_away(number, nowhere.fileno()))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _turned_away(number: int, nowhere: int) -> Iterator[None]:
    kept = os.dup(number)
    os.dup2(nowhere, number)
    try:
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
