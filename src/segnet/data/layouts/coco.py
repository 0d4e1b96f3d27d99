"""COCO: objects as polygons and run lengths, panoptic PNG, and the masks of stuff."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.layouts.drawing import (
    Drawing,
    drawn_source,
    glob_visible,
    read_each,
    read_json,
    report_annotation,
    require_image,
)
from segnet.data.layouts.pairing import MASK_FOLDERS, find_folder, pair_folders
from segnet.data.layouts.polygons import Pixels, blank, pixels_of_columns, require_near, table_of
from segnet.data.layouts.source import Source
from segnet.data.layouts.validation import with_validation
from segnet.data.splits import SPLITS, split_of
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.reading import read_image
from segnet.media.sources import find_file, is_image_file
from segnet.system.packages import importing

__all__ = ["coco", "is_coco"]

_KINDS = ("panoptic", "stuff", "instances", "", "_annotations.coco", "_annotations")
"""Beginnings of the files of a split, those that describe most pixels first."""

_FEWEST_NUMBERS = 6  # of a polygon: x and y of three corners; pycocotools takes four numbers for a box
_MOST_BITS = 60  # of a run length

Table = dict[str, Any]


def coco(root: Path) -> Source:
    """COCO: ``annotations/*_SPLIT.json``, such as instances_train2017.json or panoptic_val2017.json, and its images.

    Annotation tools write one file for all images: ``annotations/instances_default.json`` (CVAT), ``result.json``
    (Label Studio), ``labels.json`` (FiftyOne). Its images are divided as those of a data set without splits.
    Of several kinds panoptic is read first, then stuff, then instances. Polygons need pycocotools;
    larger objects are drawn first. ``panoptic`` files are read with their PNG, by the categories of the segments;
    ``stuff`` files with the masks in ``stuff_train2017_pixelmaps/`` if these are there. Pixels of no category are
    ignored in these PNG and masks; where polygons and run lengths are drawn, they are the class background.

    Raises:
        DataError: a file is of another form, an image is missing or listed twice, or an annotation cannot be drawn.
        MissingPackageError: pycocotools is not installed.
    """
    files = _split_files(root)
    if not files and (only := _only_file(root)):
        files = {"train": only}
    if not files:
        raise DataError(
            f"{root}: holds no annotations of COCO; expected annotations/instances_train2017.json or alike for each "
            "split, or one JSON for all images, in annotations/ or beside images/"
        )
    tables = dict(read_each(files.values(), _read_table))
    kind = _kind_of(next(iter(files.values())))
    if kind == "stuff" and all(_pixel_maps(path).is_dir() for path in files.values()):
        return _stuff_masks(root, files, _shared_categories(tables))
    numbered = sorted({item for table in tables.values() for item in _categories(table).items()})
    names = list(dict.fromkeys(name for _, name in numbered))
    labels = ClassTable.from_names(names) if kind == "panoptic" and names else table_of(names)
    plan = _panoptic_drawings if kind == "panoptic" else _instance_drawings
    planned = dict(read_each(tables, lambda path: list(plan(root, path, tables[path], labels))))
    drawings = {split: planned[path] for split, path in files.items() if path in planned}
    return drawn_source(root, "COCO panoptic" if kind == "panoptic" else "COCO", drawings, labels)


def is_coco(root: Path) -> bool:
    """Whether annotations/ or the folder holds a JSON of COCO for a split, or one for all images."""
    if _split_files(root):
        return True
    try:
        return bool((only := _only_file(root)) and _read_table(only))
    except (DataError, KeyError, TypeError, ValueError):
        return False


def _split_files(root: Path) -> dict[str, Path]:
    """The JSON of each split, of the first kind that is there; Roboflow's is ``train/_annotations.coco.json``."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted([*root.glob("annotations/*.json"), *root.glob("*/_annotations.coco.json")]):
        name = path.parent.name if path.name.startswith("_") else path.stem.rpartition("_")[2]
        kind = _kind_of(path)
        if (split := split_of(name)) and kind in _KINDS:
            found.setdefault(kind, {}).setdefault(split, path)
    kinds = sorted(found, key=_KINDS.index)
    if kinds[:1] == ["panoptic"] and not all(path.with_suffix("").is_dir() for path in found["panoptic"].values()):
        kinds.append(kinds.pop(0))  # its PNG are an archive of their own
    first = found[kinds[0]] if kinds else {}
    return {split: first[split] for split in SPLITS if split in first}


