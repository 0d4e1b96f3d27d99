"""Polygons and segments of annotation tools become masks, drawn once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from layout_files import masks_of, save, text
from segnet.data.layouts import open_source
from segnet.errors import DataError

# pycocotools decodes run lengths in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZE = (8, 10)
EXPECTED = np.zeros(SIZE, np.uint8)  # a car in rows 2 to 5, columns 3 to 7; above it a small sign
EXPECTED[2:6, 3:8] = 1
EXPECTED[3:5, 4:6] = 2


def square(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """Corners of the pixels from (left, top) to (right, bottom), which are part of it."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


CAR, SIGN = square(3, 2, 7, 5), square(4, 3, 5, 4)


def photo(path: Path) -> None:
    save(path, np.zeros((*SIZE, 3)))


def labelme(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / split / "a.jpg")
        shapes = [
            {"label": "car", "points": CAR, "shape_type": "polygon"},
            {"label": "sign", "points": [SIGN[0], SIGN[2]], "shape_type": "rectangle"},
        ]
        page = {"imagePath": "a.jpg", "imageHeight": 8, "imageWidth": 10, "imageData": None, "shapes": shapes}
        text(root / split / "a.json", json.dumps(page))


def supervisely(root: Path) -> None:
    classes = [{"title": "car", "color": "#FF0000", "shape": "polygon"}, {"title": "sign", "color": "#00FF00"}]
    text(root / "meta.json", json.dumps({"classes": classes}))
    for split in ("train", "val"):
        photo(root / split / "img" / "a.jpg")
        objects = [
            {"classTitle": name, "geometryType": "polygon", "points": {"exterior": points, "interior": []}}
            for name, points in (("car", CAR), ("sign", SIGN))
        ]
        page = {"size": {"height": 8, "width": 10}, "objects": objects}
        text(root / split / "ann" / "a.jpg.json", json.dumps(page))


def flat(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """COCO's corners lie between the pixels."""
    return [[left, top, right, top, right, bottom, left, bottom]]


def coco(root: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(root / split / "000000000009.jpg")
        annotations = [
            {"image_id": 9, "category_id": 13, "segmentation": flat(4, 3, 6, 5), "area": 4, "iscrowd": 0},
            {"image_id": 9, "category_id": 3, "segmentation": flat(3, 2, 8, 6), "area": 20, "iscrowd": 0},
        ]
        table = {
            "images": [{"id": 9, "file_name": "000000000009.jpg", "height": 8, "width": 10}],
            "annotations": annotations,
            "categories": [{"id": 3, "name": "car"}, {"id": 13, "name": "sign"}],
        }
        text(root / "annotations" / f"instances_{split}.json", json.dumps(table))


def panoptic(root: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(root / split / "000000000009.jpg")
        numbers = np.array([70_000, 300, 5])[EXPECTED]
        colors = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], axis=2)
        save(root / "annotations" / f"panoptic_{split}" / "000000000009.png", colors)
        segments = [{"id": 70_000, "category_id": 1}, {"id": 300, "category_id": 3}, {"id": 5, "category_id": 13}]
        item = {"image_id": 9, "file_name": "000000000009.png", "segments_info": segments}
        table = {
            "images": [{"id": 9, "file_name": "000000000009.jpg"}],
            "annotations": [item],
            "categories": [{"id": 1, "name": "road"}, {"id": 3, "name": "car"}, {"id": 13, "name": "sign"}],
        }
        text(root / "annotations" / f"panoptic_{split}.json", json.dumps(table))


@pytest.mark.parametrize("write", [labelme, supervisely, coco, panoptic])
def test_annotations_are_drawn_as_masks_once(write: Callable[[Path], None], tmp_path: Path, own_cache: Path) -> None:
    write(tmp_path)
    source = open_source(tmp_path)
    for split in ("train", "val"):
        np.testing.assert_array_equal(masks_of(source, split), EXPECTED)
    assert source.labels.names == ("road" if write is panoptic else "background", "car", "sign")
    files = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.png")}
    assert len(files) == 2
    assert open_source(tmp_path).splits == source.splits
    assert {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.png")} == files
    name = "coco" if write is panoptic else write.__name__
    assert open_source(tmp_path, layout=name).splits == source.splits


@pytest.mark.parametrize("write", [labelme, supervisely, coco])
def test_an_annotation_without_its_image_is_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    next(tmp_path.rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="is missing; put it there, or remove the annotation"):
        open_source(tmp_path)


def test_crowds_of_coco_and_shapes_to_ignore_are_ignored(tmp_path: Path) -> None:
    labelme(tmp_path / "a")
    page = json.loads((tmp_path / "a/train/a.json").read_text())
    page["shapes"][1]["label"] = "__ignore__"
    text(tmp_path / "a/train/a.json", json.dumps(page))
    assert (masks_of(open_source(tmp_path / "a"))[EXPECTED == 2] == 255).all()
    coco(tmp_path / "b")
    table = json.loads((tmp_path / "b/annotations/instances_train2017.json").read_text())
    table["annotations"][0]["iscrowd"] = 1
    text(tmp_path / "b/annotations/instances_train2017.json", json.dumps(table))
    assert (masks_of(open_source(tmp_path / "b"))[EXPECTED == 2] == 255).all()


@pytest.mark.parametrize("content", ["{", "[]", '{"shapes": []}'])
def test_a_damaged_annotation_is_named(content: str, tmp_path: Path) -> None:
    labelme(tmp_path)
    Image.new("RGB", (10, 8)).save(tmp_path / "val" / "b.jpg")
    text(tmp_path / "val" / "b.json", content)
    with pytest.raises(DataError, match=r"b\.json: is no"):
        open_source(tmp_path)
