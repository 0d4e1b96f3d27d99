"""Data sets that annotation tools write as JSON: LabelMe, Supervisely and COCO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.data.layouts.polygons import Shape, draw_shapes, drawn, polygon, read_json, table_of
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.samples import Sample
from segnet.data.splits import SPLITS, by_split, split_of
from segnet.errors import DataError, MissingPackageError
from segnet.labels import IGNORE_INDEX, ClassTable, Color
from segnet.media.sources import find_images_below

__all__ = ["coco", "is_coco", "is_labelme", "is_supervisely", "labelme", "supervisely"]

_IGNORED = "__ignore__"
_COCO_KINDS = frozenset(("instances", "stuff", "panoptic", "", "_annotations.coco", "_annotations"))


def labelme(root: Path) -> Source:
    """LabelMe: a JSON beside each image, or in folders of the splits; polygons and rectangles of named classes.

    Pixels of no shape are background, later shapes cover earlier ones.

    Raises:
        DataError: a JSON is none of LabelMe, or its image is missing.
    """
    folders = by_split(path for path in root.iterdir() if path.is_dir()) or {"train": root}
    pages = {
        split: [(path, _page(path)) for path in sorted(folder.rglob("*.json"))] for split, folder in folders.items()
    }
    everything = [page for found in pages.values() for _, page in found]
    labels = table_of(sorted({shape["label"] for page in everything for shape in page["shapes"]} - {_IGNORED}))
    splits = {
        split: tuple(_labelme_sample(path, page, folders[split], labels) for path, page in found)
        for split, found in pages.items()
    }
    return _source(root, "LabelMe", splits, labels)


def is_labelme(root: Path) -> bool:
    """Whether a JSON with shapes and the path of an image is there."""
    first = next(iter(sorted(root.glob("*.json")) or sorted(root.glob("*/*.json"))), None)
    return first is not None and _has(first, "shapes", "imagePath")


def supervisely(root: Path) -> Source:
    """Supervisely: ``meta.json``, and data sets of ``img/`` and ``ann/``, whose polygons and bitmaps are drawn.

    Folders that are called as splits are those; other data sets train.

    Raises:
        DataError: an annotation is of another form, or its image is missing.
    """
    classes = read_json(root / "meta.json")["classes"]
    labels = table_of(entry["title"] for entry in classes)
    colors = {entry["title"]: _hex_color(entry["color"]) for entry in classes if "color" in entry}
    labels = ClassTable(names=labels.names, colors=tuple(
        colors.get(name, own) for name, own in zip(labels.names, labels.colors, strict=True)))  # fmt: skip
    splits: dict[str, tuple[Sample, ...]] = {}
    for folder in sorted(path.parent for path in [root / "ann", *root.glob("*/ann")] if path.is_dir()):
        split = split_of(folder.name) or "train"
        found = [_supervisely_sample(path, folder, labels) for path in sorted((folder / "ann").glob("*.json"))]
        splits[split] = (*splits.get(split, ()), *found)
    return _source(root, "Supervisely", splits, labels)


def is_supervisely(root: Path) -> bool:
    """Whether meta.json is there beside ann/."""
    return (root / "meta.json").is_file() and ((root / "ann").is_dir() or any(root.glob("*/ann")))


def coco(root: Path) -> Source:
    """COCO: ``annotations/*_SPLIT.json``, such as instances_train2017.json or panoptic_val2017.json, and its images.

    Polygons and run lengths need pycocotools; larger objects are drawn first. ``panoptic`` files are read with their
    PNG, by the categories of the segments; pixels of none are ignored.

    Raises:
        DataError: a file is of another form, or an image is missing.
        MissingPackageError: pycocotools is not installed.
    """
    files = _coco_files(root)
    tables = {split: read_json(path) for split, path in files.items()}
    categories = {one["id"]: one["name"] for table in tables.values() for one in table["categories"]}
    panoptic = any("panoptic" in path.name for path in files.values())
    names = list(dict.fromkeys(categories[key] for key in sorted(categories)))
    labels = ClassTable.from_names(names) if panoptic else table_of(names)
    read = _panoptic_samples if panoptic else _instance_samples
    splits = {split: tuple(read(root, files[split], table, categories, labels)) for split, table in tables.items()}
    return _source(root, "COCO panoptic" if panoptic else "COCO", splits, labels)


def is_coco(root: Path) -> bool:
    """Whether annotations/ or the folder holds a JSON of COCO for a split."""
    return bool(_coco_files(root))


def _source(root: Path, layout: str, splits: Mapping[str, tuple[Sample, ...]], labels: ClassTable) -> Source:
    whole = with_validation(root, splits)
    return Source(root=root, layout=layout, splits=whole, labels=labels, ignore_index=(IGNORE_INDEX,))


def _has(path: Path, *keys: str) -> bool:
    try:
        content = read_json(path)
    except DataError:
        return False
    return isinstance(content, dict) and set(keys) <= content.keys()


def _page(path: Path) -> dict[str, Any]:
    page = read_json(path)
    if not isinstance(page, dict) or not {"shapes", "imagePath", "imageHeight", "imageWidth"} <= page.keys():
        raise DataError(f"{path}: is no annotation of LabelMe; expected shapes, imagePath, imageHeight and imageWidth")
    return page


def _labelme_sample(path: Path, page: dict[str, Any], folder: Path, labels: ClassTable) -> Sample:
    image = path.parent / str(page["imagePath"]).replace("\\", "/")
    _require(image, path)
    size, shapes = (int(page["imageHeight"]), int(page["imageWidth"])), page["shapes"]

    def draw() -> NDArray[np.uint8]:
        mask = draw_shapes(size, [_labelme_shape(shape) for shape in shapes], labels)
        for shape in shapes:
            if shape["label"] == _IGNORED:
                mask[polygon(size, _labelme_shape(shape))] = IGNORE_INDEX
        return mask

    name = path.relative_to(folder).with_suffix("").as_posix()
    return drawn(path, "", labels, draw, image=image, name=name)


def _labelme_shape(shape: dict[str, Any]) -> Shape:
    points = [(point[0], point[1]) for point in shape["points"]]
    if shape.get("shape_type") == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = [(left, top), (right, top), (right, bottom), (left, bottom)]
    return Shape(shape["label"], points)


def _supervisely_sample(path: Path, folder: Path, labels: ClassTable) -> Sample:
    image = folder / "img" / path.stem  # a.jpg.json
    if not image.is_file():
        image = next((other for other, _ in find_images_below(folder / "img") if other.stem == path.stem), image)
    _require(image, path)
    page = read_json(path)
    size = (int(page["size"]["height"]), int(page["size"]["width"]))

    def draw() -> NDArray[np.uint8]:
        if bitmap := next((one for one in page["objects"] if one.get("geometryType") == "bitmap"), None):
            raise DataError(f"{path}: {bitmap['classTitle']} is a bitmap; export polygons, or masks as PNG")
        return draw_shapes(size, map(_supervisely_shape, page["objects"]), labels)

    return drawn(path, "", labels, draw, image=image, name=image.stem)


def _supervisely_shape(item: dict[str, Any]) -> Shape:
    points = item["points"]
    return Shape(item["classTitle"], points["exterior"], points.get("interior", ()))


def _hex_color(text: str) -> Color:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))[:3]
    return red, green, blue


def _require(image: Path, annotation: Path) -> None:
    if not image.is_file():
        raise DataError(f"{annotation}: its image {image} is missing; put it there, or remove the annotation")


def _coco_files(root: Path) -> dict[str, Path]:
    """The JSON of each split: ``*_train2017.json``, or Roboflow's ``train/_annotations.coco.json``."""
    found: dict[str, Path] = {}
    for path in sorted([*root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]):
        name = path.parent.name if path.name.startswith("_") else path.stem.rpartition("_")[2]
        kind = path.stem.rpartition("_")[0]
        if (split := split_of(name)) and kind in _COCO_KINDS:
            found.setdefault(split, path)
    return {split: found[split] for split in SPLITS if split in found}


def _image_of(root: Path, annotation: Path, name: str) -> Path:
    split = annotation.stem.rpartition("_")[2]
    places = (annotation.parent, root / split, root / "images" / split, root / "images", root)
    image = next((place / name for place in places if (place / name).is_file()), root / split / name)
    _require(image, annotation)
    return image


def _instance_samples(
    root: Path, path: Path, table: dict[str, Any], categories: Mapping[int, str], labels: ClassTable
) -> Iterable[Sample]:
    items_of: dict[int, list[dict[str, Any]]] = {}
    for item in table["annotations"]:
        items_of.setdefault(item["image_id"], []).append(item)
    for entry in table["images"]:
        items = items_of.get(entry["id"], [])
        draw = partial(_draw_instances, entry, items, categories, labels)
        image = _image_of(root, path, entry["file_name"])
        yield drawn(path, str(entry["id"]), labels, draw, image=image, name=Path(entry["file_name"]).stem)


def _draw_instances(
    entry: dict[str, Any], items: list[dict[str, Any]], categories: Mapping[int, str], labels: ClassTable
) -> NDArray[np.uint8]:
    """Larger objects first, so that small ones stay visible; crowds are ignored."""
    try:
        from pycocotools import mask as run_lengths
    except ImportError as error:
        raise MissingPackageError("pycocotools", "coco") from error
    height, width = int(entry["height"]), int(entry["width"])
    mask: NDArray[np.uint8] = np.zeros((height, width), dtype=np.uint8)
    for item in sorted(items, key=lambda item: -float(item.get("area", 0))):
        given = item["segmentation"]
        if not given:
            continue
        if isinstance(given, list) or isinstance(given.get("counts"), list):
            given = run_lengths.frPyObjects(given, height, width)
        merged = run_lengths.merge(given) if isinstance(given, list) else given
        index = labels.names.index(categories[item["category_id"]])
        mask[run_lengths.decode(merged) > 0] = IGNORE_INDEX if item.get("iscrowd") else index
    return mask


def _panoptic_samples(
    root: Path, path: Path, table: dict[str, Any], categories: Mapping[int, str], labels: ClassTable
) -> Iterable[Sample]:
    file_of = {entry["id"]: entry["file_name"] for entry in table["images"]}
    for item in table["annotations"]:
        segments = {segment["id"]: labels.names.index(categories[segment["category_id"]])
                    for segment in item["segments_info"]}  # fmt: skip
        png = path.with_suffix("") / item["file_name"]
        _require(png, path)
        draw = partial(_draw_segments, png, segments)
        image = _image_of(root, path, file_of[item["image_id"]])
        yield drawn(path, str(item["image_id"]), labels, draw, image=image, name=image.stem)


def _draw_segments(png: Path, segments: Mapping[int, int]) -> NDArray[np.uint8]:
    """The number of a segment is red + 256 green + 65536 blue."""
    with Image.open(png) as image:
        numbers = np.array(image.convert("RGB")).astype(np.int64) @ np.array([1, 256, 65536])
    mask: NDArray[np.uint8] = np.full(numbers.shape, IGNORE_INDEX, dtype=np.uint8)
    for number, index in segments.items():
        mask[numbers == number] = index
    return mask
