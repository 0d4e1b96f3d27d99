"""PyAV, which reads and writes video: imported on first use, with readable errors."""

from __future__ import annotations

from types import ModuleType

from segnet.system.packages import importing

__all__ = ["import_av", "reason"]


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingPackageError: it is not installed.
    """
    with importing("av", "video"):
        import av
    return av


def reason(error: BaseException) -> str:
    """The message of an error, without its number and file name."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
