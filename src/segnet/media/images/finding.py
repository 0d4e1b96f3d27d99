"""Which files are images: of a folder, of a glob."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from segnet.errors import DataError

__all__ = ["IMAGE_SUFFIXES", "find_images", "images_below"]

IMAGE_SUFFIXES = frozenset(
    (
        ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
        ".tga", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip
"""The endings by which images are found in folders; ``read_image`` itself looks inside the file, not at its name."""


def find_images(source: str | Path) -> list[tuple[Path, Path]]:
    """Expand an image, a folder or a glob into pairs of a path and its place under the source.

    A folder is searched with all folders in it, linked ones too, for files whose suffix is in ``IMAGE_SUFFIXES``; what
    starts with a dot is left out. A glob may hold ``**``, and its place begins at the first wildcard. The pairs
    are sorted by place: ``("in/a/1.png", "a/1.png")`` for the folder ``in``.

    Raises:
        DataError: nothing is there, no image is in it, or a folder in it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = images_below(path)
    elif path.exists():
        return [(path, Path(path.name))]
    elif not glob.has_magic(str(source)):
        raise DataError(f"{path} does not exist; expected an image, a folder or a glob; check the path")
    else:
        root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
        # Not Path.glob: it finds hidden files too.
        matches = (Path(match) for match in glob.iglob(str(source), recursive=True))  # noqa: PTH207
        found = [(file, file.relative_to(root)) for file in matches if file.is_file()]
    images = _images_among(found)
    if not images:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no image was found in {source}; looked for files ending in {kinds}; check the path")
    return images


def images_below(folder: Path) -> list[tuple[Path, Path]]:
    """As ``find_images`` of a folder, but a folder without images is an empty list.

    Raises:
        DataError: a folder cannot be read.
    """
    return _images_among([(file, file.relative_to(folder)) for file in _walk(folder)])


def _images_among(found: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    images = [(file, place) for file, place in found if file.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(images, key=lambda pair: pair[1])


def _walk(folder: Path) -> Iterator[Path]:
    """The files below the folder, hidden ones left out, each folder entered once and rather not by a link."""
    entered, waiting = set(), [folder]
    for start in waiting:  # It grows: links wait until all real folders were entered.
        for here, folders, files in os.walk(start, onerror=_refuse):
            real = os.path.realpath(here)
            folders[:] = [] if real in entered else sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
            if real not in entered:
                yield from (Path(here, name) for name in files if not name.startswith("."))
            entered.add(real)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be searched for images ({error.strerror}); give yourself the permission to read it"
    ) from error
