"""The table of class shares that follows the predictions of images and videos."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["print_shares"]


def print_shares(shares: Mapping[str, float]) -> None:
    """Print the share of the pixels that each class has, the largest first."""
    table = Table("class", "share of pixels", box=None)
    table.columns[1].justify = "right"
    for name in sorted(shares, key=lambda name: -shares[name]):
        table.add_row(escape(name), f"{shares[name]:.1%}")
    Console().print(table)
