"""Data sets that annotation tools write as one JSON for each image: LabelMe and Supervisely."""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.data.layouts.drawing import Drawing, drawn_source, glob_visible, read_each, read_json, require_image
from segnet.data.layouts.polygons import (
    Area,
    Bitmap,
    Point,
    Shape,
    draw_shapes,
    ellipse,
    pixels_of_area,
    rectangle,
    require_near,
    table_of,
)
from segnet.data.layouts.source import Source
from segnet.data.splits import folders_by_split, split_of
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.sources import find_file, find_files_below, find_images_below, normalize_name

__all__ = ["is_labelme", "is_supervisely", "labelme", "supervisely"]

_IGNORED = "__ignore__"
_LOOKED_AT = 20  # annotations, until one is of LabelMe: the first may be damaged
_FEWEST_POINTS = {"polygon": 3, "rectangle": 2, "rotation": 3, "circle": 2, "mask": 1}
_MOST_BYTES = 1 << 27  # of a bitmap: a few bytes can be inflated to any number
_LINES = ("line", "linestrip", "point", "points", "graph")


class _Page(NamedTuple):
    """The annotation of an image: areas in the order in which they are drawn, in an image of (height, width)."""

    image: Path
    size: tuple[int, int]
    areas: list[Area]


def labelme(root: Path) -> Source:
    """LabelMe: a JSON beside each image, or in folders of the splits.

    Polygons, rectangles, circles and bitmaps are drawn; later ones cover earlier ones. Other pixels are background. The
    files of X-AnyLabeling are read as well, with its rectangles that are turned.

    Raises:
        DataError: a JSON is none of LabelMe, its image is missing, or a shape cannot be drawn.
    """
    folders = folders_by_split(root) or {"train": root}
    pages = {split: list(read_each(find_files_below(folder, ".json"), _page)) for split, folder in folders.items()}
    everything = [page for found in pages.values() for _, page in found]
    labels = table_of(sorted({area.name for page in everything for area in page.areas} - {_IGNORED}))
    drawings = {
        split: [Drawing(page.image, path.relative_to(folders[split]).with_suffix("").as_posix(), path, "",
                        partial(_draw_labelme, page, labels))
                for path, page in found if require_image(page.image, path)]
        for split, found in pages.items()
    }  # fmt: skip
    return drawn_source(root, "LabelMe", drawings, labels)


def is_labelme(root: Path) -> bool:
    """Whether a JSON with shapes and the path of an image is there."""
    paths = glob_visible(root, "*.json") or glob_visible(root, "*/*.json")
    return any(_is_page(path) for path in paths[:_LOOKED_AT])


def supervisely(root: Path) -> Source:
    """Supervisely: ``meta.json``, and data sets of ``img/`` and ``ann/``, whose polygons and bitmaps are drawn.

    Folders that are called as splits are those; other data sets train.

    Raises:
        DataError: an annotation is of another form, or its image is missing.
    """
    labels = _supervisely_classes(root / "meta.json")
    drawings: dict[str, list[Drawing]] = {}
    for folder in sorted(path.parent for path in [root / "ann", *root.glob("*/ann")] if path.is_dir()):
        members = drawings.setdefault(split_of(folder.name) or "train", [])
        images = find_images_below(folder / "img") if (folder / "img").is_dir() else []
        image_of = {normalize_name(image.stem): image for image, _ in reversed(images)}
        for path, page in read_each(
            glob_visible(folder / "ann", "*.json"), partial(_supervisely_page, image_of, labels)
        ):
            if require_image(page.image, path):
                members.append(
                    Drawing(page.image, page.image.stem, path, "", partial(draw_shapes, page.size, page.areas, labels))
                )
    return drawn_source(root, "Supervisely", drawings, labels)


def is_supervisely(root: Path) -> bool:
    """Whether meta.json is there beside ann/."""
    return (root / "meta.json").is_file() and ((root / "ann").is_dir() or any(root.glob("*/ann")))


def _is_page(path: Path) -> bool:
    try:
        _read_page(path)
    except DataError:
        return False
    return True


def _page(path: Path) -> _Page:
    page = _read_page(path)
    written = str(page["imagePath"]).replace("\\", "/")
    image = find_file([path.parent], written) or path.parent / written
    size = (int(page["imageHeight"]), int(page["imageWidth"]))
    places = ((shape, f"{path}, shape {number}") for number, shape in enumerate(page["shapes"], start=1))
    return _Page(image, size, [area for shape, place in places if (area := _labelme_area(shape, size, place))])


