"""Tables in a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

__all__ = ["new_table", "print_table"]

_WIDE = 1000  # characters; a table takes what it needs


def new_table(*titles: str, texts: int = 1) -> Table:
    """A table without lines, whose columns after the first ``texts`` hold figures and are aligned right."""
    table = Table(*titles, box=None)
    for column in table.columns[texts:]:
        column.justify = "right"
    return table


def print_table(table: Table) -> None:
    """Print a table whose names and figures stay whole; a narrow terminal wraps the lines."""
    Console(width=_WIDE).print(table)
