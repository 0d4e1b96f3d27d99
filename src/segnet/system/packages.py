"""Importing optional packages: one that is missing or broken is reported in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from traceback import walk_tb

from segnet.errors import BrokenPackageError, MissingPackageError, describe_error

__all__ = ["importing"]

# They raise the errors of packages that were built for another version of theirs.
_FOUNDATIONS = frozenset({"torch", "numpy", "lightning_utilities", "segnet", *sys.stdlib_module_names})
_NEED_TORCHVISION = frozenset({"timm", "segmentation_models_pytorch"})


@contextmanager
def importing(package: str, extra: str) -> Iterator[None]:
    """Import a package in this block and nothing else.

        with importing("scipy", "matching"):
            from scipy.spatial import KDTree

    Args:
        package: The name to import, such as ``lightning``.
        extra: The extra of segnet that installs it, such as ``train``.

    Raises:
        MissingPackageError: The package, or one that it needs, is not installed.
        BrokenPackageError: It is installed, and its import fails.
    """
    try:
        yield
    except (MissingPackageError, BrokenPackageError):
        raise
    except Exception as error:  # a package that does not fit the others may raise anything
        missing = _find_missing(error, package)
        if missing:
            raise MissingPackageError.of(missing, extra) from error
        culprit = _find_culprit(error) or package
        raise BrokenPackageError.of(package, culprit, describe_error(error), _remedy(package, culprit)) from error


def _find_missing(error: Exception, package: str) -> str:
    """Name of the package that is not installed; empty if the import failed in another way."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    top, _, below = (error.name or package).partition(".")
    return "" if below and top != package else top  # a part of another package: that one has the wrong version


def _find_culprit(error: Exception) -> str:
    """The package whose import failed: the innermost one that does not merely raise the error."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)][2:]  # the first two: ``importing`` and its block
    names = [str(frame.f_globals.get("__name__", "")).partition(".")[0] for frame in frames]
    return next((name for name in reversed(names) if name and name not in _FOUNDATIONS), "")


def _remedy(package: str, culprit: str) -> str:
    if culprit != "torchvision":
        return f"run: pip install --force-reinstall {culprit.replace('_', '-')}"
    if package not in _NEED_TORCHVISION:
        return f"it was built for another torch than {_torch()}, and is not needed here; run: pip uninstall torchvision"
    return (
        f"it was built for another torch than {_torch()}; run: pip uninstall torchvision, and install its build for "
        "your torch from the same index as torch, such as --index-url https://download.pytorch.org/whl/cpu"
    )


def _torch() -> str:
    try:
        return f"the installed {version('torch')}"
    except PackageNotFoundError:
        return "the installed one"
