"""A data set that a data.yaml describes."""

from __future__ import annotations

from pathlib import Path

from segnet.data.description import Description, read_description
from segnet.data.layouts.contents import black_and_white
from segnet.data.layouts.folders import listed
from segnet.data.layouts.pairing import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    find_folder,
    folder_splits,
    mask_folder,
    pair_all,
    pair_folders,
)
from segnet.data.layouts.source import Source
from segnet.data.layouts.yolo import holds_polygons, yolo
from segnet.data.samples import Sample

__all__ = ["data_yaml"]


def data_yaml(path: Path) -> Source:
    """A short description of a data set.

    Keys: ``names`` (list, or number: name), and optionally ``path`` (default: the file's folder), ``images`` and
    ``masks`` (folders, default images and masks or labels), ``train`` ``val`` ``test`` (an image folder or a list of
    them; see below; or a text that lists names of images),
    ``ignore_index`` (value or list, default 255), ``colors`` (one [r, g, b] per class).

    The masks of ``train: images/day`` are in the folder of the same name below ``masks``, here ``masks/day``; those of
    ``train: train/images`` in ``train/masks`` or ``train/labels``, unless ``masks`` is given. Texts of
    polygons in labels/ are read as Ultralytics YOLO has them.

    Raises:
        DataError: the file is no such description, or its folders do not pair up.
    """
    description = read_description(path)
    if description.reader is None and holds_polygons(description):
        return yolo(description)
    if description.splits:
        splits = {split: _split(places, description) for split, places in description.splits.items()}
    else:
        splits = folder_splits(_images(description), _masks(description))
    source = Source(
        root=description.root,
        layout="data.yaml",
        splits=splits,
        labels=reader.classes if (reader := description.reader) else description.labels,
        ignore_index=description.ignore_index,
        reader=reader,
        channels=description.channels,
    )
    return source if description.states_ignore_index else black_and_white(source)


def _split(places: tuple[Path, ...], description: Description) -> tuple[Sample, ...]:
    """The samples of one split: of folders, or of lists of names of images."""
    if all(place.is_file() for place in places):
        everything = pair_folders(_images(description), _masks(description))
        return tuple(sample for place in places for sample in listed(place, everything))
    return pair_all([(folder, _masks_of(folder, description)) for folder in places])


def _images(description: Description) -> Path:
    return description.images or find_folder(description.root, IMAGE_FOLDERS) or description.root / "images"


def _masks_of(images: Path, description: Description) -> Path:
    """Where the masks of one split lie."""
    if description.masks_dir is not None:
        parts = list(images.relative_to(description.root).parts) if images.is_relative_to(description.root) else []
        if "images" in parts:
            parts[parts.index("images")] = description.masks_dir
            return description.root.joinpath(*parts)
    named = description.masks or description.masks_dir
    beside = None if named or images.name != "images" else find_folder(images.parent, MASK_FOLDERS)
    return beside or _masks(description) / images.name


def _masks(description: Description) -> Path:
    if description.masks_dir is not None:
        return description.root / description.masks_dir
    return description.masks or mask_folder(description.root)
