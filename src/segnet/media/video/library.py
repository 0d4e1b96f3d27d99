"""PyAV, which reads and writes video: imported on first use, with readable errors."""

from __future__ import annotations

from types import ModuleType

from segnet.errors import MissingPackageError

__all__ = ["import_av", "reason"]


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("av", "video") from error
    return av


def reason(error: BaseException) -> str:
    """The message of an error, without its number and file name."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
