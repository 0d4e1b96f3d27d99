"""CVAT's own XML, "CVAT for images 1.1": https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from segnet.data.description import read_text
from segnet.data.layouts.drawing import Drawing, drawn_source, read_each, report_annotation, require_image
from segnet.data.layouts.polygons import (
    Pixels,
    Point,
    blank,
    ellipse,
    fill,
    flags_of_runs,
    rectangle,
    require_near,
    table_of,
    turn,
)
from segnet.data.layouts.source import Source
from segnet.data.splits import SPLITS, split_of
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.sources import find_file
from segnet.system.files import path_fault

__all__ = ["cvat", "is_cvat"]

_AREAS = ("polygon", "mask", "box", "ellipse")
_LINES = ("polyline", "points", "skeleton", "tag")  # which cover no pixels
_FRAMES = (".PNG", ".png", ".jpg")  # of videos, whose frames are named without suffix
_DEEPEST = 50
_ROOT = re.compile(rb"(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*(<\?xml[^>]*\?>\s*)?<annotations>")


class _Tree(ElementTree.TreeBuilder):
    """Refuses elements within so many others that the process would end."""

    depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"it has elements in more than {_DEEPEST} others")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self.depth -= 1
        return super().end(tag)


def cvat(root: Path) -> Source:
    """CVAT: ``annotations.xml`` of all images, which lie in ``images/``, in folders of their subsets, or beside it.

    Polygons, masks, boxes and ellipses are drawn by their ``z_order``. Other pixels are background. Subsets
    that are called as splits are those; all other images train.

    Raises:
        DataError: the file is of another form, an image is missing, or an area cannot be drawn.
    """
    path = root / "annotations.xml"
    tree, labels = next((found for _, found in read_each([path], _read)), (Element("annotations"), table_of(())))
    drawings: dict[str, list[Drawing]] = {split: [] for split in SPLITS}
    found: set[Path] = set()
    for entry in tree.iterfind("image"):
        subset, name = entry.get("subset", ""), entry.get("name", "").replace("\\", "/")
        if not name or path_fault(f"{subset}/{name}"):
            report_annotation(
                f"{path}: an image has {'a name that no file can have' if name else 'no name'}; export it again"
            )
            continue
        image = _image_of(root, subset, name)
        if image in found:
            report_annotation(f"{path}: lists the image {image} twice; expected each image once; remove one of the two")
        elif require_image(image, path):
            found.add(image)
            draw = partial(_draw, path, entry, labels)
            drawings[split_of(subset) or "train"].append(
                Drawing(image, _stem(name, image), path, f"{subset} {name}", draw)
            )
    return drawn_source(root, "CVAT", {split: members for split, members in drawings.items() if members}, labels)


def is_cvat(root: Path) -> bool:
    """Whether annotations.xml of CVAT is there."""
    path = root / "annotations.xml"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _ROOT.match(file.read(1000).replace(b"\0", b"")) is not None  # zeros: every second byte of UTF-16


def _read(path: Path) -> tuple[Element, ClassTable]:
    text = read_text(path)
    try:
        if "<!DOCTYPE" in text:
            raise ValueError("it has a document type, which may grow without end")
        tree = ElementTree.fromstring(text, ElementTree.XMLParser(target=_Tree()))  # noqa: S314  there are no entities
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: is no XML that can be read ({error}); export it again") from error
    if tree.find("track") is not None:
        raise DataError(
            f'{path}: is "CVAT for video"; expected the areas of each image; export it again as "CVAT for images 1.1", '
            "with its images"
        )
    return tree, _classes(tree)


def _classes(tree: Element) -> ClassTable:
    """Those of the task or project, without the parts of skeletons; else those that areas have."""
    listed = [label for label in tree.iterfind("meta/*/labels/label") if not label.findtext("parent")]
    colors = {label.findtext("name", ""): label.findtext("color") for label in listed}
    drawn = {area.get("label", "") for kind in _AREAS for area in tree.iterfind(f"image/{kind}")}
    return table_of(colors or sorted(drawn), colors)


def _stem(name: str, image: Path) -> str:
    """The name without suffix, and without what leads out of a folder."""
    parts = PurePosixPath(name.removesuffix(image.suffix)).parts
    return "/".join(part for part in parts if part not in {"/", "..", "."})


def _image_of(root: Path, subset: str, name: str) -> Path:
    places = (root / "images" / subset, root / "images", root / subset, root)
    found = (find_file(places, f"{name}{suffix}") for suffix in ("", *_FRAMES))
    return next(filter(None, found), places[0] / name)


def _draw(path: Path, entry: Element, labels: ClassTable) -> NDArray[np.uint8]:
    size = (int(entry.attrib["height"]), int(entry.attrib["width"]))
    mask = blank(size)
    for area in sorted((one for one in entry if one.tag not in _LINES), key=lambda one: int(one.get("z_order", 0))):
        place = f"{path}, a {area.tag} of {entry.get('name')}"
        if area.tag not in _AREAS:
            raise DataError(f"{place}: cannot be drawn; expected one of {', '.join(_AREAS)}; draw it anew as a polygon")
        if (name := area.attrib["label"]) not in labels.names:
            raise DataError(f"{place}: {name!r} is no class; expected one of the file's labels; export it again")
        _pixels(area, size, place).paint(mask, labels.names.index(name))
    return mask


def _pixels(area: Element, size: tuple[int, int], place: str) -> Pixels:
    if area.tag == "mask":
        return _run_lengths(area, size, place)
    corners = _corners(area)
    require_near(corners, size, place)
    return fill(size, corners)


def _corners(area: Element) -> list[Point]:
    if area.tag == "polygon":
        return [_point(pair) for pair in area.attrib["points"].split(";")]
    if area.tag == "ellipse":
        x, y, *radii = (float(area.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
        return turn(ellipse((x, y), (radii[0], radii[1])), (x, y), float(area.get("rotation", 0)))
    left, top, right, bottom = (float(area.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    center = ((left + right) / 2, (top + bottom) / 2)
    return turn(rectangle((left, top), (right, bottom)), center, float(area.get("rotation", 0)))


def _point(text: str) -> Point:
    x, y = text.split(",")
    return float(x), float(y)


def _run_lengths(area: Element, size: tuple[int, int], place: str) -> Pixels:
    """Numbers of pixels by turns outside and inside, row by row, in a part of the image."""
    left, top, width, height = (int(area.attrib[key]) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in area.attrib["rle"].split(",")]
    inside_image = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not inside_image or min(counts) < 0 or sum(counts) != width * height:
        raise DataError(
            f"{place}: has run lengths of {sum(counts)} pixels for a part of {width}x{height} at x {left}, y {top}; "
            f"expected as many as that part has, in an image of {size[1]}x{size[0]}; export it again"
        )
    inside = flags_of_runs(counts).reshape(height, width)
    return Pixels(slice(top, top + height), slice(left, left + width), inside)
