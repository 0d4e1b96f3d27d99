"""Masks as a COCO file: one annotation per class of an image, as run lengths or as polygons.

The format is that of COCO-Stuff (https://cocodataset.org/#format-data): the regions of one class are one annotation,
``iscrowd`` is 0, ``bbox`` is (x, y, width, height). The id of a category is the value of the class in mask files, or
one more if a class has the value 0, since COCO's tools take 0 for "not labeled". Polygons run along the edges of the
pixels, so pycocotools decodes them to the same mask.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from types import ModuleType, TracebackType
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.inference.prediction import SegmentedFrame
from segnet.labels import ClassTable, require_table
from segnet.results.records import require_unicode
from segnet.system.files import explained, move_into_place, temporary_file
from segnet.system.packages import importing

__all__ = ["CocoFile", "Form", "annotate", "categories", "polygons"]

Form = Literal["rle", "polygons"]
"""Encoding of the pixels of an annotation: compressed run lengths, or polygons."""

_STRIP = 16_000_000  # pixels; contourpy takes 24 bytes per pixel


class CocoFile:
    """A COCO file that grows image by image under a temporary name, and is renamed at the end.

        with CocoFile("coco.json", predictor.labels) as file:
            for frame in segnet.stream(predictor, "drive.mp4"):
                file.add(frame)

    Ctrl-C completes the file with the images so far. Any other error, or no image at all, leaves nothing behind, and
    an earlier file of this name as it was. The memory does not grow.

    Args:
        path: of the file.
        labels: the classes, which become the categories.
        form: encoding of the annotations.

    Raises:
        ConfigError: ``form`` is unknown.
        MissingPackageError: pycocotools or, for polygons, contourpy is not installed.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, labels: ClassTable, *, form: Form = "rle") -> None:
        if form not in get_args(Form):
            raise ConfigError(f"form={form!r} is unknown; choose one of {', '.join(get_args(Form))}")
        require_table(labels)
        _import_pycocotools()
        if form == "polygons":
            _import_contourpy()
        self.path = Path(path)
        self._labels = labels
        self._form = form
        self._open = ExitStack()
        self._images = self._annotations = 0

    def __enter__(self) -> Self:
        with explained(self.path), ExitStack() as opened:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary = opened.enter_context(temporary_file(self.path))
            self._file = opened.enter_context(self._temporary.open("w", encoding="utf-8"))
            self._image_table = opened.enter_context(TemporaryFile("w+", encoding="utf-8", dir=self.path.parent))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._images and (kind is None or issubclass(kind, KeyboardInterrupt)):
                self._finish()
        finally:
            with suppress(OSError):  # what is discarded may not fit on the disk
                self._open.close()

    def add(self, frame: SegmentedFrame) -> None:
        """Write one image or frame and its annotations; pixels of no known class are left out.

        An image with neither name nor source is named by its index in the file, from ``000000.png`` on.

        Raises:
            DataError: the name of its file is not UTF-8.
            OutputError: the disk is full, and the like.
        """
        require_unicode(frame)
        annotations = annotate(frame.mask, self._labels, self._form)
        with explained(self.path):
            if not self._images:
                info = {"description": f"predicted by segnet {version('segnet')}"}
                self._file.write('{"info":' + _compact(info) + ',"licenses":[],"annotations":[')
            self._images += 1
            self._image_table.write(
                ("," if self._images > 1 else "") + "\n" + _compact(_describe_image(frame, self._images))
            )
            for annotation in annotations:
                self._annotations += 1
                numbered = {"id": self._annotations, "image_id": self._images, **annotation}
                self._file.write(("," if self._annotations > 1 else "") + "\n" + _compact(numbered))

    def _finish(self) -> None:
        """Write images and categories after the annotations; a JSON object has no order."""
        with explained(self.path):
            self._file.write('],\n"images":[')
            self._image_table.seek(0)
            shutil.copyfileobj(self._image_table, self._file)
            self._file.write('],\n"categories":' + _compact(categories(self._labels)) + "}\n")
            self._file.close()
        move_into_place(self._temporary, self.path)


