"""Tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["print_table"]

_WIDE = 1000  # characters; a table takes what it needs


def print_table(table: Table) -> None:
    """Print a table whose names and figures stay whole; a narrow terminal wraps the lines."""
    Console(width=_WIDE).print(table)
