"""Images and masks that belong together, by their names."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from segnet.data.pairing_faults import PairingFault, report_fault
from segnet.data.samples import Sample
from segnet.data.splits import SPLITS, find_split_folders
from segnet.errors import DataError, list_names
from segnet.media.sources import IMAGE_SUFFIXES, find_files_below, find_images_below, normalize_name

__all__ = [
    "IMAGE_FOLDERS", "MASK_FOLDERS", "find_folder", "folder_splits", "mask_folder", "pair_all", "pair_folders",
    "pair_mixed", "pair_names",
]  # fmt: skip

IMAGE_FOLDERS = ("images", "img_dir", "image", "imgs", "img", "JPEGImages")
"""Names of a folder of images."""

MASK_FOLDERS = ("masks", "labels", "annotations", "ann_dir", "mask", "label", "annotation", "gt", "SegmentationClass")
"""Names of a folder of masks."""

_MASK_ENDING = re.compile(r"[_-](masks?|labels?|gt|L|P|labelIds|labelTrainIds|train_id|annotation|seg|segmentation)$")
_OTHER_IMAGES = frozenset((".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".exr", ".svg", ".psd"))
_LABEL_STUDIO = re.compile(r"task-\d+-annotation-\d+-")


def pair_folders(images: Path, masks: Path) -> tuple[Sample, ...]:
    """Images and masks of the same stem, in sub-folders as well; the mask may end in _mask, _label, _gt, _L, _P.

    Raises:
        DataError: a folder is missing or empty, or a file has no partner.
    """
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    if set(image_of) != set(mask_of):
        mask_of = _without_endings(mask_of, image_of)
    return pair_names(image_of, mask_of, images=images, masks=masks)


def pair_names(
    image_of: Mapping[str, Path], mask_of: Mapping[str, Path], *, images: Path, masks: Path
) -> tuple[Sample, ...]:
    """Samples of images and masks by name.

    Args:
        image_of, mask_of: the files by name.
        images, masks: where they lie, for the error.

    Raises:
        DataError: one has no partner, or there is none.
    """
    alone, orphan = sorted(set(image_of) - set(mask_of)), sorted(set(mask_of) - set(image_of))
    if alone or orphan:
        details = [f"without mask: {list_names(alone)}"] if alone else []
        details += [f"mask without image: {list_names(orphan)}"] if orphan else []
        report_fault(
            f"{images} and {masks} do not pair up by name; {'; '.join(details)}; {_remedy(images, orphan)}",
            PairingFault("image_without_mask", tuple(str(image_of[stem]) for stem in alone)),
            PairingFault("mask_without_image", tuple(str(mask_of[stem]) for stem in orphan)),
        )
    if not image_of:
        report_fault(f"{images}: holds no images; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    both = sorted(set(image_of) & set(mask_of))
    return tuple(Sample(image=image_of[stem], mask=mask_of[stem], name=stem) for stem in both)


def pair_mixed(folder: Path) -> tuple[Sample, ...]:
    """Images and masks in one folder; a mask is called as its image, with _mask and the like at the end.

    Raises:
        DataError: a file has no partner, or two images have one name.
    """
    files = {path: normalize_name(place.with_suffix("").as_posix()) for path, place in find_images_below(folder)}
    masks = {_MASK_ENDING.sub("", name): path for path, name in files.items() if _MASK_ENDING.search(name)}
    are_masks = set(masks.values())
    images = _by_name((name, path) for path, name in files.items() if path not in are_masks)
    return pair_names(images, masks, images=folder, masks=folder)


def pair_all(folders: Sequence[tuple[Path, Path]]) -> tuple[Sample, ...]:
    """The samples of several image folders; their names then begin with the folder, seen from where all are."""
    if len(folders) == 1:
        return pair_folders(*folders[0])
    top = os.path.commonpath([os.path.abspath(images) for images, _ in folders])  # noqa: PTH100  links stay
    samples = []
    for images, masks in folders:
        place = Path(os.path.relpath(images, top)).as_posix()
        samples += [replace(sample, name=f"{place}/{sample.name}") for sample in pair_folders(images, masks)]
    return tuple(samples)


def folder_splits(
    images: Path, masks: Path, pair: Callable[[Path, Path], tuple[Sample, ...]] = pair_folders
) -> dict[str, tuple[Sample, ...]]:
    """By sub-folder if there are any named as splits, else the same samples for every split."""
    if present := find_split_folders(images):
        below = find_split_folders(masks)
        return {split: pair(path, below.get(split, masks / path.name)) for split, path in present.items()}
    return dict.fromkeys(SPLITS, pair(images, masks))


def find_folder(root: Path, names: Iterable[str]) -> Path | None:
    """The first of these folders that is there."""
    return next((root / name for name in names if (root / name).is_dir()), None)


def mask_folder(root: Path) -> Path:
    """The folder of the masks.

    Raises:
        DataError: there is none.
    """
    if found := find_folder(root, MASK_FOLDERS):
        return found
    raise DataError(f"{root}: no folder {' or '.join(MASK_FOLDERS[:3])} stands beside images; masks are needed there")


def _remedy(images: Path, orphan: Sequence[str]) -> str:
    if raw := _of_other_formats(images, orphan):
        return f"{raw.name} is no image that can be read; convert such images to JPEG or PNG"
    if any(map(_LABEL_STUDIO.match, orphan)):
        return "Label Studio's PNG hold one class each and do not name their image; export the project as JSON instead"
    return "add or remove files"


def _of_other_formats(images: Path, orphan: Sequence[str]) -> Path | None:
    """A file beside the images that is called as a mask without image, such as a HEIC of a phone."""
    wanted = set(orphan)
    files = find_files_below(images, "") if wanted and images.is_dir() else []
    places = (
        (path, normalize_name(path.relative_to(images).with_suffix("").as_posix()))
        for path in files
        if path.suffix.lower() in _OTHER_IMAGES
    )
    return next((path for path, name in places if name in wanted), None)


def _without_endings(mask_of: Mapping[str, Path], image_of: Mapping[str, Path]) -> dict[str, Path]:
    """Masks by the name of their image, where that is the mask's own without its ending."""
    found = {stem: path for stem, path in mask_of.items() if stem in image_of}
    for stem, path in mask_of.items():
        short = _MASK_ENDING.sub("", stem)
        name = short if short in image_of else stem
        if stem in found:
            continue
        if name in found:
            message = f"{path} and {found[name].name} are both masks of {name}; keep one of them"
            report_fault(message, PairingFault("same_name", (str(path),)))
        found.setdefault(name, path)
    return found


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        report_fault(f"{folder}: there is no such folder")
        return {}
    files = find_images_below(folder)
    return _by_name((normalize_name(place.with_suffix("").as_posix()), path) for path, place in files)


def _by_name(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in named:
        if name in found:
            message = f"{path} and {found[name].name} have the same name; keep one of them"
            report_fault(message, PairingFault("same_name", (str(path),)))
        found.setdefault(name, path)
    return found
