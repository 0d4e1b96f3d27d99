"""Folders of images beside folders of masks: CamVid's tutorial, and the common ways to arrange one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from segnet.data.description import read_text
from segnet.data.layouts.naming import CLASS_FILES, find_naming
from segnet.data.layouts.pairing import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    find_folder,
    folder_splits,
    mask_folder,
    pair_folders,
    pair_mixed,
)
from segnet.data.layouts.source import Source
from segnet.data.pairing_faults import report_fault
from segnet.data.samples import Sample
from segnet.data.splits import SPLITS, folders_by_split, lists_by_split
from segnet.errors import DataError, list_names
from segnet.labels import CAMVID
from segnet.media.sources import normalize_name

__all__ = [
    "CAMVID_IGNORE_INDEX", "camvid_folders", "image_folders", "is_camvid_folders", "is_image_folders",
    "is_mixed_folders", "is_split_folders", "listed", "mixed_folders", "split_folders",
]  # fmt: skip

CAMVID_IGNORE_INDEX = (11,)
_SHOWN = 100  # characters of a line, in an error
_BESIDE = ("annot", "_labels", "_masks", "_annotations", "_gt")  # train_labels beside train


def camvid_folders(root: Path) -> Source:
    """CamVid as the authors' tutorial ships it: eleven classes, ignore value 11.

    Raises:
        DataError: an image without mask, a mask without image, or no images at all.
    """
    present = [split for split in SPLITS if (root / split).is_dir() and (root / f"{split}annot").is_dir()]
    splits = {split: pair_folders(root / split, root / f"{split}annot") for split in present}
    if not splits:
        raise DataError(f"{root}: a folder train, val or test must stand beside trainannot, valannot or testannot")
    return Source(root=root, layout="CamVid folders", splits=splits, labels=CAMVID, ignore_index=CAMVID_IGNORE_INDEX)


def is_camvid_folders(root: Path) -> bool:
    """Whether train/ and trainannot/ or the like are there."""
    return any((root / f"{split}annot").is_dir() for split in SPLITS)


def image_folders(root: Path) -> Source:
    """``images/`` beside ``masks/``, ``labels/`` or ``annotations/``; also ``img_dir/`` beside ``ann_dir/``.

    Class names are in ``classes.txt`` or another of ``CLASS_FILES``, whose colors decode color masks. A ``valid.txt``
    (fastai) lists the images of the split val; lists of names, such as ``train.txt``, those of theirs.

    Raises:
        DataError: the folders or the class names are missing, or images and masks do not pair up.
    """
    images = find_folder(root, IMAGE_FOLDERS) or root / IMAGE_FOLDERS[0]
    naming = find_naming(root, root.resolve().parent)
    if naming is None:
        raise DataError(
            f"{root}: classes.txt is missing; write one class name per line, the first being class 0 "
            f"(read are also {', '.join(CLASS_FILES[1:])}), or run segnet init"
        )
    splits = folder_splits(images, mask_folder(root))
    if len(set(map(id, splits.values()))) == 1:
        splits = _listed(root, next(iter(splits.values()))) or splits
    return naming.source(root, "image folders", splits)


def is_image_folders(root: Path) -> bool:
    """Whether images/ is there."""
    return find_folder(root, IMAGE_FOLDERS) is not None


def split_folders(root: Path) -> Source:
    """``train/images/`` beside ``train/masks/``, or ``train/`` beside ``train_labels/``, and so for val and test.

    Raises:
        DataError: the class names are missing, or images and masks do not pair up.
    """
    splits = {
        split: pair_folders(*found) for split, path in folders_by_split(root).items() if (found := _pair_of(path))
    }
    naming = find_naming(root)
    if naming is None:
        raise DataError(f"{root}: the class names are missing; write {' or '.join(CLASS_FILES)}, or run segnet init")
    return naming.source(root, "split folders", splits)


def is_split_folders(root: Path) -> bool:
    """Whether the folder of a split holds images/ and masks/, or stands beside its masks."""
    return any(_pair_of(path) for path in folders_by_split(root).values())


def mixed_folders(root: Path) -> Source:
    """Images and masks side by side in train/, valid/ and test/: ``a.jpg``, ``a_mask.png``, as Roboflow writes them.

    The classes are in ``_classes.csv`` in each folder: mask value, name.

    Raises:
        DataError: the classes differ, or images and masks do not pair up.
    """
    folders = folders_by_split(root) or dict.fromkeys(SPLITS, root)
    namings = {path: find_naming(path, root) for path in folders.values()}
    tables = {path: naming for path, naming in namings.items() if naming is not None}
    if not tables:
        raise DataError(f"{root}: _classes.csv is missing; write one line for each class: mask value, name")
    first = next(iter(tables.values()))
    if other := next((path for path, naming in tables.items() if naming != first), None):
        raise DataError(
            f"{other}: its _classes.csv differs from that of another split; give all splits the same classes"
        )
    return first.source(root, "Roboflow folders", {split: pair_mixed(path) for split, path in folders.items()})


def is_mixed_folders(root: Path) -> bool:
    """Whether a ``_classes.csv`` is in the folder or in that of a split."""
    return any((path / "_classes.csv").is_file() for path in (root, *folders_by_split(root).values()))


def _pair_of(split: Path) -> tuple[Path, Path] | None:
    """Folders of the images and of the masks of one split."""
    images, masks = find_folder(split, IMAGE_FOLDERS), find_folder(split, MASK_FOLDERS)
    if images and masks:
        return images, masks
    beside = find_folder(split.parent, [split.name + ending for ending in _BESIDE])
    return (split, beside) if beside else None


def _listed(root: Path, samples: tuple[Sample, ...]) -> dict[str, tuple[Sample, ...]] | None:
    """The splits of one set of images by lists of their names, such as train.txt or valid.txt."""
    lists = lists_by_split(root)
    if not lists:
        return None
    found = {split: listed(path, samples) for split, path in lists.items()}
    if "train" not in found:
        held = {sample.name for part in found.values() for sample in part}
        found = {"train": tuple(sample for sample in samples if sample.name not in held), **found}
    return found


def listed(path: Path, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """The samples whose images a text names, one per line, with or without suffix and folder.

    Raises:
        DataError: a line names no image that has a mask, unless faults are collected.
    """
    stem_of = {normalize_name(sample.name): sample for sample in samples}
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    found = [next((stem_of[name] for name in _names_in(line) if name in stem_of), None) for line in lines]
    if unknown := [line[:_SHOWN] for line, sample in zip(lines, found, strict=True) if sample is None]:
        report_fault(f"{path}: lists {list_names(unknown)}, but no image with a mask has that name; correct the list")
    return tuple(sample for sample in found if sample is not None)


def _names_in(line: str) -> Iterator[str]:
    """What a line may name, first as a whole, then by its first word: with suffix or without, and any end of its path.

    Lists of Ultralytics name ``./images/day/1.jpg``, where the image is called ``day/1``.
    """
    for written in (line, line.split()[0]):
        parts = PurePosixPath(normalize_name(written).replace("\\", "/")).parts
        for start in range(len(parts)):
            end = PurePosixPath(*parts[start:])
            yield from (end.as_posix(), (end.parent / end.stem).as_posix())
