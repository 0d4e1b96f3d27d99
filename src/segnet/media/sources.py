"""What a word on the command line stands for: images, a video file, numbered frames, a camera, a stream or a pipe."""

from __future__ import annotations

import glob
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from segnet.errors import DataError
from segnet.system.files import path_fault

__all__ = [
    "IMAGE_SUFFIXES", "NUMBERED", "VIDEO_SUFFIXES", "WRITABLE_VIDEO_SUFFIXES", "ImageFile", "VideoSource",
    "find_file", "find_files_below", "find_images", "find_images_below", "find_sources", "find_videos",
    "is_image_file", "is_video_file", "normalize_name", "numbered", "spellings",
]  # fmt: skip

IMAGE_SUFFIXES = frozenset(
    (
        ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".npy", ".pbm", ".pgm", ".png", ".pnm",
        ".ppm", ".tga", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip
"""Suffixes of images in folders and globs. The format is detected by the content, not by the name, but for arrays."""

_ARRAY = ".npy"  # beside an image of the same name it is a copy of it, which Ultralytics keeps

VIDEO_SUFFIXES = frozenset(
    (
        ".264", ".265", ".3gp", ".asf", ".avi", ".flv", ".h264", ".h265", ".hevc", ".ivf", ".m2ts", ".m4v", ".mjpeg",
        ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv",
        ".y4m",
    )
)  # fmt: skip
"""Suffixes of video files that are read."""

WRITABLE_VIDEO_SUFFIXES = frozenset((".gif", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))
"""Suffixes of video files that are written."""

_ADDRESS = re.compile(r"(rtsps?|https?|rtmps?|udp|tcp|srt|rtp)://", re.IGNORECASE)
NUMBERED = re.compile(r"%0?\d*d")
"""Stands for the numbers in the names of numbered images: ``%06d``."""


class ImageFile(NamedTuple):
    """An image file.

    Attributes:
        path: of the file.
        name: path below the folder that was searched, or below the first wildcard of a glob, with suffix.
    """

    path: Path
    name: Path


@dataclass(frozen=True)
class VideoSource:
    """Where frames come from.

    Attributes:
        word: path, address or number.
        kind: ``file``; ``images`` with numbers in their names; ``camera``; ``stream`` with an address; ``pipe``.
        name: of the results, without suffix.
    """

    word: str
    kind: Literal["file", "images", "camera", "stream", "pipe"]
    name: str

    @property
    def shown(self) -> str:
        """The path of a file or of images, else the name: an address may hold a password."""
        return self.word if self.kind in {"file", "images"} else self.name

    @property
    def files(self) -> list[Path]:
        """The files that are read; none of a camera, a stream or a pipe."""
        path = Path(self.word)
        return numbered(path) if self.kind == "images" else [path] if self.kind == "file" else []


def find_sources(
    word: str, *, animations: bool = False, exclude: Path | None = None, failures: list[str] | None = None
) -> list[ImageFile] | list[VideoSource]:
    """The image files or the videos that a word stands for.

    Args:
        word: an image, a folder or a glob of images; or what ``find_videos`` accepts.
        animations: whether a .gif is a video.
        exclude, failures: see ``find_images``.

    Raises:
        DataError: there is no such image or video; a folder cannot be read.
    """
    try:
        return _find_sources(word, animations=animations, exclude=exclude, failures=failures)
    except OSError as error:  # such as a name that is too long, or a folder above that may not be read
        raise DataError(f"{word} cannot be looked up ({error.strerror}); check the path") from error


def _find_sources(
    word: str, *, animations: bool, exclude: Path | None, failures: list[str] | None
) -> list[ImageFile] | list[VideoSource]:
    path = Path(word)
    is_video = path.suffix.lower() in VIDEO_SUFFIXES or (animations and path.suffix.lower() == ".gif")
    if word != "-" and (path.is_dir() or (path.is_file() and not is_video)):
        return find_images(word, exclude=exclude, failures=failures)
    return find_videos(word, animations=animations) or find_images(word, exclude=exclude)


def find_images(
    source: str | Path, *, exclude: Path | None = None, failures: list[str] | None = None
) -> list[ImageFile]:
    """The images of a file name, a folder or a glob, sorted by name.

    A folder is searched with its subfolders, linked ones too, for files whose suffix is in ``IMAGE_SUFFIXES``; names
    that start with a dot are left out. A glob may contain ``**``. The folder ``in`` gives
    ``ImageFile("in/a/1.png", "a/1.png")``.

    Args:
        source: the file, folder or glob.
        exclude: a folder whose images are left out, unless ``source`` is one of them or a folder in it.
        failures: gets a sentence on each subfolder that cannot be read; None: it is an error.

    Raises:
        DataError: the source does not exist or contains no image, or a folder cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        images = find_images_below(path, failures=failures)
        if exclude is not None and _real(path).is_relative_to(_real(exclude)):
            exclude = None
    elif path.exists():
        return [ImageFile(path, Path(path.name))]
    elif not glob.has_magic(str(source)):
        raise DataError(f"{path} does not exist; expected an image, a folder or a glob; check the path")
    else:
        root = next(folder for folder in path.parents if folder.is_dir() and not glob.has_magic(str(folder)))
        images = _select_images(ImageFile(file, _name_below(file, root)) for file in _glob_files(str(source)))
    if not images:
        if path.is_dir() and (video := next((file for file in sorted(path.iterdir()) if is_video_file(file)), None)):
            raise DataError(f"{source} holds no image, but videos such as {video.name}; give {path}/*{video.suffix}")
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no image was found in {source}; looked for files ending in {kinds}; check the path")
    if exclude is None:
        return images
    excluded = _real(exclude)
    return [image for image in images if not _real(image.path).is_relative_to(excluded)]


def find_images_below(folder: Path, *, failures: list[str] | None = None) -> list[ImageFile]:
    """As ``find_images`` of a folder, but a folder without images gives an empty list.

    Raises:
        DataError: a folder cannot be read.
    """
    return _select_images(ImageFile(file, file.relative_to(folder)) for file in _walk(folder, failures))


def find_files_below(folder: Path, ending: str) -> list[Path]:
    """The files whose names end so, in the folder and its subfolders as ``find_images`` searches them, sorted.

    Raises:
        DataError: a folder cannot be read.
    """
    return sorted(path for path in _walk(folder, None) if path.name.endswith(ending))


def find_videos(word: str, *, animations: bool = False) -> list[VideoSource]:
    """The videos that a word stands for; none if it stands for images, or for nothing known.

    Args:
        word: a video file or a glob of video files, ``frames/%06d.jpg``, the number of a camera, an address such as
            ``rtsp://...``, a named pipe, or ``-`` for standard input.
        animations: whether a .gif is a video.

    Raises:
        DataError: a glob of videos matches no file, or an address is malformed.
    """
    path = Path(word)
    if word == "-":
        return [VideoSource("pipe:0", "pipe", "stdin")]
    if _ADDRESS.match(word):
        return [VideoSource(word, "stream", _stream_name(word))]
    if path.exists():
        if stat.S_ISFIFO(path.stat().st_mode):
            return [VideoSource(word, "pipe", path.stem)]
    elif word.isdigit():
        return [VideoSource(word, "camera", f"camera{word}")]
    elif NUMBERED.search(path.name):
        return [VideoSource(word, "images", path.parent.name or "images")]
    if path.is_dir() or path.suffix.lower() not in VIDEO_SUFFIXES | ({".gif"} if animations else set()):
        return []
    if path.exists() or not glob.has_magic(word):
        return [VideoSource(word, "file", path.stem)]
    files = sorted(_glob_files(word), key=str)
    if not files:
        raise DataError(f"no video was found by {word}; check the path")
    return [VideoSource(str(file), "file", file.stem) for file in files]


def numbered(pattern: Path) -> list[Path]:
    """The files of a pattern such as ``frames/%06d.jpg``, by their numbers; none without the folder."""
    if not pattern.parent.is_dir():
        return []
    written = NUMBERED.split(pattern.name)
    name = re.compile(r"(\d+)".join(map(re.escape, written)))
    matches = [(match, path) for path in pattern.parent.iterdir() if (match := name.fullmatch(path.name))]
    return [path for _, path in sorted((int(match[1]), path) for match, path in matches)]


def is_video_file(out: Path) -> bool:
    """Whether an output path names a video file, of whatever kind, not a folder."""
    return out.suffix.lower() in VIDEO_SUFFIXES | WRITABLE_VIDEO_SUFFIXES and not out.is_dir()


def is_image_file(out: Path) -> bool:
    """Whether an output path names an image file, not a folder."""
    return out.suffix.lower() in IMAGE_SUFFIXES and not out.is_dir()


def normalize_name(name: str) -> str:
    """One spelling of letters with marks (NFC), of which macOS stores another (NFD) than most programs write."""
    return unicodedata.normalize("NFC", name)


def spellings(name: str) -> Iterable[str]:
    """The name as it is, and in both spellings of letters with marks, NFC and NFD; those of ASCII have one."""
    return dict.fromkeys((name, normalize_name(name), unicodedata.normalize("NFD", name)))


def find_file(folders: Iterable[Path], name: str) -> Path | None:
    """The file of a name, or of another spelling of it, in the first folder that has one; see ``normalize_name``."""
    if path_fault(name):
        return None
    return next((path for folder in folders for one in spellings(name) if (path := folder / one).is_file()), None)


def _select_images(files: Iterator[ImageFile]) -> list[ImageFile]:
    images = [file for file in files if file.path.suffix.lower() in IMAGE_SUFFIXES]
    stored_otherwise = {image.path.with_suffix("") for image in images if image.path.suffix.lower() != _ARRAY}
    chosen = [
        image for image in images
        if image.path.suffix.lower() != _ARRAY or image.path.with_suffix("") not in stored_otherwise
    ]  # fmt: skip
    return sorted(chosen, key=lambda image: image.name)


def _name_below(file: Path, root: Path) -> Path:
    """The path from a folder on, without ``..``, which could lead results out of their folder."""
    parts = Path(os.path.normpath(file.relative_to(root))).parts
    return Path(*(part for part in parts if part != ".."))


def _glob_files(pattern: str) -> list[Path]:
    """Not by ``Path.glob``, which matches hidden files too. Broken links are files, so that reading names them."""
    return [path for path in map(Path, glob.iglob(pattern, recursive=True)) if not path.is_dir()]  # noqa: PTH207


def _real(path: Path) -> Path:
    """As ``path.resolve()``, which raises an error at a loop of links."""
    return Path(os.path.realpath(path))


def _walk(folder: Path, failures: list[str] | None) -> Iterator[Path]:
    """The files below the folder without hidden ones; each folder is entered once, by a link only if nothing else."""
    entered, waiting = set(), [folder]
    onerror = partial(_note_unreadable, folder, failures)
    for start in waiting:  # It grows: links wait until all real folders were entered.
        for here, folders, files in os.walk(start, onerror=onerror):
            real = os.path.realpath(here)
            folders[:] = [] if real in entered else sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
            if real not in entered:
                yield from (Path(here, name) for name in files if not name.startswith("."))
            entered.add(real)


def _note_unreadable(root: Path, failures: list[str] | None, error: OSError) -> None:
    message = (
        f"{error.filename} cannot be searched for images ({error.strerror}); give yourself the permission to read it"
    )
    if failures is None or error.filename == str(root):
        raise DataError(message) from error
    failures.append(message)


def _stream_name(address: str) -> str:
    """A file name out of the address, without user and password."""
    try:
        parts = urlsplit(address)
    except ValueError as error:  # such as a bracket that is not closed
        public = re.sub(r"(?<=//)[^/]*@", "", address)
        raise DataError(f"{public} is no address of a stream ({error}); check it") from error
    return re.sub(r"[^\w.-]+", "_", f"{parts.hostname or ''}{parts.path}").strip("_.") or "stream"
