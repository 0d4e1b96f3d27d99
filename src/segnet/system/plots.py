"""Plots that Matplotlib draws into a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segnet.errors import ConfigError
from segnet.system.files import replacing
from segnet.system.packages import importing

__all__ = ["require_plottable", "save_figure"]

_SUFFIXES = (".png", ".svg", ".pdf")


def require_plottable(path: Path) -> None:
    """Fail before the work, not after.

    Raises:
        MissingPackageError: Matplotlib is not installed.
        ConfigError: the path has another suffix than .png, .svg or .pdf.
    """
    with importing("matplotlib", "plot"):
        import matplotlib.figure  # noqa: F401
    if path.suffix not in _SUFFIXES:
        raise ConfigError(f"--plot {path} has another ending than .png, .svg or .pdf; give a name that ends so")


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure of Matplotlib in the format of the path's suffix.

    Raises:
        OutputError: the file cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:], dpi=150)
