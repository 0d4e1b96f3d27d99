"""Which predicted label map belongs to which true one."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet.data.layouts import holds_data_set, open_source
from segnet.data.masks import LabelMapReader
from segnet.errors import ConfigError, DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.reading import Encoding
from segnet.media.sources import IMAGE_SUFFIXES, find_images_below

__all__ = ["Pair", "Pairing", "Truth", "open_truth", "pair_up"]

_REMEDY = "correct the label map, or give other classes with --labels or other void values with --void"
_FEW = 5


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An image's two label maps on disk, and the image itself if it is at hand."""

    name: str
    predicted: Path
    truth: Path
    image: Path | None


@dataclass(frozen=True, kw_only=True)
class Truth:
    """True label maps.

    Attributes:
        told: where they were found, in words.
        split: of the data set; None of a folder of label maps.
        masks: by the name of the image, in order.
        images: the images by their names; empty if they are not at hand.
        reader: reads the masks.
    """

    told: str
    split: str | None
    masks: Mapping[str, Path]
    images: Mapping[str, Path]
    reader: LabelMapReader


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
    predicted: LabelMapReader
    truth: LabelMapReader
    missing: tuple[str, ...] = ()
    superfluous: tuple[str, ...] = ()

    @property
    def labels(self) -> ClassTable:
        """The class table."""
        return self.truth.labels


def open_truth(
    location: str,
    *,
    split: str = "val",
    labels: ClassTable | None = None,
    void: tuple[int, ...] = (),
    encoding: Encoding = "auto",
) -> Truth:
    """Find true label maps: those of a data set, or a folder of nothing but label maps.

    Args:
        location: as ``open_source`` takes it, or such a folder.
        split: of the data set.
        labels: the class table; None takes the data set's own. A folder has none.
        void: numbers that count for nothing; empty takes the data set's own, or 255.
        encoding: of the maps in a folder; the masks of a data set are numbers.

    Raises:
        ConfigError: one image, or a folder without a class table; a void value that no file can hold, or one of the
            data set that is a class in the table.
        DataError: nothing usable is there, or two masks have one name.
    """
    path = Path(location)
    if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise ConfigError(f"{path}: is one image; give the folder that holds all label maps, or a data set")
    if path.is_dir() and not holds_data_set(path):
        if labels is None:
            raise ConfigError(
                f"{path}: holds no data set, and label maps alone do not say which classes they mean; "
                "give the data set, or the class table with --labels"
            )
        reader = LabelMapReader(labels=labels, void=void or (IGNORE_INDEX,), encoding=encoding, remedy=_REMEDY)
        return Truth(told=str(path), split=None, masks=_maps_in(path), images={}, reader=reader)
    source = open_source(location)
    data = source.dataset(split)
    if labels is not None and not void and (both := [value for value in data.void if value < labels.classes]):
        raise ConfigError(
            f"{location}: {both[0]} means void in this data set, and {labels.names[both[0]]} in the class table; say "
            "with --void what counts for nothing, 255 for instance"
        )
    names = [_name(sample.name) for sample in data.samples]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise DataError(f"{location}: two images are named {twice[0]}; predictions cannot be told apart, rename one")
    return Truth(
        told=f"{source.root} ({source.layout}), split {split}",
        split=split,
        masks={name: sample.mask for name, sample in zip(names, data.samples, strict=True)},
        images={name: sample.image for name, sample in zip(names, data.samples, strict=True)},
        reader=LabelMapReader(labels=labels or data.labels, void=void or data.void, remedy=_REMEDY),
    )


def pair_up(folder: Path, truth: Truth, *, encoding: Encoding = "auto", partial: bool = False) -> Pairing:
    """Pair the label maps of a folder with the truth, by name up to the ending.

    Sub-folders belong to the name if the truth has some; otherwise they do not matter.

    Args:
        folder: holds the predictions, one per image.
        truth: see ``open_truth``.
        encoding: of the predictions.
        partial: score those that have a partner, instead of refusing.

    Raises:
        DataError: the folder holds two maps of one name, or no partner was found for some, or for any.
    """
    found = _maps_in(folder, nested=any("/" in name for name in truth.masks))
    missing = tuple(name for name in truth.masks if name not in found)
    superfluous = tuple(sorted(set(found) - set(truth.masks)))
    both = [name for name in truth.masks if name in found]
    if not both or ((missing or superfluous) and not partial):
        raise DataError(_mismatch(folder, truth, missing, superfluous, found=bool(both)))
    void = tuple(dict.fromkeys((*truth.reader.void, IGNORE_INDEX)))
    reader = LabelMapReader(labels=truth.reader.labels, void=void, encoding=encoding, remedy=_REMEDY)
    pairs = [
        Pair(name=name, predicted=found[name], truth=truth.masks[name], image=truth.images.get(name)) for name in both
    ]
    return Pairing(pairs=pairs, predicted=reader, truth=truth.reader, missing=missing, superfluous=superfluous)


def _maps_in(folder: Path, *, nested: bool = True) -> dict[str, Path]:
    """Label maps by name: the place below the folder, or just the stem."""
    if folder.is_file():
        raise DataError(f"{folder}: is a file; give the folder that holds the label maps")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; give the folder that holds the label maps")
    found: dict[str, Path] = {}
    for path, place in find_images_below(folder):
        name = _name(place.with_suffix("").as_posix() if nested else place.stem)
        if name in found:
            raise DataError(
                f"{found[name]} and {path} are both named {name}; "
                "keep one of them, or give the folder that holds one label map per image"
            )
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no label maps; expected one image file for each, such as PNG or TIFF")
    return found


def _name(name: str) -> str:
    """One spelling of letters with marks, of which macOS stores another than most programs write."""
    return unicodedata.normalize("NFC", name)


def _mismatch(folder: Path, truth: Truth, missing: Sequence[str], superfluous: Sequence[str], *, found: bool) -> str:
    told = [f"without prediction ({len(missing)} of {len(truth.masks)}): {_few(missing)}"] if missing else []
    told += [f"predictions without truth ({len(superfluous)}): {_few(superfluous)}"] if superfluous else []
    remedy = "give each prediction the name of its image"
    remedy += ", or score those that have a partner with --partial" if found else ""
    return f"{folder} and {truth.told} do not pair up by name; {'; '.join(told)}; {remedy}"


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(names[:_FEW]) + more
