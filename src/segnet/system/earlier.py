"""Which files runs of ``segnet predict`` wrote, so that a later run replaces these and no others.

Each folder of results has a file ``.segnet-written`` with one line per result: a fingerprint of its name, size and time
of change. A result that was edited or replaced since has another fingerprint, and counts as somebody else's.

The line is written before the result gets its name, so that the results of a killed run are known as well. A file that
grows has a fingerprint for each of its sizes. Processes that write into one folder together have a file each, named
``.segnet-batch/written-...``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path

from segnet.errors import OutputError, list_names
from segnet.system.files import announcing, explained, last_change

__all__ = ["BATCH", "JOURNAL", "EarlierResults"]

JOURNAL = ".segnet-written"
"""Name of the file of fingerprints."""

BATCH = ".segnet-batch"
"""Name of the folder in which processes that write together keep what each of them has done."""


class EarlierResults:
    """The results of this run and of earlier ones.

    Args:
        root: folder of the results of this run. Results elsewhere, such as records, are noted in their own folder.
        force: replace any file that this run does not read.
        journal: path below ``root`` of the file of fingerprints that this run writes.
    """

    def __init__(self, root: Path, *, force: bool = False, journal: str = JOURNAL) -> None:
        self._root = _absolute(root)
        self._force = force
        self._name = journal
        self._journals: dict[Path, frozenset[bytes]] = {}

    def require_replaceable(self, results: Iterable[Path], *, inputs: Iterable[Path] = ()) -> None:
        """Check that no result would replace a file that no run wrote, or that this run reads.

        Args:
            results: the files that will be written; may be missing, empty or no regular files.
            inputs: the files that will be read.

        Raises:
            OutputError: the message names the files.
        """
        read = {os.path.realpath(path) for path in inputs}
        present = [path for path in dict.fromkeys(results) if (change := last_change(path)) and change[0]]
        if own := [path for path in present if os.path.realpath(path) in read]:
            raise OutputError(
                f"{list_names([str(path) for path in own])} would be replaced by a result, and is read in this run; "
                "give another place for the results"
            )
        others = [] if self._force else [path for path in present if not self._wrote(_absolute(path))]
        if others:
            verb = "were" if len(others) > 1 else "was"
            raise OutputError(
                f"{list_names([str(path) for path in others])} {verb} not written by an earlier run of segnet predict, "
                "or changed since, and would be replaced; give another place for the results, or --force to replace"
            )

    def add_growing(self, path: Path, size: int) -> None:
        """Note that this run is about to write a file up to a size in bytes.

        Raises:
            OutputError: the note cannot be written.
        """
        place = _absolute(path)
        folder = self._folder(place)
        _note(folder / self._name, _fingerprint(place, folder, (size, place.stat().st_ino, "growing")))

    @contextmanager
    def noting(self, path: Path) -> Iterator[None]:
        """Note a file that the block writes with ``replacing`` or ``move_into_place``, right before it gets its name.

        Raises:
            OutputError: the note cannot be written.
        """
        place = _absolute(path)
        folder = self._folder(place)
        journal = folder / self._name
        with announcing(path, lambda temporary: _note(journal, _fingerprint(place, folder, last_change(temporary)))):
            yield

    def _folder(self, place: Path) -> Path:
        """The folder whose journal names a result."""
        return self._root if place.is_relative_to(self._root) and place != self._root else place.parent

    def _wrote(self, place: Path) -> bool:
        state = place.stat()
        forms = last_change(place), (state.st_size, state.st_ino, "growing")
        return any(
            _fingerprint(place, folder, form) in self._journal(folder) for folder in place.parents for form in forms
        )

    def _journal(self, folder: Path) -> frozenset[bytes]:
        if folder not in self._journals:
            lines: list[bytes] = []
            for path in (folder / JOURNAL, *folder.glob(f"{BATCH}/written-*")):
                with suppress(OSError):  # none, or of a folder above that may not be read
                    lines += path.read_bytes().split()
            self._journals[folder] = frozenset(lines)
        return self._journals[folder]


def _absolute(path: Path) -> Path:
    """With the links of the path, which ``resolve`` would follow."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _fingerprint(place: Path, folder: Path, form: object) -> bytes:
    name = os.fsencode(place.relative_to(folder).as_posix())
    return blake2b(name + repr(form).encode(), digest_size=8).hexdigest().encode()


def _note(journal: Path, fingerprint: bytes) -> None:
    with explained(journal), journal.open("ab") as file:
        file.write(fingerprint + b"\n")
