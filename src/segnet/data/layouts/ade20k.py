"""ADE20K: the scene parsing benchmark with masks of class numbers, and the full data set with masks of colors."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.description import read_text
from segnet.data.layouts.drawing import Drawing, draw_samples, read_each, read_json
from segnet.data.layouts.pairing import folder_splits, pair_names
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.splits import find_split_folders
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.reading import read_image
from segnet.media.sources import find_files_below
from segnet.system.files import cache_dir, replacing
from segnet.system.progress import progress_bar

__all__ = ["ade20k", "ade20k_full", "is_ade20k", "is_ade20k_full"]

log = logging.getLogger("segnet")

_CLASSES = 150
_MASK = "_seg"
_LARGEST = 255 // 10 * 256 + 255  # of the numbers that colors can hold

Named = tuple[int, str]
"""Number and name of a class."""


def ade20k(root: Path) -> Source:
    """ADE20K of the scene parsing benchmark: images/training/, annotations/training/, 150 classes, 0 is ignored.

    The names are in ``objectInfo150.txt``, which the archive has.

    Raises:
        DataError: images and masks do not pair up, or objectInfo150.txt is of another form.
    """
    splits = folder_splits(root / "images", root / "annotations")
    labels = ClassTable.from_names(_benchmark_names(root / "objectInfo150.txt"), range(1, _CLASSES + 1))
    return Source(root=root, layout="ADE20K", splits=splits, labels=labels, ignore_index=(0, IGNORE_INDEX))


def is_ade20k(root: Path) -> bool:
    """Whether objectInfo150.txt is there beside annotations/."""
    return (root / "objectInfo150.txt").is_file() and (root / "annotations").is_dir()


def ade20k_full(root: Path) -> Source:
    """The full ADE20K: ``images/ADE/training/CATEGORY/SCENE/ADE_train_00000001.jpg``, ``..._seg.png``, ``....json``.

    The number of a class in a mask is red // 10 * 256 + green. Of some 3,700 classes the 150 that are in most images
    are read, by the numbers and names in the JSON files; all others are ignored.

    Raises:
        DataError: images and masks do not pair up, or an image has no JSON.
    """
    splits = {}
    for split, folder in find_split_folders(_images_folder(root)).items():
        mask_of = {path.stem.removesuffix(_MASK): path for path in find_files_below(folder, f"{_MASK}.png")}
        image_of = {path.stem: path for path in find_files_below(folder, ".jpg")}
        splits[split] = pair_names(image_of, mask_of, images=folder, masks=folder)
    if not any(splits.values()):
        raise DataError(f"{root}: holds no images with masks; expected images/ADE/training/ with *.jpg and *_seg.png")
    named = _commonest([sample.image.with_suffix(".json") for samples in splits.values() for sample in samples])
    names = [name for _, name in named]
    names = [name if names.count(name) == 1 else f"{name} {number}" for number, name in named]
    labels = ClassTable.from_names(names)
    numbers = [number for number, _ in named]
    drawings = {
        split: [
            Drawing(one.image, one.name, one.mask, str(numbers), partial(_draw, one.mask, numbers)) for one in samples
        ]
        for split, samples in splits.items()
    }
    return Source(
        root=root, layout="ADE20K, full", splits=with_validation(root, draw_samples(drawings, labels)), labels=labels,
        ignore_index=(IGNORE_INDEX,),
    )  # fmt: skip


def is_ade20k_full(root: Path) -> bool:
    """Whether images/ADE/training/ is there, in the folder or in that of the archive below."""
    return (_images_folder(root) / "training").is_dir()


def _benchmark_names(path: Path) -> list[str]:
    """The last column of a table whose lines are number, shares and names; the first of several names."""
    rows = [line.split("\t") for line in read_text(path).splitlines()[1:] if line.strip()]
    names = [row[-1].split(",")[0].strip() for row in rows]
    if len(names) != _CLASSES:
        raise DataError(f"{path}: names {len(names)} classes, not {_CLASSES}; download it again")
    return [name if names.count(name) == 1 else f"{name} {number}" for number, name in enumerate(names, start=1)]


def _images_folder(root: Path) -> Path:
    places = [root / "images" / "ADE", *sorted(root.glob("ADE20K_*/images/ADE"))]
    return next((place for place in places if place.is_dir()), places[0])


def _commonest(paths: Sequence[Path]) -> list[Named]:
    """The classes in most images, by their numbers; kept in the cache folder, since there are 27,000 large files."""
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths if path.is_file()]
    kept = cache_dir() / "class-tables" / f"{hashlib.sha256(repr(stamps).encode()).hexdigest()[:32]}.json"
    if known := _read_kept(kept):
        return known
    counts: Counter[Named] = Counter()
    with progress_bar("reading classes", None) as progress:
        for done, (_, members) in enumerate(read_each(paths, _classes_of), start=1):
            counts.update(members)
            progress(done, len(paths))
    chosen = sorted(sorted(counts, key=lambda one: (-counts[one], one))[:_CLASSES])
    if not chosen:
        raise DataError(f"{paths[0]}: names no classes; unpack the archive again")
    if len(counts) > _CLASSES:
        log.info("ADE20K: the %d of %d classes that most images show are read, others ignored", _CLASSES, len(counts))
    with replacing(kept) as temporary:
        temporary.write_text(json.dumps(chosen), encoding="utf-8")
    return chosen


def _read_kept(path: Path) -> list[Named]:
    """The classes in the cache; empty if there are none, or the file is damaged."""
    try:
        return [(int(number), str(name)) for number, name in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []


def _classes_of(path: Path) -> set[Named]:
    """The classes of one image; parts of objects are in other masks."""
    objects = read_json(path, encoding="latin-1")["annotation"]["object"]
    whole = (one for one in objects if not one["parts"]["part_level"])
    return {(_number_of(one), one["name"].split(",")[0].strip()) for one in whole}


def _number_of(one: Mapping[str, Any]) -> int:
    if not 0 <= (number := int(one["name_ndx"])) <= _LARGEST:
        raise ValueError(f"the class number {str(one['name_ndx'])[:40]} is none from 0 to {_LARGEST}")
    return number


def _draw(path: Path, numbers: Sequence[int]) -> NDArray[np.uint8]:
    pixels = read_image(path).astype(np.int64)
    found = pixels[:, :, 0] // 10 * 256 + pixels[:, :, 1]
    index_of = np.full(max(int(found.max()), *numbers) + 1, IGNORE_INDEX, dtype=np.uint8)
    index_of[list(numbers)] = np.arange(len(numbers), dtype=np.uint8)
    mask: NDArray[np.uint8] = index_of[found]
    return mask
