"""What a word on the command line stands for: a video file, numbered images, a camera, a stream, or none of these."""

from __future__ import annotations

import glob
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from segnet.errors import DataError

__all__ = ["VIDEO_SUFFIXES", "VideoSource", "find_videos"]

VIDEO_SUFFIXES = frozenset(
    (
        ".3gp", ".asf", ".avi", ".flv", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg",
        ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m",
    )
)  # fmt: skip
"""The endings by which a name is taken for that of a video."""

_ADDRESS = re.compile(r"(rtsps?|https?|rtmps?|udp|tcp|srt|rtp)://", re.IGNORECASE)
_PATTERN = re.compile(r"%0?\d*d")


@dataclass(frozen=True)
class VideoSource:
    """Where frames come from.

    Attributes:
        word: the path, address or number.
        kind: ``file``; ``images`` with numbers in their names; ``camera``; ``stream`` with an address; ``pipe``.
        name: of its results, without suffix.
    """

    word: str
    kind: Literal["file", "images", "camera", "stream", "pipe"]
    name: str

    @property
    def shown(self) -> str:
        """The path of what is a file, else the name: an address may hold a password."""
        return self.word if self.kind in {"file", "images"} else self.name


def find_videos(word: str, *, animations: bool = False) -> list[VideoSource]:
    """The videos that a word stands for; none if it stands for images, or for nothing known.

    Args:
        word: a video file or a glob of some, ``frames/%06d.jpg``, a camera's number, an address such as
            ``rtsp://...``, a named pipe, or ``-`` for standard input.
        animations: whether a .gif is a video, too.

    Raises:
        DataError: a glob of videos fits none.
    """
    path = Path(word)
    if word == "-":
        return [VideoSource("pipe:0", "pipe", "stdin")]
    if _ADDRESS.match(word):
        return [VideoSource(word, "stream", _name_of(word))]
    if path.exists():
        if stat.S_ISFIFO(path.stat().st_mode):
            return [VideoSource(word, "pipe", path.stem)]
    elif word.isdigit():
        return [VideoSource(word, "camera", f"camera{word}")]
    elif _PATTERN.search(path.name):
        return [VideoSource(word, "images", path.parent.name or "images")]
    if path.is_dir() or path.suffix.lower() not in VIDEO_SUFFIXES | ({".gif"} if animations else set()):
        return []
    if path.exists() or not glob.has_magic(word):
        return [VideoSource(word, "file", path.stem)]
    found = sorted(path for path in glob.iglob(word, recursive=True) if Path(path).is_file())  # noqa: PTH207
    if not found:
        raise DataError(f"no video was found by {word}; check the path")
    return [VideoSource(path, "file", Path(path).stem) for path in found]


def _name_of(address: str) -> str:
    """A file name out of the address, without user and password."""
    parts = urlsplit(address)
    return re.sub(r"[^\w.-]+", "_", f"{parts.hostname or ''}{parts.path}").strip("_.") or "stream"
