"""Polygons and bitmaps of annotation tools as pixels, and the classes that they name."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, UnidentifiedImageError

from segnet.errors import DataError, one_line
from segnet.labels import ClassTable, Color
from segnet.media.images.decoding import DAMAGE, MAX_PIXELS

__all__ = [
    "Area", "Bitmap", "Pixels", "Point", "Shape", "blank", "draw_shapes", "ellipse", "fill", "flags_of_runs",
    "pixels_of_area", "pixels_of_columns", "rectangle", "require_near", "table_of", "turn",
]  # fmt: skip

_Mask = NDArray[np.uint8]
_ELLIPSE = 64  # corners
_CORNERS = 3  # of a polygon, at least

Point = tuple[float, float]
"""(x, y) in pixels."""


class Shape(NamedTuple):
    """A polygon of one class.

    Attributes:
        name: of the class.
        outline: corners (x, y) in pixels.
        holes: outlines of holes.
    """

    name: str
    outline: Sequence[Point]
    holes: Sequence[Sequence[Point]] = ()


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


class Pixels(NamedTuple):
    """Pixels of an image, within a box around them: large images have many small areas.

    Attributes:
        rows: of the box in the image.
        columns: of the box in the image.
        inside: which pixels of the box these are, bool (rows, columns).
    """

    rows: slice
    columns: slice
    inside: NDArray[np.bool_]

    def paint(self, mask: _Mask, value: int) -> None:
        """Give these pixels of a mask (H, W) a value."""
        mask[self.rows, self.columns][self.inside] = value


_NO_PIXELS = Pixels(slice(0, 0), slice(0, 0), np.zeros((0, 0), dtype=np.bool_))


def blank(size: tuple[int, int]) -> _Mask:
    """A mask (H, W) of class 0 alone.

    Raises:
        ValueError: no image is so large.
    """
    if size[0] * size[1] > MAX_PIXELS:
        raise ValueError(f"an image of {size[1]}x{size[0]} pixels; at most {MAX_PIXELS:,} can be read")
    return np.zeros(size, dtype=np.uint8)


def draw_shapes(size: tuple[int, int], shapes: Iterable[Area], labels: ClassTable) -> _Mask:
    """A mask (H, W) of class indices; pixels of no shape are class 0, later shapes cover earlier ones.

    Args:
        size: (height, width).
        shapes: in the order in which they are drawn; those of no class are left out.
        labels: the class table.

    Raises:
        ValueError: a bitmap is damaged, or no image is so large.
    """
    index_of = {name: index for index, name in enumerate(labels.names)}
    mask = blank(size)
    for shape in shapes:
        if shape.name in index_of:
            pixels_of_area(size, shape).paint(mask, index_of[shape.name])
    return mask


def pixels_of_area(size: tuple[int, int], area: Area) -> Pixels:
    """The pixels of an area, those of a polygon without its holes.

    Raises:
        ValueError: a bitmap is damaged.
    """
    return _polygon(size, area) if isinstance(area, Shape) else _bitmap(size, area)


def fill(size: tuple[int, int], outline: Sequence[Point]) -> Pixels:
    """The pixels whose centers lie within a polygon.

    Tools that set corners between the pixels mean these, so that areas which share an edge share no pixel. ``Shape`` is
    for tools whose corners are pixels, and part of the area.

    Args:
        size: (height, width).
        outline: corners; (0.5, 0.5) is the center of the first pixel. What is covered twice lies outside.
    """
    height, width = size
    corners = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
    others = np.roll(corners, -1, axis=0)
    falls = corners[:, 1:] <= others[:, 1:]
    upper, lower = np.where(falls, corners, others), np.where(falls, others, corners)
    first, end = (np.clip(np.ceil(y - 0.5), 0, height).astype(np.intp) for y in (upper[:, 1], lower[:, 1]))
    edges = np.repeat(np.arange(len(corners)), end - first)  # one for each row that it crosses
    if not edges.size:
        return _NO_PIXELS
    rows = np.concatenate([np.arange(*pair) for pair in zip(first, end, strict=True)])
    (x, y), (end_x, end_y) = upper[edges].T, lower[edges].T
    at = x + (rows + 0.5 - y) * ((end_x - x) / (end_y - y))
    columns = np.clip(np.ceil(at - 0.5), 0, width).astype(np.intp)
    (top, bottom), (left, right) = ((places.min(), places.max() + 1) for places in (rows, columns))
    crossings = np.zeros((bottom - top, right - left), dtype=np.uint8)
    np.add.at(crossings, (rows - top, columns - left), 1)
    inside = crossings.cumsum(axis=1, dtype=np.uint8) % 2 == 1  # beyond 255, numbers stay odd or even
    return Pixels(slice(top, bottom), slice(left, min(right, width)), inside[:, : width - left])


def flags_of_runs(counts: Sequence[int] | NDArray[np.intp]) -> NDArray[np.bool_]:
    """Run lengths as flat flags: numbers of pixels by turns outside and inside, none of them negative."""
    flags: NDArray[np.bool_] = (np.arange(len(counts)) % 2 == 1).repeat(counts)
    return flags


def pixels_of_columns(counts: Sequence[int], height: int) -> Pixels:
    """The pixels of run lengths of all columns of an image, one after the other.

    Args:
        counts: by turns outside and inside, none of them negative; together as many as the image has.
        height: of the image.
    """
    ends = np.cumsum(counts)
    covered = np.flatnonzero(counts[1::2])
    if not covered.size:
        return _NO_PIXELS
    left, right = ends[2 * covered[0]] // height, -(-ends[2 * covered[-1] + 1] // height)
    flags = flags_of_runs(np.diff(ends.clip(left * height, right * height), prepend=left * height))
    return Pixels(slice(0, height), slice(left, right), flags.reshape(-1, height).T)


def rectangle(first: Point, second: Point) -> list[Point]:
    """The corners of a rectangle with two opposite ones."""
    (left, top), (right, bottom) = first, second
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def ellipse(center: Point, radii: tuple[float, float]) -> list[Point]:
    """Corners on an ellipse of radii along x and y."""
    turns = (2 * math.pi * step / _ELLIPSE for step in range(_ELLIPSE))
    return [(center[0] + radii[0] * math.cos(turn), center[1] + radii[1] * math.sin(turn)) for turn in turns]


def turn(corners: Iterable[Point], center: Point, degrees: float) -> list[Point]:
    """Corners turned clockwise about a center."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    offsets = ((x - center[0], y - center[1]) for x, y in corners)
    return [(center[0] + cos * x - sin * y, center[1] + sin * x + cos * y) for x, y in offsets]


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


