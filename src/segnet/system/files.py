"""How files are written: under another name first, so that nobody ever meets half a file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from segnet.errors import DataError, OutputError

__all__ = [
    "cache_dir", "describe_os_error", "explained", "files_digest", "path_fault", "replacing", "temporary_name",
    "write_json",
]  # fmt: skip

_LONGEST_PATH, _LONGEST_NAME = 1000, 255  # of a path as it is written, and of one name in it (Linux, macOS, Windows)

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a place that takes larger files",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files with ulimit -n, or give fewer --workers",
    errno.ENFILE: "close other programs: the system has no open file left",
    errno.EIO: "the disk or the network drive fails; choose another place",
}


def cache_dir() -> Path:
    """Where to keep what can be made again: ``$SEGNET_CACHE``, or ``segnet`` in the user's cache folder.

    For a user without a home folder, as in some containers, it is ``segnet`` in the folder for temporary files.
    """
    chosen = os.environ.get("SEGNET_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or _home_cache()) / "segnet"


def files_digest(paths: Iterable[Path], *, key: str) -> str:
    """A name in the cache for what is computed of files: 32 digits of key, paths, sizes and times.

    Raises:
        DataError: a file cannot be read.
    """
    digest = hashlib.sha256(key.encode())
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
        digest.update(f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def path_fault(text: str) -> str:
    """Why no file can have this path; empty if one can. Elsewhere such paths raise ``ValueError`` or ``OSError``."""
    try:
        parts = os.fsencode(text).replace(b"\\", b"/").split(b"/")
    except UnicodeEncodeError:
        return "holds half a character"
    if "\0" in text:
        return "holds a NUL character"
    too_long = len(text) > _LONGEST_PATH or max(map(len, parts)) > _LONGEST_NAME
    return f"is {len(text)} characters long, more than a path can have" if too_long else ""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` to write to; the file takes the place of ``path`` once the block is left.

    Missing folders are made. If the block raises anything, what it wrote is removed, and ``path`` is as it was.
    The temporary name starts with a dot and keeps the suffix. Do nothing in the block but write the file: each
    ``OSError`` in it counts as a failure to write. The promise holds for a program that dies, not for a power cut.

        with replacing(Path("runs/scores.json")) as temporary:
            temporary.write_text("{}")

    Raises:
        OutputError: ``path`` is a folder or a device, the disk is full, the folder cannot be written, and the like.
    """
    temporary = temporary_name(path)
    try:
        with explained(path):
            _require_file(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):  # The folder itself may be what is missing.
            temporary.unlink()


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that nothing has; it starts with a dot and keeps the suffix."""
    return path.parent / f".segnet-{secrets.token_hex(8)}{path.suffix}"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of any ``OSError`` in the block that ``path`` cannot be written, why, and what to do.

    Raises:
        OutputError: instead of it.
    """
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "choose another place")
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {remedy}") from error


def describe_os_error(error: OSError) -> str:
    """What the system refused and what to do, in one sentence; empty if the system is not the cause."""
    remedy = _REMEDIES.get(error.errno or 0)
    if remedy is None:
        return ""
    where = f"{error.filename}: " if error.filename is not None else ""
    return f"{where}{error.strerror}; {remedy}"


def write_json(path: Path, figures: Mapping[str, Any]) -> None:
    """Write a file of JSON whole or not at all.

    Raises:
        OutputError: see ``replacing``.
    """
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _home_cache() -> Path:
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(gettempdir())


def _require_file(path: Path) -> None:
    """Renaming over a device such as /dev/null would destroy it."""
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a folder or a device and cannot be written as a file; give the name of a file")
