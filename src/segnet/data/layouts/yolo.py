"""Segmentation data sets of Ultralytics YOLO: polygons in text files, one for each image."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.data.description import Description, read_text, resolve_written
from segnet.data.layouts.drawing import Drawing, drawn_source
from segnet.data.layouts.polygons import Shape, draw_shapes, table_of
from segnet.data.layouts.source import Source
from segnet.data.pairing_faults import report_fault
from segnet.data.sizing import spread
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.images.headers import read_size
from segnet.media.sources import find_file, find_images_below

__all__ = ["holds_polygons", "yolo"]

log = logging.getLogger("segnet")

_LOOKED_AT = 300  # images of a split
_BOX = 5  # numbers in a line of a box


def holds_polygons(description: Description) -> bool:
    """Whether an image has a text beside it in labels/: ``images/train/a.jpg``, ``labels/train/a.txt``."""
    looked_at = (spread(_images(description, split), _LOOKED_AT) for split in description.splits)
    return any(_labels_of(image).is_file() for images in looked_at for image, _ in images)


def yolo(description: Description) -> Source:
    """Polygons, one in each line: the class, and x, y of each corner as shares of the width and the height.

    Pixels of none are background. Images without a text, or with an empty one, are background alone.

    Raises:
        DataError: a line is no polygon of a class.
    """
    labels = table_of(description.labels.names)
    drawings = {split: [_drawing(image, name, description, labels) for image, name in _images(description, split)
                        if _require_listed(image, description)]
                for split in description.splits}  # fmt: skip
    bare = [one for members in drawings.values() for one in members if one.annotation == one.image]
    if bare:
        log.info("%s: %d images, such as %s, have no text in labels/: they are background", description.root, len(bare),
                 bare[0].image)  # fmt: skip
    return replace(drawn_source(description.root, "YOLO polygons", drawings, labels), channels=description.channels)


def _images(description: Description, split: str) -> list[tuple[Path, str]]:
    """The images of a split with their names: of its folders, or named in its lists."""
    found: list[tuple[Path, str]] = []
    for place in description.splits[split]:
        if place.is_file():
            lines = (line.strip() for line in read_text(place).splitlines())
            images = (resolve_written(description.root, line) for line in lines if line)
            found += [(image, image.stem) for image in images]
        elif place.is_dir():
            found += [(image, name.with_suffix("").as_posix()) for image, name in find_images_below(place)]
    return found


def _require_listed(image: Path, description: Description) -> bool:
    if not (there := image.is_file()):
        report_fault(f"{description.root}: a list names {image}, which is not there; correct the list")
    return there


def _labels_of(image: Path) -> Path:
    """``labels`` for the last ``images`` in the path, which may begin with it, as Ultralytics has it."""
    before, images, after = f"/{image.with_suffix('.txt').as_posix()}".rpartition("/images/")
    text = Path(f"{before}/labels/{after}"[1:]) if images else image.with_suffix(".txt")
    return find_file([text.parent], text.name) or text


def _drawing(image: Path, name: str, description: Description, labels: ClassTable) -> Drawing:
    annotation = _labels_of(image)
    there = annotation.is_file()
    size = read_size(image)
    draw = partial(_draw, image, size, annotation if there else None, description.labels, labels)
    key = f"polygons {size} {description.labels.values} {description.labels.names}"
    return Drawing(image, name, annotation if there else image, key, draw)


def _draw(
    image: Path, size: tuple[int, int] | None, annotation: Path | None, own: ClassTable, labels: ClassTable
) -> NDArray[np.uint8]:
    if size is None:
        raise DataError(f"{image}: is no image that can be read; copy or download it again")
    lines = [] if annotation is None else read_text(annotation).splitlines()
    places = [(line.split(), f"{annotation}, line {number}") for number, line in enumerate(lines, start=1)]
    return draw_shapes(size, [_shape(words, place, size, own) for words, place in places if words], labels)


def _shape(words: list[str], place: str, size: tuple[int, int], own: ClassTable) -> Shape:
    if len(words) == _BOX:
        raise DataError(f"{place}: is a box, not a polygon; give the labels of a segmentation data set")
    try:
        number, shares = int(words[0]), np.array(words[1:], dtype=np.float64).reshape(-1, 2)
    except ValueError as error:
        raise DataError(f"{place}: expected a class number and x y of each corner, got {words[0]!r}...") from error
    if number not in own.values:
        raise DataError(f"{place}: {number} is no class; the classes are {own.describe_values()}")
    if len(shares) < 3 or not ((shares >= 0) & (shares <= 1)).all():
        raise DataError(f"{place}: expected three corners or more, each from 0 to 1")
    corners = np.floor(shares * (size[1], size[0]))  # as Ultralytics draws them: the pixel of each corner is part of it
    return Shape(own.names[own.values.index(number)], [(float(x), float(y)) for x, y in corners])
