"""Label Studio's own JSON of tasks: https://labelstud.io/guide/export#JSON"""

from __future__ import annotations

import base64
import logging
import re
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from segnet.data.layouts.drawing import Drawing, drawn_source, glob_visible, read_each, read_json, report_annotation
from segnet.data.layouts.polygons import (
    Bitmap,
    Pixels,
    Point,
    blank,
    ellipse,
    fill,
    pixels_of_area,
    rectangle,
    require_near,
    table_of,
    turn,
)
from segnet.data.layouts.source import Source
from segnet.data.pairing_faults import PairingFault, report_fault
from segnet.errors import DataError
from segnet.labels import ClassTable
from segnet.media.images.headers import read_size
from segnet.media.sources import IMAGE_SUFFIXES, find_images_below, normalize_name

__all__ = ["is_label_studio", "label_studio"]

log = logging.getLogger("segnet")

_NOT_STORED = re.compile(r"[^-\w.]")  # is left out of the name of a file that is uploaded
_UPLOADED = re.compile("^[0-9a-f]{8}-")  # begins the name of a file that was uploaded
_AREAS = frozenset({"points", "vertices", "rle", "height", "radiusX", "imageDataURL"})
"""Keys of a region that covers pixels."""

_CURVE = 16  # corners on a curve between two vertices
_HANDLE = 0.3  # of the way to the other vertex, where a curve has a control point at one end only
_CHANNELS = 4  # of the image that a brush paints: red, green, blue, alpha
_BITS = 8  # of each


class _Region(NamedTuple):
    """An area of one class; its value has the corners, in percent of the image."""

    name: str
    value: Mapping[str, Any]


class _Task(NamedTuple):
    """An image by the path that the file has, and its regions; None if it was not annotated.

    Areas without a label are counted in ``unnamed``.
    """

    place: str
    image: str
    regions: list[_Region] | None
    unnamed: int = 0


def label_studio(root: Path) -> Source:
    """Label Studio: a JSON of tasks, and their images anywhere in the folder.

    An uploaded image is found by its name in Label Studio, or by that which it had before. Polygons, closed vectors,
    brushes, bitmaps, rectangles and ellipses are drawn, later ones over earlier ones. Other pixels are background. Of
    several annotations the last counts that was not cancelled; tasks without one are left out.

    Raises:
        DataError: the file is of another form, no task is annotated, an image is missing, or a region cannot be drawn.
    """
    path = _file_of_tasks(root)
    if path is None:
        raise DataError(
            f"{root}: holds no JSON of Label Studio, or others beside it; expected that alone, beside images/; export "
            "it as JSON, and remove other JSON files"
        )
    tasks, labels = next((found for _, found in read_each([path], _read_tasks)), ([], table_of(())))
    annotated = [(task, task.regions) for task in tasks if task.regions is not None]
    if tasks and not annotated:
        raise DataError(
            f"{path}: none of its {len(tasks)} tasks has an annotation; drafts and predictions are not read; submit "
            "them in Label Studio, and export it again"
        )
    if unlabeled := len(tasks) - len(annotated):
        log.info("%s: %d of %d tasks have no annotation, and are left out", path, unlabeled, len(tasks))
    if unnamed := sum(task.unnamed for task in tasks):
        log.warning("%s: areas without a label are not drawn (%d); label them in Label Studio", path, unnamed)
    files, images = _files_by_name(root), dict[Path, str]()
    drawings = []
    for task, regions in annotated:
        if image := _image_of(files, task, path, images):
            draw = partial(_draw, task.place, image, regions, labels)
            drawings.append(Drawing(image, image.stem, path, f"{task.place} {task.image}", draw, pixels=image))
    return drawn_source(root, "Label Studio", {"train": drawings}, labels)


def is_label_studio(root: Path) -> bool:
    """Whether a JSON of tasks is there."""
    return _file_of_tasks(root) is not None


def _file_of_tasks(root: Path) -> Path | None:
    """The only JSON in the folder, if it is a list of tasks with annotations."""
    paths = glob_visible(root, "*.json")
    if len(paths) != 1:
        return None
    try:
        tasks = read_json(paths[0])
    except DataError:
        return None
    first = tasks[0] if isinstance(tasks, list) and tasks else None
    return paths[0] if isinstance(first, dict) and {"data", "annotations"} <= first.keys() else None


def _read_tasks(path: Path) -> tuple[list[_Task], ClassTable]:
    tasks = [_read_task(task, f"{path}, task {task['id']}") for task in read_json(path)]
    return tasks, table_of(sorted({region.name for task in tasks for region in task.regions or ()}))


