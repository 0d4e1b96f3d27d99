"""Finds out which layout a data set has, and opens it.

Layouts are tried in the order of ``LAYOUTS``: those with the most peculiar files come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from segnet.bands import Channels
from segnet.data.dataset import ResizeMode, SegmentationDataset
from segnet.data.layouts.ade20k import ade20k, ade20k_full, is_ade20k, is_ade20k_full
from segnet.data.layouts.annotated import is_labelme, is_supervisely, labelme, supervisely
from segnet.data.layouts.benchmarks import is_pascal, is_sun, pascal, sun
from segnet.data.layouts.coco import coco, is_coco
from segnet.data.layouts.coco_stuff import coco_stuff, is_coco_stuff
from segnet.data.layouts.contents import black_and_white
from segnet.data.layouts.cvat import cvat, is_cvat
from segnet.data.layouts.described import data_yaml
from segnet.data.layouts.folders import (
    camvid_folders,
    image_folders,
    is_camvid_folders,
    is_image_folders,
    is_mixed_folders,
    is_split_folders,
    mixed_folders,
    split_folders,
)
from segnet.data.layouts.label_studio import is_label_studio, label_studio
from segnet.data.layouts.lists import is_list_folder, list_folder, pair_list
from segnet.data.layouts.source import Source
from segnet.data.layouts.streets import (
    bdd100k,
    camvid_original,
    cityscapes,
    is_bdd100k,
    is_camvid_original,
    is_cityscapes,
    is_kitti,
    is_kitti_road,
    kitti,
    kitti_road,
)
from segnet.data.layouts.synthetic import synthetic
from segnet.errors import ConfigError, DataError, SegNetError
from segnet.system.files import describe_os_error, path_fault

__all__ = ["LAYOUTS", "Layout", "holds_data_set", "open_dataset", "open_source"]


class Layout(NamedTuple):
    """A way in which data sets lie in a folder.

    Attributes:
        open: opens the data set.
        fits: whether a folder looks like one.
        files: what a folder of this layout holds, in words.
    """

    open: Callable[[Path], Source]
    fits: Callable[[Path], bool]
    files: str


LAYOUTS: Mapping[str, Layout] = {
    "data.yaml": Layout(
        lambda root: data_yaml(root / "data.yaml"),
        lambda root: (root / "data.yaml").is_file(),
        "data.yaml",
    ),
    "camvid-folders": Layout(camvid_folders, is_camvid_folders, "train/ with trainannot/ (CamVid)"),
    "cityscapes": Layout(cityscapes, is_cityscapes, "leftImg8bit/ with gtFine/ (Cityscapes)"),
    "camvid-original": Layout(
        camvid_original, is_camvid_original, "701_StillsRaw_full/ with LabeledApproved_full/ (CamVid)"
    ),
    "bdd100k": Layout(bdd100k, is_bdd100k, "images/ with labels/*/*_train_id.png (BDD100K)"),
    "pascal": Layout(pascal, is_pascal, "JPEGImages/ with SegmentationClass/ (Pascal VOC, CVAT)"),
    "kitti-road": Layout(kitti_road, is_kitti_road, "training/image_2/ with gt_image_2/ (KITTI road)"),
    "kitti": Layout(kitti, is_kitti, "training/image_2/ with semantic/ (KITTI)"),
    "ade20k": Layout(ade20k, is_ade20k, "annotations/ with objectInfo150.txt (ADE20K)"),
    "ade20k-full": Layout(ade20k_full, is_ade20k_full, "images/ADE/training/ with *_seg.png (ADE20K)"),
    "sun": Layout(sun, is_sun, "image/ with label37/ (SUN RGB-D)"),
    "coco-stuff": Layout(coco_stuff, is_coco_stuff, "stuffthingmaps/ with labels.txt (COCO-Stuff)"),
    "coco": Layout(coco, is_coco, "annotations/instances_train2017.json or result.json (COCO)"),
    "cvat": Layout(cvat, is_cvat, "annotations.xml with images/ (CVAT)"),
    "label-studio": Layout(label_studio, is_label_studio, "a JSON of tasks with images/ (Label Studio)"),
    "supervisely": Layout(supervisely, is_supervisely, "meta.json with ann/ (Supervisely)"),
    "labelme": Layout(labelme, is_labelme, "*.json with shapes (LabelMe)"),
    "roboflow": Layout(mixed_folders, is_mixed_folders, "train/_classes.csv (Roboflow)"),
    "lists": Layout(list_folder, is_list_folder, "train.txt of 'image mask' pairs with labels.txt (PaddleSeg)"),
    "split-folders": Layout(split_folders, is_split_folders, "train/images/ with train/masks/"),
    "image-folders": Layout(image_folders, is_image_folders, "images/ with masks/ or labels/"),
}
"""The layouts by the names that ``--layout`` takes."""


def open_dataset(
    location: str | Path,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    resize_mode: ResizeMode = "letterbox",
    channels: Channels | None = None,
) -> SegmentationDataset:
    """One split of a data set on disk.

    Args:
        location: a folder, a pair list, a ``data.yaml``, or ``"synthetic"``.
        split: ``train``, ``val`` or ``test``; folders without splits are all of them.
        size: (height, width) to resize to; None keeps each image's own.
        resize_mode: ``letterbox`` pads to this size, ``stretch`` distorts; see ``SegmentationDataset``.
        channels: 3 for RGB, 1 for gray; another number or ``Bands`` for bands as they are stored; ``channels`` of a
            predictor for its images. None: as the data.yaml says, or RGB.

    Raises:
        DataError: nothing usable is there; the message lists what was looked for.
    """
    return open_source(location).dataset(split, size=size, resize_mode=resize_mode, channels=channels)


def open_source(location: str | Path, *, layout: str | None = None) -> Source:
    """Recognize the layout of a data set, and find its samples and classes.

    Args:
        location: a folder, a pair list, a ``data.yaml``, or ``"synthetic"``.
        layout: one of ``LAYOUTS``, to insist on; None: the first that fits.

    Raises:
        DataError: nothing usable is there; the message lists what was looked for.
        ConfigError: there is no such layout, or it is one of folders and a file is given.
    """
    if not isinstance(location, str | PathLike):
        raise DataError(f"the data set is a {type(location).__name__}; give the path of a folder or file")
    if fault := path_fault(str(location)):
        raise DataError(f"the data set {str(location)[:60]!a} {fault}; give the path of a data set")
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout[:60]!r} is unknown; choose one of {', '.join(LAYOUTS)}")
    if str(location) == "synthetic" and not Path(location).exists():
        return synthetic()
    path = Path(location)
    if path.is_file():
        return _open_file(path, layout)
    if not path.is_dir():
        raise DataError(f"{path}: there is no such data set; give a folder, a pair list, a data.yaml, or 'synthetic'")
    chosen = layout or recognize(path)
    if chosen is None:
        above = path.absolute().parent
        is_one = LAYOUTS["data.yaml"].fits(above) or LAYOUTS["image-folders"].fits(above)
        if other := above if is_one else _data_set_below(path):
            raise DataError(f"{path}: no data set was recognized, but {other} is one; give that folder")
        looked_for = ", ".join(one.files for one in LAYOUTS.values())
        raise DataError(f"{path}: no data set was recognized; looked for {looked_for}")
    with _named(path):
        source = LAYOUTS[chosen].open(path)
    return source if chosen == "data.yaml" else black_and_white(source)


def recognize(folder: Path) -> str | None:
    """The name of the first layout that fits a folder; None if none does.

    Raises:
        DataError: the folder cannot be searched.
    """
    try:
        return next((name for name, layout in LAYOUTS.items() if layout.fits(folder)), None)
    except OSError as error:
        raise DataError(f"{folder}: cannot be searched ({error.strerror}); check its permissions") from error


def _data_set_below(path: Path) -> Path | None:
    """The first data set in a folder, as unpacked archives have it; of those that can be read."""
    for folder in sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith(".")):
        with suppress(DataError):
            if holds_data_set(folder):
                return folder
    return None


def holds_data_set(folder: Path) -> bool:
    """Whether the layout of a data set is recognized in a folder."""
    return recognize(folder) is not None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of which data set an error is: of its class table, or of a file in it that the system refuses."""
    try:
        yield
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error
    except OSError as error:
        if isinstance(error, SegNetError):
            raise
        reason = describe_os_error(error) or f"{error.strerror}; check its files"
        raise DataError(f"{path}: cannot be read ({reason})") from error


def _open_file(path: Path, layout: str | None) -> Source:
    if layout not in (None, "data.yaml", "lists"):
        raise ConfigError(f"{path} is a file, and the layout {layout} is one of folders; give the folder")
    with _named(path):
        return data_yaml(path) if path.suffix in {".yaml", ".yml"} else black_and_white(pair_list(path))