def annotate(mask: NDArray[np.uint8], labels: ClassTable, form: Form = "rle") -> list[dict[str, Any]]:
    """The annotations of one image, one per class that occurs, without ids.

    Args:
        mask: (H, W), class indices; pixels of no known class are left out.
        labels: the classes.
        form: encoding of the pixels.

    Raises:
        MissingPackageError: pycocotools or, for polygons, contourpy is not installed.
    """
    tools = _import_pycocotools()
    columns = np.asfortranarray(mask)
    annotations = []
    for index in np.flatnonzero(np.bincount(mask.ravel(), minlength=256)[: labels.classes]).tolist():
        region = columns == index
        runs = tools.encode(region.view(np.uint8))
        shape: Any = {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")}
        if form == "polygons":
            shape = polygons(region)
        area, box = int(tools.area(runs)), [int(side) for side in tools.toBbox(runs)]
        category = _category_ids(labels)[index]
        annotations.append({"category_id": category, "iscrowd": 0, "area": area, "bbox": box, "segmentation": shape})
    return annotations


def categories(labels: ClassTable) -> list[dict[str, Any]]:
    """The categories of a COCO file: id, name and color of each class."""
    return [
        {"id": number, "name": name, "supercategory": "", "isthing": 0, "color": list(color)}
        for number, name, color in zip(_category_ids(labels), labels.names, labels.colors, strict=True)
    ]


def polygons(region: NDArray[np.bool_]) -> list[list[int]]:
    """Outlines of connected pixels (H, W), each as x0, y0, x1, y1, ... along the edges of the pixels.

    Pixels that touch only at a corner are not connected. COCO polygons have no holes, so a hole is connected to the
    nearest corner of the outline by a seam of zero width. Nothing is smoothed or left out. Regions of more than 16
    million pixels are cut into strips first.

    Raises:
        MissingPackageError: contourpy is not installed.
    """
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if not rows.size:
        return []
    left, right = int(columns[0]), int(columns[-1]) + 1
    step = max(1, _STRIP // (right - left))
    outlines = []
    for top in range(int(rows[0]), int(rows[-1]) + 1, step):
        strip = region[top : min(top + step, int(rows[-1]) + 1), left:right]
        outlines += [_with_seams(rings) for rings in _regions(strip, np.array([left, top]))]
    return [outline.ravel().tolist() for outline in outlines]


def _regions(region: NDArray[np.bool_], offset_xy: NDArray[np.int64]) -> Iterator[list[NDArray[np.int64]]]:
    """For each region the corners (x, y) of its outer ring, then those of its holes.

    Between 0 and 1 contourpy's lines cross the edges of the pixels in their middle, cutting corners. Two neighbors on
    a line, one on an upright edge and one on a level one, give the corner between them.
    """
    if not region.any():
        return
    contourpy = _import_contourpy()
    generator = contourpy.contour_generator(
        z=np.pad(region, 1).astype(np.float64), name="serial", fill_type="ChunkCombinedOffsetOffset"
    )
    (points,), (ends,), (groups,) = generator.filled(0.5, 2.0)
    upright = points[:, 0] % 1 != 0
    turns = upright[:-1] != upright[1:]
    turns[ends[1:-1].astype(np.intp) - 1] = False  # from the last point of one ring to the first of the next
    first, second = points[:-1], points[1:]
    corners = np.where(
        upright[:-1, None],
        np.stack([first[:, 0], second[:, 1]], axis=1),
        np.stack([second[:, 0], first[:, 1]], axis=1),
    )[turns]
    placed = np.rint(corners - 0.5).astype(np.int64) + offset_xy
    counts = np.concatenate([[0], np.cumsum(turns), [int(turns.sum())]])
    rings = np.split(placed, counts[ends[1:-1].astype(np.intp)])
    for start, end in zip(groups[:-1].tolist(), groups[1:].tolist(), strict=True):
        yield rings[start:end]


def _with_seams(rings: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One ring out of an outline and its holes."""
    outer, *holes = rings
    nearest = [int(((outer - hole[0]) ** 2).sum(axis=1).argmin()) for hole in holes]
    parts, start = [], 0
    for corner, index in sorted(zip(nearest, range(len(holes)), strict=True)):
        parts += [outer[start : corner + 1], holes[index], holes[index][:1]]
        start = corner
    return np.concatenate([*parts, outer[start:]])


def _describe_image(frame: SegmentedFrame, number: int) -> dict[str, Any]:
    """The entry of an image; of a frame with its number and time."""
    height, width = frame.mask.shape
    name = frame.name or f"{number - 1:06}"
    if frame.number is None:
        image = Path(frame.source).name or f"{PurePosixPath(name).name}.png"
        file_name = str(PurePosixPath(name).with_name(image))
        return {"id": number, "file_name": file_name, "width": width, "height": height}
    time = None if frame.time is None else round(float(frame.time), 6)
    position = {"source": frame.source, "frame": frame.number, "time": time}
    return {"id": number, "file_name": f"{name}.png", "width": width, "height": height, **position}


def _category_ids(labels: ClassTable) -> list[int]:
    return [value + (0 in labels.values) for value in labels.values]


def _compact(value: Mapping[str, Any] | list[dict[str, Any]]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _import_pycocotools() -> ModuleType:
    with importing("pycocotools", "coco"):
        import pycocotools.mask
    module: ModuleType = pycocotools.mask
    return module


def _import_contourpy() -> ModuleType:
    with importing("contourpy", "coco"):
        import contourpy
    return contourpy
