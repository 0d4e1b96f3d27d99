"""Splits by the names of folders and lists: train, val and test, and the spellings of other data sets."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

from segnet.errors import DataError

__all__ = [
    "SPLITS", "by_split", "find_split_folders", "folders_by_split", "lists_by_split", "looks_like_a_split", "split_of",
]  # fmt: skip

log = logging.getLogger("segnet")

SPLITS = ("train", "val", "test")

_SPELLINGS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_YEAR = re.compile(r"[-_ ]?(19|20)\d\d$")  # COCO: train2017
_WORDS = "train|training|trainval|val|valid|validation|test|testing|eval|evaluation|dev|holdout"
_SIMILAR = re.compile(rf"(.*[\W_])?({_WORDS})[-_ ]?(set|split|data|images|s)?([\W_\d].*)?")


def split_of(name: str) -> str | None:
    """The split that a folder or list of this name is: train, val, test, or None."""
    return _SPELLINGS.get(_YEAR.sub("", name.lower()))


def looks_like_a_split(name: str) -> bool:
    """Whether a name that is no spelling of a split reads like one: trainset, val_small, my-test."""
    return split_of(name) is None and _SIMILAR.fullmatch(name.lower()) is not None


def by_split(paths: Iterable[Path]) -> dict[str, Path]:
    """The folders and files whose names are spellings of splits, in the order of ``SPLITS``.

    Raises:
        DataError: Two are the same split.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths):
        split = split_of(path.name if path.is_dir() else path.stem)
        if split in found:
            raise DataError(f"{found[split]} and {path.name} are both the split {split}; keep or rename one of them")
        if split is not None:
            found[split] = path
    return {split: found[split] for split in SPLITS if split in found}


def folders_by_split(root: Path) -> dict[str, Path]:
    """``by_split`` of the folders in a folder."""
    return by_split(path for path in root.iterdir() if path.is_dir())


def lists_by_split(root: Path, suffix: str = ".txt") -> dict[str, Path]:
    """``by_split`` of the texts in a folder, such as train.txt."""
    return by_split(path for path in root.iterdir() if path.is_file() and path.suffix == suffix)


def find_split_folders(folder: Path) -> dict[str, Path]:
    """The sub-folders that are splits; empty if there is none.

    Raises:
        DataError: Two are the same split, or none is one and some look like it.
    """
    if not folder.is_dir():
        return {}
    found = folders_by_split(folder)
    if similar := sorted(path.name for path in folder.iterdir() if path.is_dir() and looks_like_a_split(path.name)):
        message = (
            f"{folder}: the folder {similar[0]} looks like a split, but its name is none of {', '.join(_SPELLINGS)}"
        )
        if not found:
            raise DataError(f"{message}; rename it, or name the splits in a data.yaml")
        log.warning("%s; it is left out", message)
    return found