def table_of(names: Iterable[str], colors: Mapping[str, str | None] | None = None) -> ClassTable:
    """Class table of annotated names, behind a background if none of them is one.

    Args:
        names: of the classes.
        colors: "#rrggbb" by name; other classes have colors of their own.

    Raises:
        ValueError: a color is none.
    """
    ordered = list(dict.fromkeys(names))
    background = next((name for name in ordered if name.lower() in {"background", "_background_"}), "background")
    labels = ClassTable.from_names([background, *(name for name in ordered if name != background)])
    given = {name: _hex_color(text) for name, text in (colors or {}).items() if text}
    pairs = zip(labels.names, labels.colors, strict=True)
    return ClassTable(names=labels.names, colors=tuple(given.get(name, own) for name, own in pairs))


def _hex_color(text: str) -> Color:
    try:
        red, green, blue = bytes.fromhex(text.removeprefix("#"))[:3]
    except ValueError as error:
        raise ValueError(f"the color {text[:40]!r} is none; expected one like #ff8000") from error
    return red, green, blue


def _polygon(size: tuple[int, int], shape: Shape) -> Pixels:
    """Drawn in its rows only, from the left edge of the image on: Pillow's rounding depends on x, and not on y."""
    rings = [[(float(x), float(y)) for x, y in ring] for ring in (shape.outline, *shape.holes)]
    corners = np.array([corner for ring in rings for corner in ring]).reshape(-1, 2)
    if len(rings[0]) < _CORNERS:
        return _NO_PIXELS
    ends = [np.trunc(corners.min(axis=0)), np.trunc(corners.max(axis=0)) + 1]  # as Pillow rounds
    (left, top), (right, bottom) = np.clip(ends, 0, size[::-1]).astype(int).tolist()
    area = Image.new("1", (right, bottom - top))
    pen = ImageDraw.Draw(area)
    for number, ring in enumerate(rings):
        if len(ring) >= _CORNERS:
            pen.polygon([(x, y - top) for x, y in ring], fill=int(not number))
    return Pixels(slice(top, bottom), slice(left, right), np.array(area)[:, left:])


def _bitmap(size: tuple[int, int], bitmap: Bitmap) -> Pixels:
    """What lies outside of the image is left out."""
    try:
        image = Image.open(io.BytesIO(bitmap.png), formats=["PNG"])
        clear = "transparency" in image.info or image.mode in ("LA", "RGBA")
        part = np.array(image.convert("RGBA").getchannel("A") if clear else image.convert("L")) > 0
    except UnidentifiedImageError as error:
        raise ValueError(f"the bitmap of {bitmap.name} is no PNG") from error
    except DAMAGE as error:
        raise ValueError(f"the bitmap of {bitmap.name} is damaged: {one_line(error)}") from error
    left, top = bitmap.origin_xy
    rows, columns = (
        slice(*np.clip((first, first + count), 0, end).tolist())
        for first, count, end in zip((top, left), part.shape, size, strict=True)
    )
    return Pixels(rows, columns, part[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left])
