"""Published data sets of scenes and objects: Pascal VOC and SUN RGB-D."""

from __future__ import annotations

import re
from pathlib import Path

from segnet.data.description import read_text
from segnet.data.layouts.naming import Naming, find_naming
from segnet.data.layouts.pairing import folder_splits, pair_names
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.samples import Sample
from segnet.data.splits import by_split
from segnet.errors import DataError, list_names
from segnet.labels import IGNORE_INDEX, PASCAL, SUN
from segnet.media.sources import find_images_below, normalize_name

__all__ = ["is_pascal", "is_sun", "pascal", "sun"]

_SUN_NUMBER = re.compile(r"(\d+)$")
_SUN_TEST = 5050  # the first labels of the common archive belong to test


def pascal(root: Path) -> Source:
    """Pascal VOC, and CVAT's "Segmentation mask": JPEGImages/, SegmentationClass/, lists in ImageSets/Segmentation/.

    Palette masks count by their index, color masks by the colors of ``labelmap.txt``, or of VOC without one. 255 (the
    edge of objects) is ignored.

    Raises:
        DataError: a listed image or mask is missing.
    """
    base = _pascal_root(root) or root
    masks = _by_name(base / "SegmentationClass")
    images = _by_name(base / "JPEGImages") if (base / "JPEGImages").is_dir() else _pascal_images(base, masks)
    lists = [path for path in (base / "ImageSets" / "Segmentation").glob("*.txt") if path.is_file()]
    found = by_split(lists)
    splits = {split: _listed(path, images, masks) for split, path in found.items() if _has_masks(path, masks)}
    if not found:
        everything = pair_names(
            {name: images[name] for name in masks if name in images}, masks, images=base, masks=base
        )
        splits = with_validation(root, {"train": everything})
    naming = find_naming(base) or Naming(labels=PASCAL, encoding="auto", ignore_colors=((224, 224, 192),))
    return naming.source(root, "Pascal VOC", with_validation(root, splits))


def is_pascal(root: Path) -> bool:
    """Whether SegmentationClass/ is there, in the folder or in VOCdevkit/VOC2012 below."""
    return _pascal_root(root) is not None


def sun(root: Path) -> Source:
    """SUN RGB-D with 37 classes as PNG: ``image/train/``, ``label37/train/``; 0 is unlabeled and ignored.

    Images and labels pair up by the number in their names: img-000001.jpg, img37labels-000001.png.

    Raises:
        DataError: images and labels do not pair up.
    """
    splits = folder_splits(root / "image", root / "label37", _pair_numbers)
    return Source(
        root=root, layout="SUN RGB-D", splits=with_validation(root, splits), labels=SUN.without([0]),
        ignore_index=(0, IGNORE_INDEX),
    )  # fmt: skip


def is_sun(root: Path) -> bool:
    """Whether image/ and label37/ are there."""
    return (root / "image").is_dir() and (root / "label37").is_dir()


def _pascal_root(root: Path) -> Path | None:
    below = sorted(path.parent for path in root.glob("VOCdevkit/*/SegmentationClass"))
    places = [root, *reversed(below)]
    return next((place for place in places if (place / "SegmentationClass").is_dir()), None)


def _pascal_images(base: Path, masks: dict[str, Path]) -> dict[str, Path]:
    """Images anywhere else in the folder: CVAT exports none, so they are put where there is room."""
    folders = ("SegmentationClass", "SegmentationObject")
    files = find_images_below(base)
    found = {normalize_name(path.stem): path for path, place in files if place.parts[0] not in folders}
    if missing := sorted(set(masks) - set(found)):
        raise DataError(f"{base}: has masks but no images of {list_names(missing)}; put them into JPEGImages/")
    return found


def _by_name(folder: Path) -> dict[str, Path]:
    return {normalize_name(place.with_suffix("").as_posix()): path for path, place in find_images_below(folder)}


def _has_masks(path: Path, masks: dict[str, Path]) -> bool:
    """Whether a list names a mask at all: those of the test set are not published."""
    return path.stem != "test" or any(line.strip() in masks for line in normalize_name(read_text(path)).splitlines())


def _listed(path: Path, images: dict[str, Path], masks: dict[str, Path]) -> tuple[Sample, ...]:
    lines = [line.strip() for line in normalize_name(read_text(path)).splitlines() if line.strip()]
    names = [line if line in images else line.split()[0] for line in lines]
    if missing := [name for name in names if name not in images or name not in masks]:
        raise DataError(
            f"{path}: lists {list_names(missing)}, whose image or mask is missing; unpack the archive again, or remove "
            "the lines"
        )
    return tuple(Sample(image=images[name], mask=masks[name], name=name) for name in names)


def _pair_numbers(images: Path, masks: Path) -> tuple[Sample, ...]:
    return pair_names(_by_number(images), _by_number(masks), images=images, masks=masks)


def _by_number(folder: Path) -> dict[str, Path]:
    found = ((path, _SUN_NUMBER.search(path.stem)) for path, _ in find_images_below(folder))
    return {f"img-{int(match[1]):06}": path for path, match in found if match}
