"""Annotations that become masks: drawn once, as masks of class indices, into the cache folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.pairing_faults import PairingFault, report_fault
from segnet.data.samples import Sample, with_distinct_names
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.writing import write_mask
from segnet.system.files import cache_dir, path_fault
from segnet.system.progress import progress_bar

__all__ = [
    "Drawing", "draw_samples", "drawn_source", "glob_visible", "read_each", "read_json", "report_annotation",
    "require_image",
]  # fmt: skip

Content = TypeVar("Content")

_FORM = 5  # of the kept masks; raised when the same annotations give other masks
# What a file of other keys or values leads to.
_OTHER_FORM = (LookupError, TypeError, ValueError, OverflowError, AttributeError)


class Drawing(NamedTuple):
    """A mask that an annotation describes.

    Attributes:
        image: the image file.
        name: of the sample.
        annotation: the file that holds the annotation.
        key: which part of the file, and the numbers that stand for classes in it, unless the file says that itself.
        draw: makes the mask, uint8 (H, W).
        pixels: another file that the mask is made of.
    """

    image: Path
    name: str
    annotation: Path
    key: str
    draw: Callable[[], NDArray[np.uint8]]
    pixels: Path | None = None


def drawn_source(root: Path, layout: str, drawings: Mapping[str, Iterable[Drawing]], labels: ClassTable) -> Source:
    """The data set of these masks, with a validation split; 255 is ignored in them."""
    splits = with_validation(root, draw_samples(drawings, labels))
    return Source(root=root, layout=layout, splits=splits, labels=labels, ignore_index=(IGNORE_INDEX,))


def draw_samples(drawings: Mapping[str, Iterable[Drawing]], labels: ClassTable) -> dict[str, tuple[Sample, ...]]:
    """Samples of each split, whose masks are in the cache folder; those that are not there yet are drawn.

    A bar shows the progress. An annotation that cannot be drawn is a fault of the data set; see ``report_fault``.

    Args:
        drawings: by split.
        labels: the class table; masks are kept for it, and for the state of the annotation.
    """
    planned = [(split, one) for split, members in drawings.items() for one in members]
    places = _places([one for _, one in planned], labels)
    missing = [number for number, place in enumerate(places) if not place.is_file()]
    with progress_bar("drawing masks", None) as progress:
        for done, number in enumerate(missing, start=1):
            _draw(planned[number][1], places[number], labels)
            progress(done, len(missing))
    splits: dict[str, list[Sample]] = {split: [] for split in drawings}
    for (split, one), place in zip(planned, places, strict=True):
        if place.is_file():
            splits[split].append(Sample(image=one.image, mask=place, name=one.name, annotation=one.annotation))
    return {split: with_distinct_names(samples) for split, samples in splits.items()}


def read_each(paths: Iterable[Path], read: Callable[[Path], Content]) -> Iterator[tuple[Path, Content]]:
    """Each file with its content; a file of another form is a fault of the data set, and left out."""
    for path in paths:
        try:
            yield path, read(path)
        except DataError as error:
            report_annotation(str(error))
        except _OTHER_FORM as error:
            report_annotation(_describe(path, error))


def glob_visible(folder: Path, pattern: str) -> list[Path]:
    """The files that match a pattern in a folder, sorted; hidden ones are left out, as of images.

    macOS puts ``._a.json`` beside ``a.json`` on foreign disks.
    """
    found = sorted(folder.glob(pattern))
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]


def read_json(path: Path, *, encoding: str | None = None) -> Any:
    """The content of a JSON file.

    Args:
        path: of the file.
        encoding: of the text; None: one of those that JSON may have, UTF-8, UTF-16 or UTF-32.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_bytes() if encoding is None else path.read_text(encoding=encoding))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON that can be read ({error}); export it again") from error


def require_image(image: Path, annotation: Path) -> bool:
    """Whether the image of an annotation is there; if not, that is a fault of the data set."""
    fault = path_fault(str(image))
    if not fault and image.is_file():
        return True
    message = f"{annotation}: its image {image} is missing; put it there, or remove the annotation"
    if fault:
        message = f"{annotation}: the path of its image, {str(image)[:200]!a}, {fault}; correct it, or export it again"
    report_fault(message, PairingFault("mask_without_image", (f"{annotation}: {image.name}",)))
    return False


def report_annotation(message: str) -> None:
    """Report an annotation that cannot be drawn, as a fault of the data set."""
    report_fault(message, PairingFault("annotation", (message,)))


def _draw(drawing: Drawing, place: Path, labels: ClassTable) -> None:
    try:
        mask = drawing.draw()
    except DataError as error:
        report_annotation(str(error))
    except _OTHER_FORM as error:
        report_annotation(_describe(f"{drawing.annotation} (image {drawing.image})", error))
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        write_mask(place, mask, labels)


def _describe(path: Path | str, error: Exception) -> str:
    reason = _describe_form(error)[:200]
    return f"{path}: is an annotation of another form than expected ({reason}); correct it, or export it again"


def _describe_form(error: Exception) -> str:
    """What is wrong with a file whose keys or values led to an error."""
    if isinstance(error, KeyError):
        key = error.args[0]
        return f"{key!r} is missing" if isinstance(key, str) else f"number {key} is used and not defined"
    return str(error) if isinstance(error, ValueError) else "a value or list is of another kind or length"


def _places(drawings: list[Drawing], labels: ClassTable) -> list[Path]:
    """Where the masks are kept, by the state of the files that they are made of and by the classes."""
    table = hashlib.sha256(repr(labels.to_dict()).encode()).hexdigest()

    @cache
    def state(path: Path | None) -> str:
        if path is None or not path.is_file():
            return str(path)
        stat = path.stat()
        return f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"

    texts = (f"{_FORM} {state(one.annotation)} {state(one.pixels)} {one.key} {table}" for one in drawings)
    names = (hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32] for text in texts)
    return [cache_dir() / "drawn-masks" / f"{name}.png" for name in names]
