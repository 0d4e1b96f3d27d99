"""How files are written: under another name first, so that nobody ever meets half a file.

A temporary name is ``.segnet-``, 16 hexadecimal digits and the suffix. Its process holds a lock on it (``locks.py``).
So the next process that writes into the folder recognizes what a killed one left behind, and removes it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from segnet.errors import DataError, OutputError
from segnet.system.locks import open_locked, release, trying_lock

__all__ = [
    "ZIP_ERRORS", "announcing", "cache_dir", "describe_os_error", "explained", "files_digest", "holding_folder",
    "is_no_file", "last_change", "move_into_place", "path_fault", "remove_stale", "replacing", "temporary_file",
    "temporary_folder", "write_cache", "write_json",
]  # fmt: skip

log = logging.getLogger("segnet")

ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError)
"""What ``zipfile`` raises for a damaged file; of one bit, it may be a name that is no text, or a password."""

_LONGEST_PATH, _LONGEST_NAME = 1000, 255  # of a path as it is written, and of one name in it (Linux, macOS, Windows)

_TEMPORARY = re.compile(r"\.segnet-[0-9a-f]{16}(\.[^.]+)?")
_announced: dict[Path, Callable[[Path], object]] = {}
_OPEN_FILES = ("/proc/", "/dev/fd/")  # where the names of Linux and of macOS for them lead, whatever kind they are
_KEEPS_OPEN = os.name != "nt"  # Windows renames no open file

_REMEDIES = {
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EFBIG: "choose a place that takes larger files",
    errno.EROFS: "choose a place that can be written",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "allow more open files with ulimit -n, or give fewer --workers",
    errno.ENFILE: "close other programs: the system has no open file left",
    errno.EIO: "the disk or the network drive fails; choose another place",
}
_REMEDIES_OF_WRITING = {
    **_REMEDIES,
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
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
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from error
        digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def last_change(path: Path) -> tuple[int, int] | None:
    """Size and time of the last change; None if there is no such regular file."""
    try:
        state = path.stat()
    except (OSError, ValueError):
        return None
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


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


def is_no_file(path: Path) -> bool:
    """Whether a path is a folder, a device, or an open file such as ``/dev/stdout``: a rename would destroy it."""
    link = path.parent / path.readlink() if path.is_symlink() else path
    return path.exists() and (not path.is_file() or link.as_posix().startswith(_OPEN_FILES))


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
    with explained(path):
        _require_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary_file(path) as temporary:
            yield temporary
            _rename(temporary, path)


@contextmanager
def announcing(path: Path, announce: Callable[[Path], object]) -> Iterator[None]:
    """In the block, call a function with the finished temporary file of ``path`` right before it gets its name.

    What the function notes is then known of the file even if the process is killed in between.
    """
    _announced[path] = announce
    try:
        yield
    finally:
        del _announced[path]


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """An empty file beside ``path``, under a name that nothing has; the end of the block removes it if it is there.

    The folder must exist. What killed processes left in it is removed first.

    Raises:
        OSError: the file cannot be created.
    """
    _remove_stale_once(path.parent.absolute())
    temporary, descriptor = _create_file(path)
    try:
        yield temporary
    finally:
        if _KEEPS_OPEN:
            release(descriptor)
        with suppress(OSError):  # The folder itself may be what is missing.
            temporary.unlink()


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside ``path``; removed with all its content at the end of the block. As ``temporary_file``.

    Raises:
        OSError: the folder cannot be created.
    """
    _remove_stale_once(path.parent.absolute())
    folder, descriptor = _create_folder(path)
    try:
        yield folder
    finally:
        if descriptor is not None:
            release(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def move_into_place(temporary: Path, path: Path) -> None:
    """Rename a finished file to ``path``, in the place of an earlier file.

    Raises:
        OutputError: see ``replacing``.
    """
    with explained(path):
        _require_file(path)
        _rename(temporary, path)


def remove_stale(folder: Path) -> None:
    """Remove what killed processes left in a folder, and nothing of a process that lives.

    Whatever writes into a folder by this module does so first, once for each folder and process.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if _TEMPORARY.fullmatch(entry.name)]:
            with trying_lock(Path(entry.path)) as stale:
                if stale and entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                elif stale:
                    Path(entry.path).unlink(missing_ok=True)


@contextmanager
def holding_folder(folder: Path) -> Iterator[None]:
    """Lock a folder for the block, so that no second run writes into it; it is created, and removed if left empty.

    Raises:
        OutputError: another run, of this process or another one, holds the folder, or it cannot be created.
    """
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    descriptor = _open_folder(folder)
    try:
        yield
    finally:
        for each in missing:  # innermost first, and while the lock is held
            with suppress(OSError):  # it holds something
                each.rmdir()
        if descriptor is not None:
            release(descriptor)


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
        remedy = _REMEDIES_OF_WRITING.get(error.errno or 0, "choose another place")
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


def write_cache(path: Path, table: Mapping[str, Any], what: str) -> None:
    """Write a file of JSON that is only there to save time: if it cannot be written, a warning says so.

    Args:
        path: The file, in a folder of ``cache_dir()``.
        table: What it holds.
        what: Begins the warning, such as ``"the check is"``.
    """
    try:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(table), encoding="utf-8")
    except OutputError as error:
        log.warning("%s not cached: %s; set SEGNET_CACHE to another folder", what, error)


def _home_cache() -> Path:
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(gettempdir())


def _rename(temporary: Path, path: Path) -> None:
    if (announce := _announced.get(path)) is not None:
        announce(temporary)
    temporary.replace(path)


def _temporary_name(folder: Path, suffix: str) -> Path:
    return folder / f".segnet-{secrets.token_hex(8)}{suffix}"


def _create_file(path: Path) -> tuple[Path, int]:
    while True:
        temporary = _temporary_name(path.parent, path.suffix)
        descriptor = open_locked(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR)
        if descriptor is not None:  # else another process took it for stale before it was locked
            if not _KEEPS_OPEN:
                os.close(descriptor)
            return temporary, descriptor


def _create_folder(path: Path) -> tuple[Path, int | None]:
    while True:
        folder = _temporary_name(path.parent, "")
        folder.mkdir(mode=0o700)
        if not _KEEPS_OPEN:
            return folder, None
        with suppress(FileNotFoundError):
            if (descriptor := open_locked(folder)) is not None:
                return folder, descriptor


@cache
def _remove_stale_once(folder: Path) -> None:
    remove_stale(folder)


def _open_folder(folder: Path) -> int | None:
    """The locked folder; None where folders cannot be opened."""
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not _KEEPS_OPEN:
            return None
        if (descriptor := open_locked(folder)) is not None:
            return descriptor
    raise OutputError(
        f"{folder}: another run writes into this folder at the moment; wait until it ends, or give another folder"
    )


def _require_file(path: Path) -> None:
    if is_no_file(path):
        raise OutputError(f"{path} is a folder or a device and cannot be written as a file; give the name of a file")
