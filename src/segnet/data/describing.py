"""Describes a folder of images and masks: its classes by what the masks hold, and a validation split by sequence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segnet.data.conversion import write_description
from segnet.data.layouts.naming import find_naming
from segnet.data.layouts.opening import recognize
from segnet.data.layouts.pairing import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    find_folder,
    folder_splits,
    mask_folder,
    pair_folders,
)
from segnet.data.samples import Sample
from segnet.data.sequences import hold_out
from segnet.data.splits import folders_by_split
from segnet.errors import DataError, OutputError
from segnet.labels import IGNORE_INDEX, ClassTable, Color
from segnet.media.images.masks import read_mask_file
from segnet.system.files import replacing

__all__ = ["FolderDescription", "describe_folder"]

_MOST_COLORS = 64  # more are not classes, but a photo or a smoothed mask


@dataclass(frozen=True, kw_only=True)
class FolderDescription:
    """The description that was written for a folder.

    Attributes:
        path: the data.yaml.
        labels: the classes.
        images: number of images by split.
        held_out: how the validation images were chosen; empty if the folder has splits.
        named: whether a file names the classes.
        colored: whether masks hold the colors of the classes.
    """

    path: Path
    labels: ClassTable
    images: dict[str, int]
    held_out: str
    named: bool
    colored: bool


def describe_folder(root: Path, *, force: bool = False) -> FolderDescription:
    """Write ``data.yaml`` for images/ and masks/ in a folder, and ``train.txt`` and ``val.txt`` if it has no splits.

    The folders may also lie in those of the splits: train/images/, train/masks/. Classes have the names of
    ``classes.txt`` or the like; without one they are class0, class1 and so on.

    Raises:
        DataError: there are no such folders, masks hold no classes, or the data set needs no description.
        OutputError: one of the files is there already.
    """
    folders = _folders(root)
    splits = {split: pair_folders(*pair) for split, pair in folders.items()} if folders else _image_folders(root)
    shared = len({tuple(samples) for samples in splits.values()}) == 1 and not folders
    names = [sample.name for sample in next(iter(splits.values()))]
    written = [root / "data.yaml", *((root / f"{split}.txt" for split in ("train", "val")) if shared else ())]
    if not force and (there := next((path for path in written if path.exists()), None)):
        raise OutputError(f"{there} is there already; give --force to replace it")
    masks = list({sample.mask for samples in splits.values() for sample in samples})
    labels, ignore_index, colored = _classes(root, masks)
    held, how = hold_out(names) if shared else (set[str](), "")
    counts = {split: len(samples) for split, samples in splits.items()}
    if shared:
        parts = {"train": [name for name in names if name not in held], "val": [name for name in names if name in held]}
        counts = {split: _write_list(root / f"{split}.txt", part) for split, part in parts.items()}
    lists = {split: images.relative_to(root).as_posix() for split, (images, _) in folders.items()}
    lists |= {path.stem: path.name for path in written[1:]}
    path = write_description(root, labels, ignore_index=ignore_index, lists=lists, colored=colored)
    named = find_naming(root) is not None
    return FolderDescription(path=path, labels=labels, images=counts, held_out=how, named=named, colored=colored)


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders of images and masks in those of the splits; empty if they are not there."""
    if not root.is_dir():
        raise DataError(f"{root}: there is no such folder; give that of images/ and masks/")
    below = folders_by_split(root)
    pairs = {
        split: (find_folder(path, IMAGE_FOLDERS), find_folder(path, MASK_FOLDERS)) for split, path in below.items()
    }
    return {split: (images, masks) for split, (images, masks) in pairs.items() if images and masks}


def _image_folders(root: Path) -> dict[str, tuple[Sample, ...]]:
    known = recognize(root)
    if known not in (None, "image-folders", "data.yaml", "split-folders"):
        raise DataError(
            f"{root}: is a data set of the layout {known}, which needs no data.yaml; run segnet train {root}, or "
            "segnet convert-data to write it as images and masks"
        )
    images = find_folder(root, IMAGE_FOLDERS)
    if images is None:
        raise DataError(
            f"{root}: no folder {' or '.join(IMAGE_FOLDERS[:3])} is there; put the images into one, and the masks "
            f"beside it into {MASK_FOLDERS[0]}"
        )
    return folder_splits(images, mask_folder(root))


def _write_list(path: Path, names: list[str]) -> int:
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return len(names)


def _classes(root: Path, masks: list[Path]) -> tuple[ClassTable, tuple[int, ...], bool]:
    """Class table, ignored values, and whether the masks are in color."""
    if naming := find_naming(root):
        return naming.labels, naming.ignore_index, naming.encoding != "numbers"
    values, colors = set[int](), set[Color]()
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(_contents, masks):
            values |= {value for value in found if isinstance(value, int)}
            colors |= {color for color in found if isinstance(color, tuple)}
    if colors and values:
        raise DataError(f"{root}: some masks hold colors and some class numbers; save all masks alike")
    if len(colors) > _MOST_COLORS or max(values, default=0) > IGNORE_INDEX:
        raise DataError(f"{root}: the masks hold {len(colors) or 'large'} values, which are no classes; give masks")
    if not colors and values <= {IGNORE_INDEX}:
        raise DataError(f"{root}: the masks hold ignored pixels ({IGNORE_INDEX}) only; give masks with classes")
    return _of_colors(colors) if colors else _of_values(values)


def _contents(path: Path) -> set[int | Color]:
    stored = read_mask_file(path).values
    if stored.ndim == 2:
        return {int(value) for value in np.unique(stored)}
    return {(int(r), int(g), int(b)) for r, g, b in np.unique(stored.reshape(-1, 3), axis=0)}


def _of_values(values: set[int]) -> tuple[ClassTable, tuple[int, ...], bool]:
    if values == {0, IGNORE_INDEX}:
        return ClassTable.from_names(["background", "object"], [0, IGNORE_INDEX]), (), False
    kept = sorted(values - {IGNORE_INDEX})
    return ClassTable.from_names([f"class{value}" for value in kept], kept), (IGNORE_INDEX,), False


def _of_colors(colors: set[Color]) -> tuple[ClassTable, tuple[int, ...], bool]:
    kept = sorted(colors - {(0, 0, 0)}) if len(colors) > 2 else sorted(colors)
    names = tuple(f"color {red} {green} {blue}" for red, green, blue in kept)
    return ClassTable(names=names, colors=tuple(kept)), (IGNORE_INDEX,), True
