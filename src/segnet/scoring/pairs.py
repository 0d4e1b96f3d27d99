"""Pairs of predicted and true masks, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segnet.data.layouts import holds_data_set
from segnet.data.masks import MaskReader
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError, DataError, list_names
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.masks import Encoding
from segnet.media.sources import IMAGE_SUFFIXES, find_images_below, normalize_name

__all__ = ["Pair", "Pairing", "Truth", "open_truth", "pair_up"]

_REMEDY = "correct the mask, or give other classes with --classes or other ignored values with --ignore-index"
_REMEDY_OF_MAPPED = (
    "predictions hold the classes that the data set, --map and --only leave, numbered from 0; correct the mask, or "
    "score without --map and --only"
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The predicted and the true mask file of an image, and the image file if it is known."""

    name: str
    predicted: Path
    truth: Path
    image: Path | None


@dataclass(frozen=True, kw_only=True)
class Truth:
    """True masks.

    Attributes:
        description: The place of the masks, for headings.
        split: of the data set; None for a folder of masks.
        masks: by the name of the image, in order.
        images: the images by their names; empty if they are not at hand.
        reader: reads the masks.
    """

    description: str
    split: str | None
    masks: Mapping[str, Path]
    images: Mapping[str, Path]
    reader: MaskReader


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Predictions and truth, side by side.

    Attributes:
        pairs: in the order of the truth, at least one.
        predicted: reads the predictions.
        truth: reads the truth.
        missing: names of the images without a prediction.
        superfluous: names of the predictions without a truth.
    """

    pairs: Sequence[Pair]
    predicted: MaskReader
    truth: MaskReader
    missing: tuple[str, ...] = ()
    superfluous: tuple[str, ...] = ()

    @property
    def labels(self) -> ClassTable:
        """The class table."""
        return self.truth.classes


def open_truth(
    location: str,
    *,
    source: SourceConfig = SourceConfig(),  # noqa: B008
    split: str = "val",
    labels: ClassTable | None = None,
    ignore_index: tuple[int, ...] = (),
    encoding: Encoding = "auto",
) -> Truth:
    """Find the true masks: those of a data set, or a folder that holds only masks.

    Args:
        location: as ``open_source`` takes it, or such a folder.
        source: how the data set is read.
        split: of the data set.
        labels: the class table; None takes the data set's own. A folder has none.
        ignore_index: Values that are ignored; empty: those of the data set, or 255.
        encoding: what the pixels of the masks in a folder are; a data set knows its own.

    Raises:
        ConfigError: a single file; a folder without a class table, or with classes to map; an ignored value that no
            file can hold, or one of the data set that is a class in the table.
        DataError: nothing usable is there, or two masks have one name.
    """
    path = Path(location)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise ConfigError(f"{path}: is one image; give the folder that holds all masks, or a data set")
    if path.is_dir() and source.layout is None and not holds_data_set(path):
        if source.map or source.only:
            raise ConfigError(
                f"{path}: holds masks only, and --map and --only choose from the classes of a data set; give the data "
                "set, or leave them out"
            )
        if labels is None:
            raise ConfigError(
                f"{path}: holds no data set, and masks do not say which classes they mean; "
                "give the data set, or the class table with --classes"
            )
        ignored = ignore_index or _default_ignore_index(labels)
        reader = MaskReader(labels=labels.without(ignored), ignore_index=ignored, encoding=encoding, remedy=_REMEDY)
        return Truth(description=str(path), split=None, masks=_find_masks(path), images={}, reader=reader)
    opened = source.open(location)
    data = opened.dataset(split)
    ignored = ignore_index or data.ignore_index
    if labels is not None and not ignore_index:
        _require_other_values(labels, ignored, location)
    names = [normalize_name(sample.name) for sample in data.samples]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(f"{location}: the image {twice[0]} is listed twice, so it would count twice; list it once")
    return Truth(
        description=f"{opened.root} ({opened.layout}), split {split}",
        split=split,
        masks={name: sample.mask for name, sample in zip(names, data.samples, strict=True)},
        images={name: sample.image for name, sample in zip(names, data.samples, strict=True)},
        reader=_reader(data.reader, labels, ignore_index, ignored),
    )


def _reader(own: MaskReader, labels: ClassTable | None, given: tuple[int, ...], ignored: tuple[int, ...]) -> MaskReader:
    """The reader of the data set, unless other classes or ignored values are given."""
    if labels is not None:
        if own.target is not None or own.encoding != "numbers":
            raise ConfigError(
                "--classes gives the values in masks of numbers; this data set has its own, so leave it out"
            )
        return MaskReader(labels=labels.without(ignored), ignore_index=ignored, remedy=_REMEDY)
    kept = own.labels.without(given) if own.target is None else own.labels  # the names of the target are of all
    return replace(own, labels=kept, ignore_index=given or own.ignore_index, remedy=_REMEDY)


def _default_ignore_index(labels: ClassTable) -> tuple[int, ...]:
    return () if IGNORE_INDEX in labels.values else (IGNORE_INDEX,)


def _require_other_values(labels: ClassTable, ignored: tuple[int, ...], location: str) -> None:
    both = [(value, name) for value, name in zip(labels.values, labels.names, strict=True) if value in ignored]
    if both:
        raise ConfigError(
            f"{location}: {both[0][0]} is the ignore value of this data set, and {both[0][1]} in the class "
            "table; give the ignored value with --ignore-index, such as 255"
        )


def pair_up(folder: Path, truth: Truth, *, encoding: Encoding = "auto", partial: bool = False) -> Pairing:
    """Pair the masks of a folder with the truth, by name without the suffix.

    Sub-folders belong to the name if the truth has some; otherwise they do not matter.

    Args:
        folder: holds the predictions, one per image.
        truth: see ``open_truth``.
        encoding: what the pixels of the predictions are.
        partial: score those that have a partner, instead of refusing.

    Raises:
        DataError: the folder holds two masks of one name, or no partner was found for some, or for any.
    """
    found = _find_masks(folder, nested=any("/" in name for name in truth.masks))
    missing = tuple(name for name in truth.masks if name not in found)
    superfluous = tuple(sorted(set(found) - set(truth.masks)))
    both = [name for name in truth.masks if name in found]
    if not both or ((missing or superfluous) and not partial):
        raise DataError(_mismatch(folder, truth, missing, superfluous, found=bool(both)))
    ignore_index = tuple(dict.fromkeys((*_ignored(truth.reader), *_default_ignore_index(truth.reader.classes))))
    remedy = _REMEDY if truth.reader.target is None else _REMEDY_OF_MAPPED
    reader = MaskReader(labels=truth.reader.classes, ignore_index=ignore_index, encoding=encoding, remedy=remedy)
    pairs = [
        Pair(name=name, predicted=found[name], truth=truth.masks[name], image=truth.images.get(name)) for name in both
    ]
    return Pairing(pairs=pairs, predicted=reader, truth=truth.reader, missing=missing, superfluous=superfluous)


def _ignored(truth: MaskReader) -> tuple[int, ...]:
    """Ignored values of masks whose values are those of the classes, not of the data set's files."""
    return truth.ignore_index if truth.target is None else ()


def _find_masks(folder: Path, *, nested: bool = True) -> dict[str, Path]:
    """Masks by name: the path below the folder, or only the stem."""
    if folder.is_file():
        raise DataError(f"{folder}: is a file; give the folder that holds the masks")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the folder that holds the masks")
    found: dict[str, Path] = {}
    for path, place in find_images_below(folder):
        name = normalize_name(place.with_suffix("").as_posix() if nested else place.stem)
        if name in found:
            raise DataError(
                f"{found[name]} and {path} are both named {name}; "
                "keep one of them, or give the folder that holds one mask per image"
            )
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no masks; expected one image file for each, such as PNG or TIFF")
    return found


def _mismatch(folder: Path, truth: Truth, missing: Sequence[str], superfluous: Sequence[str], *, found: bool) -> str:
    details = [f"without prediction ({len(missing)} of {len(truth.masks)}): {list_names(missing)}"] if missing else []
    details += [f"predictions without truth ({len(superfluous)}): {list_names(superfluous)}"] if superfluous else []
    remedy = "give each prediction the name of its image"
    remedy += ", or score those that have a partner with --partial" if found else ""
    return f"{folder} and {truth.description} do not pair up by name; {'; '.join(details)}; {remedy}"