def _read_task(task: Mapping[str, Any], place: str) -> _Task:
    paths = (_path_of(value) for value in task["data"].values() if isinstance(value, str))
    images = [path for path in paths if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise DataError(f"{place}: has no image in its data; expected a path or address of one; export it again")
    if len({_UPLOADED.sub("", PurePosixPath(path).name) for path in images}) > 1:
        raise DataError(
            f"{place}: has several images in its data, {' and '.join(images)}; expected one; remove the keys of others"
        )
    finished = [annotation for annotation in task["annotations"] if not annotation.get("was_cancelled")]
    if not finished:
        return _Task(place, images[0], None)
    regions, unnamed = _regions(finished[-1]["result"])
    return _Task(place, images[0], regions, unnamed)


def _path_of(address: str) -> str:
    """The path in an address; of files of one's own machine it is in the query, as ``?d=street/a.jpg``."""
    parts = urlsplit(address)
    local = parse_qs(parts.query).get("d") if parts.path.rstrip("/").endswith("local-files") else None
    return (local[0] if local else unquote(parts.path)).replace("\\", "/")


def _regions(result: Sequence[Mapping[str, Any]]) -> tuple[list[_Region], int]:
    """Those that cover pixels and have a class, and how many have none; key points, lines and choices do neither.

    The area and the label of a region may be two entries of one id.
    """
    regions, ids, unnamed = [], set(), []
    for item in result:
        value, number = item.get("value", {}), item.get("id")
        names = next((names for key, names in value.items() if key.endswith("labels")), None)
        if not _AREAS & value.keys() or ("vertices" in value and not value.get("closed")):
            continue
        if names:
            regions.append(_Region(names if isinstance(names, str) else str(names[0]), value))
            ids.add(number)
        else:
            unnamed.append(number)
    return regions, len({number for number in unnamed if number not in ids})


def _files_by_name(root: Path) -> dict[str, list[Path]]:
    """The images by their name, and by that which Label Studio gives an uploaded file, if no other has it."""
    files: dict[str, list[Path]] = {}
    stored: dict[str, list[Path]] = {}
    for path, _ in find_images_below(root):
        files.setdefault(normalize_name(path.name), []).append(path)
        for name in {path.name, normalize_name(path.name)}:
            stored.setdefault(_NOT_STORED.sub("", name.strip().replace(" ", "_")), []).append(path)
    return stored | files


def _image_of(files: Mapping[str, list[Path]], task: _Task, path: Path, images: dict[Path, str]) -> Path | None:
    """The image of a task; one that is missing or is in doubt is a fault, and one that has two tasks.

    Args:
        files: by their names.
        task: the task.
        path: the JSON.
        images: gets the image, with the task.
    """
    found = _find(files, task.image)
    if not found:
        message = f"{task.place}: its image {task.image} is missing; put it into images/, or remove the task"
        report_fault(message, PairingFault("mask_without_image", (f"{path}: {task.image}",)))
    elif len(found) > 1:
        report_annotation(
            f"{task.place}: its image {task.image} may be {found[0]} or {found[1]}; download the images from Label "
            "Studio, or remove all but one"
        )
    elif other := images.get(found[0]):
        report_annotation(
            f"{task.place}: its image {found[0]} is also that of {other}; expected one task for each image; remove one"
        )
    else:
        images[found[0]] = task.place
        return found[0]
    return None


def _find(files: Mapping[str, list[Path]], written: str) -> list[Path]:
    """The images that have most of a path's last parts."""
    parts = PurePosixPath(normalize_name(written)).parts
    found = files.get(parts[-1]) or files.get(_UPLOADED.sub("", parts[-1]), [])
    shared = [_shared_parts(PurePosixPath(normalize_name(path.as_posix())).parts, parts) for path in found]
    return [path for path, number in zip(found, shared, strict=True) if number == max(shared)]


def _shared_parts(first: Sequence[str], second: Sequence[str]) -> int:
    pairs = zip(reversed(first[:-1]), reversed(second[:-1]), strict=False)
    return next((number for number, (one, other) in enumerate(pairs) if one != other), len(second))


def _draw(place: str, image: Path, regions: Sequence[_Region], labels: ClassTable) -> NDArray[np.uint8]:
    if (size := read_size(image)) is None:
        raise DataError(f"{image}: is no image that can be read; copy or download it again")
    mask = blank(size)
    for number, (name, value) in enumerate(regions, start=1):
        _pixels(value, size, f"{place}, region {number}").paint(mask, labels.names.index(name))
    return mask


def _pixels(value: Mapping[str, Any], size: tuple[int, int], place: str) -> Pixels:
    if "rle" in value:
        return _painted(value["rle"], size, place)
    if "imageDataURL" in value:
        return _bitmap(value["imageDataURL"], size, place)
    percent = (size[1] / 100, size[0] / 100)
    corners = [(x * percent[0], y * percent[1]) for x, y in _corners(value)]
    if degrees := value.get("rotation", 0):
        corners = turn(corners, (value["x"] * percent[0], value["y"] * percent[1]), degrees)
    require_near(corners, size, place)
    return fill(size, corners)


def _corners(value: Mapping[str, Any]) -> list[Point]:
    """In percent. An ellipse turns about its center, a rectangle about its first corner: both are x and y."""
    if "points" in value:
        return [(x, y) for x, y in value["points"]]
    if "vertices" in value:
        return _curve(value["vertices"])
    x, y = value["x"], value["y"]
    if "radiusX" in value:
        return ellipse((x, y), (value["radiusX"], value["radiusY"]))
    return rectangle((x, y), (x + value["width"], y + value["height"]))


def _curve(vertices: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Corners on a closed path; between vertices with control points it is a Bézier curve."""
    corners: list[Point] = []
    steps = np.linspace(0, 1, _CURVE, endpoint=False)[:, None]
    for start, end in zip(vertices, [*vertices[1:], *vertices[:1]], strict=True):
        first, last = (np.array([one["x"], one["y"]], dtype=np.float64) for one in (start, end))
        if not start.get("isBezier") and not end.get("isBezier"):
            corners.append((float(first[0]), float(first[1])))
            continue
        second = _control_point(start, "controlPoint2", first + _HANDLE * (last - first))
        third = _control_point(end, "controlPoint1", last - _HANDLE * (last - first))
        ways = (1 - steps) ** 3, 3 * (1 - steps) ** 2 * steps, 3 * (1 - steps) * steps**2, steps**3
        points = sum(way * point for way, point in zip(ways, (first, second, third, last), strict=True))
        corners += [(x, y) for x, y in np.asarray(points).tolist()]
    return corners


def _control_point(vertex: Mapping[str, Any], key: str, other: NDArray[np.float64]) -> NDArray[np.float64]:
    point = vertex.get(key) if vertex.get("isBezier") else None
    return np.array([point["x"], point["y"]], dtype=np.float64) if point else other


def _painted(packed: Sequence[int], size: tuple[int, int], place: str) -> Pixels:
    """The pixels that a brush painted: those that are not transparent in its image."""
    try:
        painted = _unpack(bytes([*packed]), size[0] * size[1] * _CHANNELS)
    except ValueError as error:
        raise DataError(
            f"{place}: its brush cannot be drawn ({error}); expected one in an image of {size[1]}x{size[0]}; put the "
            "image there that was annotated, or export it again"
        ) from error
    return Pixels(slice(None), slice(None), painted.reshape(*size, _CHANNELS)[..., -1] > 0)


def _bitmap(address: str, size: tuple[int, int], place: str) -> Pixels:
    """The pixels of a PNG that are not transparent: ``data:image/png;base64,...``."""
    png = base64.b64decode(address.partition(",")[2])
    if png[16:24] != struct.pack(">II", size[1], size[0]):
        raise DataError(
            f"{place}: its bitmap is no PNG of {size[1]}x{size[0]}, the image's size; put the image there that was "
            "annotated, or export it again"
        )
    return pixels_of_area(size, Bitmap("", (0, 0), png))


def _unpack(packed: bytes, count: int) -> NDArray[np.uint8]:
    """Bytes of a packed stream of bits: https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack

    The count of words in 32 bits, their bits less one in 5, and four widths less one in 4 bits each. Then, until all
    words are there: a bit that says whether one word is repeated, which width the length less one has, that length, and
    the word or the words.

    Raises:
        ValueError: there is another number of bytes.
    """
    bits, at, done = np.unpackbits(np.frombuffer(packed, dtype=np.uint8)), 0, 0

    def take(width: int) -> int:
        nonlocal at
        if at + width > len(bits):
            raise ValueError("its run lengths are cut off")
        end = -(-(at + width) // 8)
        value = int.from_bytes(packed[at // 8 : end]) >> (8 * end - at - width)
        at += width
        return value & ((1 << width) - 1)

    found, word = take(32), take(5) + 1
    widths = [take(4) + 1 for _ in range(4)]
    if found != count or word != _BITS:
        raise ValueError(f"it has {found} words of {word} bits, not {count} of {_BITS}")
    words = np.empty(count, dtype=np.uint8)
    while done < count:
        repeated, length = take(1), take(widths[take(2)]) + 1
        if done + length > count or (not repeated and at + length * _BITS > len(bits)):
            raise ValueError("its run lengths are damaged")
        if repeated:
            words[done : done + length] = take(_BITS)
        else:
            words[done : done + length] = np.packbits(bits[at : at + length * _BITS])
            at += length * _BITS
        done += length
    return words
