"""What the processes of a run have done, so that the same command, started again, does only the rest.

``OUT/.segnet-batch`` holds, besides ``job.json``, files of each process, which only grow:

- ``done-RUN-ID``: a line per image: a fingerprint of the image and, if its results are in shards, their names.
  The line is written after masks have their names, and before shards have theirs: an image is done if its line is there
  and its shards are. So a kill at any moment leaves every image either done, with all results, or not.
- ``begun-RUN-ID``: the fingerprint of each image before it is read. One that is begun in the files of several dead
  processes of the run, and done in none, has probably killed them.

Each process holds a lock on its file, so the next run sees whether one of an earlier run still lives.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.errors import OutputError
from segnet.system.earlier import BATCH
from segnet.system.files import explained, write_json
from segnet.system.locks import lock, release, trying_lock

__all__ = ["DoneFile", "DoneImages", "count_deaths", "fingerprint", "has_other_settings", "start_job"]

_WAIT_S = 60.0  # for processes of a killed run to end
_DIGITS = 16


def fingerprint(*parts: str) -> str:
    """16 hexadecimal digits: for one version of an image those of its address, name and version."""
    text = "\0".join(parts)
    return blake2b(text.encode(errors="surrogateescape"), digest_size=_DIGITS // 2).hexdigest()


class DoneImages:
    """The images that are done, 8 bytes each.

    Args:
        out: folder of the results.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._exists: dict[str, bool] = {}
        found = [
            line[:_DIGITS]
            for path in sorted((out / BATCH).glob("done-*"))
            for line in _lines(path)
            if self._holds(line)
        ]
        self._sorted: NDArray[np.uint64] = np.unique(np.array([int(word, 16) for word in found], dtype=np.uint64))

    def __contains__(self, mark: str) -> bool:
        value = np.uint64(int(mark, 16))
        index = int(np.searchsorted(self._sorted, value))
        return index < len(self._sorted) and bool(self._sorted[index] == value)

    def __len__(self) -> int:
        return len(self._sorted)

    def _holds(self, line: str) -> bool:
        """Whether all shards of a line exist."""
        return all(self._there(shard) for shard in line[_DIGITS:].split())

    def _there(self, shard: str) -> bool:
        if shard not in self._exists:
            self._exists[shard] = (self._out / shard).is_file()
        return self._exists[shard]


class DoneFile:
    """The files to which one process adds what it has begun and done, locked until it ends.

    Args:
        out: folder of the results.
        run: name of the run.
    """

    def __init__(self, out: Path, run: str) -> None:
        folder = out / BATCH
        self._token = f"{run}-{secrets.token_hex(8)}"
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
            self._done = os.open(folder / f"done-{self._token}", flags, 0o666)
            self._begun = os.open(folder / f"begun-{self._token}", flags, 0o666)
        while not lock(self._done):  # another process looks at it
            time.sleep(0.01)
        self._folder = folder

    @property
    def journal(self) -> str:
        """Path below the folder of results of the process's file of fingerprints, see ``EarlierResults``."""
        return f"{BATCH}/written-{self._token}"

    def begin(self, mark: str) -> None:
        """Note that an image is about to be read.

        Raises:
            OutputError: the disk is full, and the like; so do the others.
        """
        self._append(self._begun, f"{mark}\n")

    def finish(self, marks: Iterable[str], shards: Sequence[str] = ()) -> None:
        """Note that images are done, once the shards exist.

        Args:
            marks: fingerprints of the images.
            shards: paths below the folder of results, without blanks.
        """
        ending = "".join(f" {shard}" for shard in shards)
        self._append(self._done, "".join(f"{mark}{ending}\n" for mark in marks))

    def close(self) -> None:
        """Release the lock."""
        release(self._done)
        os.close(self._begun)

    def _append(self, descriptor: int, text: str) -> None:
        with explained(self._folder):
            line = text.encode()
            while line:
                line = line[os.write(descriptor, line) :]


def has_other_settings(out: Path, settings: str) -> bool:
    """Whether the folder holds results of other settings. Waits until no process of an earlier run writes.

    The caller holds the folder ``OUT/.segnet-batch``, see ``holding_folder``.

    Args:
        out: folder of the results.
        settings: all that decides what the results are.

    Raises:
        OutputError: a process of an earlier run still writes after a minute.
    """
    folder = out / BATCH
    _wait_for_others(folder)
    return not _is_job(folder, settings) and any(folder.glob("done-*"))


def start_job(out: Path, settings: str) -> None:
    """Drop what an earlier run has done with other settings; call it when nothing can refuse the run any more.

    Shards that no line names as a whole are removed, too: a run was killed before it had completed them.

    Args:
        out: see ``has_other_settings``, which comes before; so does ``settings``.
    """
    folder = out / BATCH
    if not _is_job(folder, settings):
        with explained(folder):
            for path in folder.glob("done-*"):
                _remove_shards(out, _lines(path), complete_too=True)
                path.unlink()
        write_json(folder / "job.json", {"digest": _digest(settings), "settings": settings})
    with explained(folder):
        for path in folder.glob("begun-*"):
            path.unlink()
        for path in folder.glob("done-*"):
            _remove_shards(out, _lines(path), complete_too=False)


def count_deaths(out: Path, run: str) -> Counter[str]:
    """How many dead processes of this run had begun each image."""
    deaths: Counter[str] = Counter()
    for path in (out / BATCH).glob(f"begun-{run}-*"):
        with trying_lock(path.with_name(path.name.replace("begun", "done", 1))) as dead:
            if dead:
                deaths.update(set(_lines(path)))
    return deaths


def _is_job(folder: Path, settings: str) -> bool:
    try:
        found: object = json.loads((folder / "job.json").read_text(encoding="utf-8"))["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return found == _digest(settings)


def _digest(settings: str) -> str:
    return blake2b(settings.encode(), digest_size=16).hexdigest()


def _wait_for_others(folder: Path) -> None:
    end = time.monotonic() + _WAIT_S
    for path in folder.glob("done-*"):
        while not _is_free(path):
            if time.monotonic() > end:
                raise OutputError(
                    f"{path}: a process of an earlier run still writes into this folder; end that run, or give another "
                    "--out"
                )
            time.sleep(0.1)


def _is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return lock(descriptor)
    finally:
        release(descriptor)


def _remove_shards(out: Path, lines: Sequence[str], *, complete_too: bool) -> None:
    """Remove the shards of lines that are not complete, as when one of two has no name yet."""
    for group in {tuple(line[_DIGITS:].split()) for line in lines}:
        paths = [out / shard for shard in group]
        if complete_too or not all(path.is_file() for path in paths):
            for path in paths:
                with suppress(FileNotFoundError):
                    path.unlink()


def _lines(path: Path) -> list[str]:
    """The complete lines of a file; a process may have been killed while it wrote the last one."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.split("\n")[:-1]
    return [line for line in lines if len(line) >= _DIGITS and set(line[:_DIGITS]) <= set("0123456789abcdef")]