def _read_page(path: Path) -> dict[str, Any]:
    page = read_json(path)
    if not isinstance(page, dict) or not {"shapes", "imagePath", "imageHeight", "imageWidth"} <= page.keys():
        raise DataError(f"{path}: is no annotation of LabelMe; expected shapes, imagePath, imageHeight and imageWidth")
    return page


def _labelme_area(shape: dict[str, Any], size: tuple[int, int], place: str) -> Area | None:
    """None for lines and points, which cover no pixels."""
    points, name = [(float(x), float(y)) for x, y in shape["points"]], str(shape["label"])
    kind = shape.get("shape_type") or "polygon"
    if kind in _LINES:
        return None
    _require_area(kind, points, place)
    require_near(points, size, place)
    if kind == "mask":
        return Bitmap(name, (round(points[0][0]), round(points[0][1])), base64.b64decode(shape["mask"]))
    if kind == "rectangle" and len(points) == 2:  # X-AnyLabeling gives all four corners
        return Shape(name, rectangle(*points))
    if kind == "circle":
        radius = math.dist(*points)
        return Shape(name, ellipse(points[0], (radius, radius)))
    return Shape(name, points)


def _draw_labelme(page: _Page, labels: ClassTable) -> NDArray[np.uint8]:
    mask = draw_shapes(page.size, page.areas, labels)
    for area in page.areas:
        if area.name == _IGNORED:
            pixels_of_area(page.size, area).paint(mask, IGNORE_INDEX)
    return mask


def _supervisely_classes(path: Path) -> ClassTable:
    page = read_json(path)
    try:
        colors = {entry["title"]: entry.get("color") for entry in page["classes"]}
        return table_of(colors, colors)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: is no meta.json of Supervisely ({error!r}); export it again") from error


def _supervisely_page(image_of: Mapping[str, Path], labels: ClassTable, path: Path) -> _Page:
    """``ann/a.jpg.json`` of ``img/a.jpg``; older exports call it ``a.json``, so images are found by their stem, too."""
    page = read_json(path)
    size = (int(page["size"]["height"]), int(page["size"]["width"]))
    folder = path.parent.parent / "img"
    image = find_file([folder], path.stem) or image_of.get(normalize_name(path.stem), folder / path.stem)
    places = ((item, f"{path}, object {number}") for number, item in enumerate(page["objects"], start=1))
    areas = []
    for item, place in places:
        if item["classTitle"] not in labels.names:
            message = (
                f"{place}: {item['classTitle']!r} is no class; expected one of meta.json; export the project again"
            )
            raise DataError(message)
        if area := _supervisely_area(item, size, place):
            areas.append(area)
    return _Page(image, size, areas)


def _supervisely_area(item: dict[str, Any], size: tuple[int, int], place: str) -> Area | None:
    """None for lines and points, which cover no pixels."""
    name = item["classTitle"]
    if "bitmap" in item:
        left, top = item["bitmap"]["origin"]
        require_near((left, top), size, place)
        return Bitmap(name, (int(left), int(top)), _inflated(item["bitmap"]["data"]))
    if (kind := item.get("geometryType", "polygon")) in _LINES:
        return None
    points = item["points"]
    _require_area(kind, points["exterior"], place)
    for outline in (points["exterior"], *points.get("interior", ())):
        require_near(outline, size, place)
    if kind == "rectangle":
        return Shape(name, rectangle(*points["exterior"]))
    return Shape(name, points["exterior"], points.get("interior", ()))


def _require_area(kind: str, points: Sequence[Point], place: str) -> None:
    """Refuse kinds of shapes that are not drawn, and shapes with too few points."""
    if (fewest := _FEWEST_POINTS.get(kind)) is None:
        raise DataError(f"{place}: is a {kind}; expected one of {', '.join(_FEWEST_POINTS)}; draw it anew as a polygon")
    if len(points) < fewest:
        raise DataError(
            f"{place}: is a {kind} with {len(points)} points; expected {fewest} or more; draw it anew, or remove it"
        )


def _inflated(text: str) -> bytes:
    inflating = zlib.decompressobj()
    try:
        content = inflating.decompress(base64.b64decode(text), _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(f"a bitmap is damaged: {error}") from error
    if not inflating.eof:
        raise ValueError(f"a bitmap is cut off, or has more than {_MOST_BYTES:,} bytes")
    return content
