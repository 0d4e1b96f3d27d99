"""COCO-Stuff: class masks of all pixels, beside a list of the categories."""

from __future__ import annotations

import re
from pathlib import Path

from segnet.data.description import read_text
from segnet.data.layouts.pairing import find_folder, pair_folders
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.splits import SPLITS, find_split_folders, folders_by_split
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable

__all__ = ["coco_stuff", "is_coco_stuff"]

_LINE = re.compile(r"(\d{1,9}):\s*(\S.*)")


def coco_stuff(root: Path) -> Source:
    """COCO-Stuff: masks in ``stuffthingmaps/train2017/``, or ``annotations/train2017/``, and ``labels.txt``.

    The masks hold the number of the category less one, 255 where unlabeled; ``labels.txt`` of the data set's
    repository names the categories: "1: person".

    Raises:
        DataError: labels.txt is missing, or images and masks do not pair up.
    """
    path = root / "labels.txt"
    rows = (
        [_LINE.fullmatch(line.strip()) for line in read_text(path).splitlines() if line.strip()]
        if path.is_file()
        else []
    )
    if not rows or not all(rows):
        raise DataError(
            f"{path}: is missing or has other lines than '1: person'; take it from the data set's repository"
        )
    named = [(int(row[1]) - 1, row[2]) for row in rows if row and int(row[1]) > 0]
    labels = ClassTable.from_names([name for _, name in named], [value for value, _ in named])
    masks = find_split_folders(_mask_folder(root))
    images = folders_by_split(find_folder(root, ("images",)) or root)
    splits = {
        split: pair_folders(images[split], masks[split]) for split in SPLITS if split in masks and split in images
    }
    return Source(
        root=root,
        layout="COCO-Stuff",
        splits=with_validation(root, splits),
        labels=labels,
        ignore_index=(IGNORE_INDEX,),
    )


def is_coco_stuff(root: Path) -> bool:
    """Whether stuffthingmaps/ is there, or a labels.txt that begins "0: unlabeled"."""
    path = root / "labels.txt"
    return (root / "stuffthingmaps").is_dir() or (
        path.is_file() and path.read_bytes()[:12] == b"0: unlabeled" and _mask_folder(root).is_dir()
    )


def _mask_folder(root: Path) -> Path:
    return find_folder(root, ("stuffthingmaps",)) or root / "annotations"