def _only_file(root: Path) -> Path | None:
    """The JSON of all images, as annotation tools export it; None where masks stand beside it."""
    paths = [*glob_visible(root, "annotations/*.json"), *glob_visible(root, "*.json")]
    masks = find_folder(root, MASK_FOLDERS)
    if len(paths) != 1 or (masks and any(map(is_image_file, masks.rglob("*")))):
        return None
    return paths[0]


def _kind_of(path: Path) -> str:
    return path.stem.rpartition("_")[0]


def _read_table(path: Path) -> Table:
    table = read_json(path)
    if not isinstance(table, dict) or not {"images", "annotations", "categories"} <= table.keys():
        raise DataError(f"{path}: is no annotation of COCO; expected images, annotations and categories")
    _categories(table)
    return table


def _categories(table: Table) -> dict[int, str]:
    return {int(one["id"]): str(one["name"]) for one in table["categories"]}


def _shared_categories(tables: Mapping[Path, Table]) -> dict[int, str]:
    """The categories by their number, which is the same in the masks of all splits.

    Raises:
        DataError: it is not.
    """
    shared: dict[int, str] = {}
    for path, table in tables.items():
        for number, name in _categories(table).items():
            if shared.setdefault(number, name) != name:
                raise DataError(
                    f"{path}: category {number} is {name}, and {shared[number]} in another split; the masks need the "
                    "same numbers in all splits"
                )
    return dict(sorted(shared.items()))


def _pixel_maps(annotation: Path) -> Path:
    return annotation.with_name(f"{annotation.stem}_pixelmaps")


def _stuff_masks(root: Path, files: Mapping[str, Path], categories: Mapping[int, str]) -> Source:
    """Masks of the numbers of the categories, 0 where unlabeled."""
    splits = {split: pair_folders(_images_of(root, path), _pixel_maps(path)) for split, path in files.items()}
    labels = ClassTable.from_names(list(categories.values()), list(categories))
    ignored = (0, IGNORE_INDEX)
    return Source(
        root=root, layout="COCO stuff", splits=with_validation(root, splits), labels=labels, ignore_index=ignored
    )


def _images_of(root: Path, annotation: Path) -> Path:
    """The folder of the images of a split."""
    split = annotation.stem.rpartition("_")[2]
    return find_folder(root, (split, f"images/{split}", "images", "data")) or root / split


def _image_of(root: Path, annotation: Path, name: str) -> Path:
    name = name.replace("\\", "/")  # as Windows writes it
    places = (_images_of(root, annotation), annotation.parent, root / "images", root)
    return find_file(places, name) or places[0] / name


def _instance_drawings(root: Path, path: Path, table: Table, labels: ClassTable) -> Iterator[Drawing]:
    categories = _categories(table)  # each file may number them in its own way
    entries = _entries(path, table)
    items_of: dict[int, list[Table]] = {number: [] for number in entries}
    for item in _annotations(path, table, entries):
        items_of[item["image_id"]].append(item)
    for number, entry in entries.items():
        image = _image_of(root, path, entry["file_name"])
        if require_image(image, path):
            draw = partial(_draw_instances, path, entry, items_of[number], categories, labels)
            yield Drawing(image, image.stem, path, str(number), draw)


def _entries(path: Path, table: Table) -> dict[int, Table]:
    """The images by their id; one that is listed twice is a fault."""
    entries: dict[int, Table] = {}
    files = set()
    for entry in table["images"]:
        number, file = entry["id"], entry["file_name"]
        if number in entries or file in files:
            twice = f"the id {number}" if number in entries else f"the file {file}"
            report_annotation(f"{path}: images lists {twice} twice; expected each image once; merge the two entries")
        else:
            entries[number] = entry
            files.add(file)
    return entries


def _annotations(path: Path, table: Table, entries: Mapping[int, Table]) -> Iterator[Table]:
    """The annotations of the images; one of another image is a fault."""
    for item in table["annotations"]:
        if item["image_id"] in entries:
            yield item
        else:
            report_annotation(
                f"{path}: annotation {item.get('id')} has the image_id {item['image_id']!r}, which is none of images; "
                "add the image there, or remove the annotation"
            )


