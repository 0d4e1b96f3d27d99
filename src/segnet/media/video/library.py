"""PyAV, the one library that reads and writes video: imported when it is needed, and its errors in words."""

from __future__ import annotations

from types import ModuleType

from segnet.errors import MissingPackageError

__all__ = ["import_av", "reason"]


def import_av() -> ModuleType:
    """PyAV.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError("av", "video") from error
    return av


def reason(error: BaseException) -> str:
    """What went wrong, without the error's number and the file's name."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
