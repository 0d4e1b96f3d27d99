"""Polygons and bitmaps of annotation tools as pixels."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from segnet.errors import DataError
from segnet.labels import ClassTable

__all__ = ["Area", "Bitmap", "Shape", "draw_shapes", "pixels_of_area", "require_near", "table_of"]

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


class Bitmap(NamedTuple):
    """The pixels of one class in a part of the image, as LabelMe and Supervisely store them.

    Attributes:
        name: of the class.
        origin_xy: place of its first pixel in the image.
        png: an image; pixels that are not transparent, or not black, belong to the class.
    """

    name: str
    origin_xy: tuple[int, int]
    png: bytes


Area = Shape | Bitmap
"""What covers some pixels of an image."""


def draw_shapes(size: tuple[int, int], shapes: Iterable[Area], labels: ClassTable) -> _Mask:
    """A mask (H, W) of class indices; pixels of no shape are class 0, later shapes cover earlier ones.

    Args:
        size: (height, width).
        shapes: in the order in which they are drawn; those of no class are left out.
        labels: the class table.

    Raises:
        ValueError: a bitmap is damaged.
    """
    index_of = {name: index for index, name in enumerate(labels.names)}
    mask: _Mask = np.zeros(size, dtype=np.uint8)
    for shape in shapes:
        if shape.name in index_of:
            mask[pixels_of_area(size, shape)] = index_of[shape.name]
    return mask


def pixels_of_area(size: tuple[int, int], area: Area) -> NDArray[np.bool_]:
    """The pixels of an area, those of a polygon without its holes: bool (H, W).

    Raises:
        ValueError: a bitmap is damaged.
    """
    return _polygon(size, area) if isinstance(area, Shape) else _bitmap(size, area)


def require_near(corners: ArrayLike, size: tuple[int, int], place: str) -> None:
    """Refuse corners that are not numbers, or farther from the image than its own width and height.

    Corners a little outside are usual; of far ones, Pillow and pycocotools draw anything, or end the process.

    Args:
        corners: (x, y) in pixels, one after the other.
        size: (height, width) of the image.
        place: file and annotation, for the error.

    Raises:
        DataError: a corner is not near.
    """
    pairs, reach = np.asarray(corners, dtype=np.float64).reshape(-1, 2), np.array([size[1], size[0]])
    near = ((pairs >= -reach) & (pairs <= 2 * reach)).all(axis=1)
    if not near.all():
        x, y = pairs[~near][0]
        raise DataError(
            f"{place}: has a corner at x {x:g}, y {y:g}; expected corners in or near the image of {size[1]}x{size[0]} "
            "pixels; correct it, or export it again"
        )


def table_of(names: Iterable[str]) -> ClassTable:
    """Class table of annotated names, behind a background if none of them is one."""
    ordered = list(dict.fromkeys(names))
    background = next((name for name in ordered if name.lower() in {"background", "_background_"}), "background")
    return ClassTable.from_names([background, *(name for name in ordered if name != background)])


def _polygon(size: tuple[int, int], shape: Shape) -> NDArray[np.bool_]:
    area = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(area)
    for fill, outline in ((1, shape.outline), *((0, hole) for hole in shape.holes)):
        if len(outline) > 2:
            pen.polygon([(float(x), float(y)) for x, y in outline], fill=fill)
    return np.array(area)


def _bitmap(size: tuple[int, int], bitmap: Bitmap) -> NDArray[np.bool_]:
    """What lies outside of the image is left out."""
    try:
        image = Image.open(io.BytesIO(bitmap.png), formats=["PNG"])
        clear = "transparency" in image.info or image.mode in ("LA", "RGBA")
        part = np.array(image.convert("RGBA").getchannel("A") if clear else image.convert("L")) > 0
    except (OSError, SyntaxError) as error:
        raise ValueError(f"the bitmap of {bitmap.name} is damaged: {error}") from error
    left, top = bitmap.origin_xy
    area = np.zeros(size, dtype=np.bool_)
    inside = area[max(0, top) : max(0, top + part.shape[0]), max(0, left) : max(0, left + part.shape[1])]
    inside[:] = part[max(0, -top) :, max(0, -left) :][: inside.shape[0], : inside.shape[1]]
    return area