def _draw_instances(
    path: Path, entry: Table, items: list[Table], categories: Mapping[int, str], labels: ClassTable
) -> NDArray[np.uint8]:
    """Larger objects first, so that small ones stay visible.

    A crowd is many objects of its class. CVAT marks all that is painted with its brush as crowds.
    """
    size = int(entry["height"]), int(entry["width"])
    mask = blank(size)
    for item in sorted(items, key=lambda item: -float(item.get("area", 0))):
        index = _class_of(item, "annotation", categories, labels)
        given, place = item.get("segmentation"), f"{path}: annotation {item.get('id')} of {entry['file_name']}"
        if not given:
            raise DataError(
                f"{place} has no segmentation, as a box; expected polygons or run lengths; give the annotations of a "
                "segmentation data set, or remove it"
            )
        pixels = _fill_polygons(given, size, place) if isinstance(given, list) else _fill_runs(given, size, place)
        pixels.paint(mask, index)
    return mask


def _class_of(item: Mapping[str, Any], kind: str, categories: Mapping[int, str], labels: ClassTable) -> int:
    """The class index of an annotation or segment."""
    if (number := item["category_id"]) not in categories:
        raise ValueError(f"{kind} {item.get('id')} has category_id {number}, which is not in categories")
    return labels.names.index(categories[number])


def _fill_polygons(polygons: list[list[float]], size: tuple[int, int], place: str) -> Pixels:
    """The pixels in polygons; those of fewer than three corners cover none."""
    with importing("pycocotools", "coco"):
        from pycocotools import mask as run_lengths
    for polygon in polygons:
        require_near(polygon, size, place)
    areas = [polygon for polygon in polygons if len(polygon) >= _FEWEST_NUMBERS]
    if not areas:
        raise DataError(f"{place}: has no polygon of three corners or more; draw it anew, or remove it")
    try:
        packed: bytes = run_lengths.merge(run_lengths.frPyObjects(areas, *size))["counts"]
    except Exception as error:  # pycocotools raises Exception itself
        raise ValueError(f"segmentation: {error}") from error
    return pixels_of_columns(_unpack_runs(packed.decode()), size[0])


def _fill_runs(given: Table, size: tuple[int, int], place: str) -> Pixels:
    """The pixels in run lengths: numbers of pixels by turns outside and inside, column by column."""
    if tuple(given["size"]) != size:
        raise DataError(
            f"{place}: has run lengths of the size {given['size']}; expected {list(size)}, the height and width of the "
            "image; export it again"
        )
    counts = _unpack_runs(given["counts"]) if isinstance(given["counts"], str) else given["counts"]
    if min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise DataError(
            f"{place}: has run lengths of {sum(counts)} pixels; expected {size[0] * size[1]}, as many as the image "
            "has; export it again"
        )
    return pixels_of_columns(counts, size[0])


def _unpack_runs(packed: str) -> list[int]:
    """Run lengths from COCO's text: five bits and one for "more follow" in each character, from the lowest bits on.

    From the fourth on they are differences to the last but one.

    Raises:
        ValueError: a number does not end.
    """
    counts: list[int] = []
    value = bits = 0
    for part in (ord(character) - 48 for character in packed):
        value |= (part & 31) << bits
        bits += 5
        if bits > _MOST_BITS:
            raise ValueError(f"run lengths with a number of more than {_MOST_BITS} bits")
        if not part & 32:
            if part & 16:
                value -= 1 << bits
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    return counts


def _panoptic_drawings(root: Path, path: Path, table: Table, labels: ClassTable) -> Iterator[Drawing]:
    categories = _categories(table)
    entries = _entries(path, table)
    for item in _annotations(path, table, entries):
        png = path.with_suffix("") / item["file_name"]
        image = _image_of(root, path, entries[item["image_id"]]["file_name"])
        if require_image(image, path):
            draw = partial(_draw_segments, png, item, categories, labels)
            yield Drawing(image, image.stem, path, str(item["image_id"]), draw, pixels=png)


def _draw_segments(
    png: Path, item: dict[str, Any], categories: Mapping[int, str], labels: ClassTable
) -> NDArray[np.uint8]:
    """The number of a segment is red + 256 green + 65536 blue."""
    if not png.is_file():
        raise DataError(f"{png}: is missing; unpack the archive of the panoptic PNG beside its JSON")
    numbers = read_image(png).astype(np.int64) @ np.array([1, 256, 65536])
    mask: NDArray[np.uint8] = np.full(numbers.shape, IGNORE_INDEX, dtype=np.uint8)
    for segment in item["segments_info"]:
        if type(segment["id"]) not in (int, float):
            raise ValueError(f"a segment has the id {str(segment['id'])[:40]!r}, which is no number")
        mask[numbers == segment["id"]] = _class_of(segment, "segment", categories, labels)
    return mask
