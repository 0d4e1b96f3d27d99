"""Errors that a user can fix. Everything else that goes wrong is a bug and keeps its traceback.

SegNetError            one sentence: what was given, what was expected, what to do (exit code 2)
├── ConfigError        a setting, a name or a flag that does not fit
├── DataError          an image, a mask or a data set that cannot be used
├── ModelError         a model file that is not ours, damaged or of another class count
├── OutputError        a file or folder that cannot be written
├── ShapeError         tensors whose shapes do not belong together
├── TrainingError      a run that cannot go on, such as a loss that is not finite
├── MissingPackageError     an optional library that is not installed
└── BrokenPackageError      a library that is installed and cannot be imported
"""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import islice
from typing import Self

__all__ = [
    "BrokenPackageError",
    "ConfigError",
    "DataError",
    "MissingPackageError",
    "ModelError",
    "OutputError",
    "SegNetError",
    "ShapeError",
    "TrainingError",
    "describe_count",
    "describe_error",
    "first_line",
    "list_names",
    "one_line",
]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")  # all but the tab


class SegNetError(Exception):
    """A user error; its text is one sentence that says what to do.

    Each kind is made of its text alone, so that pickle and PyTorch can make it again in another process.
    """


class ConfigError(SegNetError, ValueError):
    """A setting, a name or a flag has a value that cannot be used."""


class DataError(SegNetError, ValueError):
    """An image, a mask or a data set cannot be used as it is."""


class ModelError(SegNetError, ValueError):
    """A model file is not ours, is damaged, or does not fit what is asked of it."""


class OutputError(SegNetError, OSError):
    """A file or folder cannot be written."""


class ShapeError(SegNetError, ValueError):
    """Tensors were given whose shapes do not belong together."""


class TrainingError(SegNetError, RuntimeError):
    """Training cannot go on."""


class MissingPackageError(SegNetError, ImportError):
    """An optional library is needed and not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> Self:
        """The error of a library.

        Args:
            package: the name to import, such as ``lightning``.
            extra: the extra of this package that brings it, such as ``train``.
        """
        return cls(
            f"{package} is not installed; run: pip install 'segnet[{extra}]', "
            f"or in a clone: pip install -c constraints.txt -e '.[{extra}]'"
        )


class BrokenPackageError(SegNetError, ImportError):
    """A library is installed, and importing it fails."""

    @classmethod
    def of(cls, package: str, culprit: str, reason: str, remedy: str) -> Self:
        """The error of a library.

        Args:
            package: The name that was imported, such as ``lightning``.
            culprit: The package whose import failed, which may be another.
            reason: The error of the import.
            remedy: What to do.
        """
        where = f"{package} cannot be imported" + (f" because of {culprit}" if culprit != package else "")
        return cls(f"{where} ({reason}); {remedy}")


def one_line(text: BaseException | str) -> str:
    """A text, or that of an error, as one line that no terminal obeys.

    Line breaks in it, such as those of a file's name, become blanks, and other control characters their escapes.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", " ".join(str(text).splitlines()))


def first_line(error: BaseException) -> str:
    """The first line of the text of an error, since libraries add details of many lines; its kind if it has no text."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def describe_error(error: BaseException) -> str:
    """The kind of an error, and the first line of its text if it has one: "ValueError: no such name"."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def describe_count(number: int, noun: str) -> str:
    """A number with its noun: "1 mask", "2 masks"."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def list_names(names: Collection[str], *, most: int = 5) -> str:
    """The first names for a message, and how many more there are; "none" if there is none."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(islice(names, most)) or "none") + more
