"""Annotations as polygons, drawn once as masks of class indices into the cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segnet.data.samples import Sample
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.images.writing import write_mask
from segnet.system.files import cache_dir

__all__ = ["Shape", "draw_shapes", "drawn", "polygon", "read_json", "table_of"]

log = logging.getLogger("segnet")

_Mask = NDArray[np.uint8]


class Shape(NamedTuple):
    """A polygon of one class.

    Attributes:
        name: of the class.
        outline: corners (x, y) in pixels.
        holes: outlines of holes.
    """

    name: str
    outline: Sequence[tuple[float, float]]
    holes: Sequence[Sequence[tuple[float, float]]] = ()


def drawn(
    annotation: Path, key: str, labels: ClassTable, draw: Callable[[], _Mask], *, image: Path, name: str
) -> Sample:
    """A sample whose mask is in the cache folder; it is drawn if it is not there for this annotation.

    Args:
        annotation: the file that holds the polygons.
        key: which part of the file.
        labels: the class table.
        draw: makes the mask, uint8 (H, W).
        image, name: of the sample.
    """
    stat = annotation.stat()
    text = f"{annotation.resolve()} {stat.st_size} {stat.st_mtime_ns} {key} {labels.to_dict()}"
    path = cache_dir() / "drawn-masks" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.png"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, draw(), labels)
    return Sample(image=image, mask=path, name=name)


def draw_shapes(size: tuple[int, int], shapes: Iterable[Shape], labels: ClassTable) -> _Mask:
    """A mask (H, W) of class indices; pixels of no shape are class 0, later shapes cover earlier ones.

    Args:
        size: (height, width).
        shapes: in the order in which they are drawn; those of no class are left out.
        labels: the class table.
    """
    index_of = {name: index for index, name in enumerate(labels.names)}
    mask: _Mask = np.zeros(size, dtype=np.uint8)
    for shape in shapes:
        if shape.name in index_of and len(shape.outline) > 2:
            mask[polygon(size, shape)] = index_of[shape.name]
    return mask


def polygon(size: tuple[int, int], shape: Shape) -> NDArray[np.bool_]:
    """The pixels of a polygon without its holes: bool (H, W)."""
    area = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(area)
    pen.polygon([(float(x), float(y)) for x, y in shape.outline], fill=1)
    for hole in shape.holes:
        pen.polygon([(float(x), float(y)) for x, y in hole], fill=0)
    return np.array(area)


def table_of(names: Iterable[str]) -> ClassTable:
    """Class table of annotated names, behind a background if none of them is one."""
    ordered = list(dict.fromkeys(names))
    background = next((name for name in ordered if name.lower() in {"background", "_background_"}), "background")
    return ClassTable.from_names([background, *(name for name in ordered if name != background)])


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: it cannot be read, or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: is no JSON that can be read ({error}); export it again") from error
