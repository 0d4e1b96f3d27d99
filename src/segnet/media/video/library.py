"""PyAV, which reads and writes video: imported on first use, with readable errors."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from segnet.system.packages import importing

if TYPE_CHECKING:
    from av.video.reformatter import VideoReformatter

__all__ = ["import_av", "location", "new_reformatter", "reason"]


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        MissingPackageError: it is not installed.
    """
    with importing("av", "video"):
        import av
    return av


def location(path: str | Path) -> str:
    """A file as PyAV opens it: FFmpeg takes what stands before a colon in a relative path for a protocol."""
    return str(Path(path).absolute())


def new_reformatter() -> VideoReformatter:
    """Converts frames to other pixel formats; one for many frames takes a fraction of the time of one for each."""
    reformatter: VideoReformatter = import_av().video.reformatter.VideoReformatter()
    return reformatter


def reason(error: BaseException) -> str:
    """The message of an error, without its number and file name."""
    return str(getattr(error, "strerror", None) or error).strip() or type(error).__name__
