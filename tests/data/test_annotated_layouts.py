"""Polygons and segments of annotation tools become masks, drawn once."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
import sys
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.mask import decode, encode, frPyObjects, merge

from layout_files import check_and_train, masks_of, photo, save, text
from segnet.data.check.findings import Finding
from segnet.data.check.report import check_data, refuse_known_faults
from segnet.data.layouts import annotated, drawing, open_source
from segnet.data.layouts.polygons import Bitmap, draw_shapes, table_of
from segnet.errors import DataError, MissingPackageError
from segnet.media.sources import ImageFile, find_images_below

# pycocotools decodes run lengths in a way of which NumPy 2 warns.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Write = Callable[[Path], None]

UNIT = 4
SIZE = (8 * UNIT, 10 * UNIT)
EXPECTED = np.zeros((8, 10), np.uint8)  # in units: a car in rows 2 to 5, columns 3 to 7; in it a small sign
EXPECTED[2:6, 3:8] = 1
EXPECTED[3:5, 4:6] = 2
EXPECTED = EXPECTED.repeat(UNIT, axis=0).repeat(UNIT, axis=1)
CAR, SIGN = (3, 2, 8, 6), (4, 3, 6, 5)  # left, top, right and bottom edges in units


def square(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """Corners of the pixels from (left, top) to (right, bottom), which are part of it."""
    left, top, right, bottom = (side * UNIT - end for side, end in ((left, 0), (top, 0), (right, 1), (bottom, 1)))
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def png(pixels: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels)).save(file, "PNG")
    return file.getvalue()


def labelme(root: Path) -> None:
    for split in ("train", "val"):
        photo(root / split / "a.jpg", SIZE)
        shapes = [
            {"label": "car", "points": square(*CAR), "shape_type": "polygon"},
            {"label": "lane", "points": [[0, 0], [9, 0], [9, 9]], "shape_type": "linestrip"},
            {"label": "sign", "points": square(*SIGN)[::2], "shape_type": "rectangle"},
        ]
        if split == "val":  # as segmentation models in LabelMe write it
            bitmap = base64.b64encode(png(np.full((2 * UNIT, 2 * UNIT), 255, np.uint8))).decode()
            shapes[-1] |= {"shape_type": "mask", "mask": bitmap}
        page = {
            "imagePath": "a.jpg",
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
            "imageData": None,
            "shapes": shapes,
        }
        text(root / split / "a.json", json.dumps(page))


def supervisely(root: Path) -> None:
    classes = [{"title": "car", "color": "#FF0000", "shape": "polygon"}, {"title": "sign", "color": "#00FF00"}]
    text(root / "meta.json", json.dumps({"classes": classes}))
    for split in ("train", "val"):
        photo(root / split / "img" / "a.jpg", SIZE)
        car = {"geometryType": "polygon", "points": {"exterior": square(*CAR), "interior": []}}
        sign = {"geometryType": "rectangle", "points": {"exterior": square(*SIGN)[::2], "interior": []}}
        if split == "val":
            data = base64.b64encode(zlib.compress(png(np.ones((2 * UNIT, 2 * UNIT), dtype=bool)))).decode()
            sign = {"geometryType": "bitmap", "bitmap": {"origin": square(*SIGN)[0], "data": data}}
        objects = [{"classTitle": "car", **car}, {"classTitle": "sign", **sign}]
        page = {"size": {"height": SIZE[0], "width": SIZE[1]}, "objects": objects}
        text(root / split / "ann" / "a.jpg.json", json.dumps(page))


def flat(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    """COCO's corners lie between the pixels."""
    return [[UNIT * side for side in (left, top, right, top, right, bottom, left, bottom)]]


def coco(root: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(root / split / "000000000009.jpg", SIZE)
        annotations = [
            {"image_id": 9, "category_id": 13, "segmentation": flat(*SIGN), "area": 64, "iscrowd": 0},
            {"image_id": 9, "category_id": 3, "segmentation": flat(*CAR), "area": 320, "iscrowd": 0},
        ]
        table = {
            "images": [{"id": 9, "file_name": "000000000009.jpg", "height": SIZE[0], "width": SIZE[1]}],
            "annotations": annotations,
            "categories": [{"id": 3, "name": "car"}, {"id": 13, "name": "sign"}],
        }
        text(root / "annotations" / f"instances_{split}.json", json.dumps(table))


def panoptic(root: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(root / split / "000000000009.jpg", SIZE)
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


def stuff(root: Path) -> None:
    """The masks of the stuff challenge, whose JSON has run lengths of the same."""
    for split in ("train2017", "val2017"):
        photo(root / "images" / split / "000000000009.jpg", SIZE)
        save(root / "annotations" / f"stuff_{split}_pixelmaps" / "000000000009.png", np.array([92, 118, 183])[EXPECTED])
        names = {92: "banner", 118: "floor", 183: "other"}
        categories = [{"id": key, "name": name} for key, name in names.items()]
        table = {"images": [], "annotations": [], "categories": categories}
        text(root / "annotations" / f"stuff_{split}.json", json.dumps(table))
        text(root / "annotations" / f"instances_{split}.json", "{}")


def coco_stuff(root: Path) -> None:
    for split in ("train2017", "val2017"):
        photo(root / "images" / split / "000000000009.jpg", SIZE)
        save(root / "stuffthingmaps" / split / "000000000009.png", EXPECTED)
    text(root / "labels.txt", "0: unlabeled\n1: person\n2: bicycle\n3: car\n")


def yolo(root: Path) -> None:
    """As Ultralytics' coco8-seg has it; one image has no text."""
    for split in ("train", "val"):
        lines = [
            " ".join([str(number), *(f"{(x + 0.5) / SIZE[1]} {(y + 0.5) / SIZE[0]}" for x, y in square(*box))])
            for number, box in ((5, CAR), (9, SIGN))
        ]
        photo(root / "images" / split / "000000000009.jpg", SIZE)
        text(root / "labels" / split / "000000000009.txt", "\n".join(lines) + "\n")
    photo(root / "images" / "train" / "000000000030.jpg", SIZE)
    text(root / "data.yaml", f"path: {root}\ntrain: images/train\nval: images/val\nnames:\n  5: car\n  9: sign\n")


def yolo_of_roboflow(root: Path) -> None:
    yolo(root)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / split).mkdir(exist_ok=True)
            (root / kind / split).rename(root / split / kind)
    text(
        root / "data.yaml",
        "train: ../train/images\nval: ../val/images\nnc: 10\nnames: [a, b, c, d, e, car, f, g, h, sign]\n",
    )


def ade20k_full(root: Path) -> None:
    numbers = np.array([312, 2978, 3])[EXPECTED]
    colors = np.stack([numbers // 256 * 10, numbers % 256, np.arange(numbers.size).reshape(SIZE) % 7], axis=2)
    for split, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        folder = root / "ADE20K_2021_17_01" / "images" / "ADE" / split / "urban" / "street"
        photo(folder / f"{stem}.jpg", SIZE)
        save(folder / f"{stem}_seg.png", colors)
        save(folder / f"{stem}_parts_1.png", colors)
        save(folder / stem / f"instance_000_{stem}.png", EXPECTED)
        names = [(312, "building, edifice", 0), (2978, "wall", 0), (3, "café", 0), (700, "door", 1)]
        objects = [{"name_ndx": number, "name": name, "parts": {"part_level": level}} for number, name, level in names]
        page = json.dumps({"annotation": {"object": objects}}, ensure_ascii=False)
        (folder / f"{stem}.json").write_bytes(page.encode("latin-1"))


LAYOUTS: dict[Write, tuple[str, tuple[str, ...]]] = {
    labelme: ("labelme", ("background", "car", "sign")),
    supervisely: ("supervisely", ("background", "car", "sign")),
    coco: ("coco", ("background", "car", "sign")),
    panoptic: ("coco", ("road", "car", "sign")),
    stuff: ("coco", ("banner", "floor", "other")),
    coco_stuff: ("coco-stuff", ("person", "bicycle", "car")),
    yolo: ("data.yaml", ("background", "car", "sign")),
    yolo_of_roboflow: ("data.yaml", ("background", "a", "b", "c", "d", "e", "car", "f", "g", "h", "sign")),
    ade20k_full: ("ade20k-full", ("café", "building", "wall")),
}
"""By the function that writes it: the name of the layout, and its classes."""

_PLACES = {ade20k_full: [1, 2, 0], yolo_of_roboflow: [0, 6, 10]}
"""Where the classes of ``EXPECTED`` stand among those of the layout, if it is elsewhere than first."""


@pytest.mark.parametrize("write", LAYOUTS)
def test_annotations_become_masks_once(write: Write, tmp_path: Path, own_cache: Path) -> None:
    write(tmp_path)
    name, classes = LAYOUTS[write]
    source = open_source(tmp_path)
    assert source.labels.names == classes
    for split in ("train", "val"):
        np.testing.assert_array_equal(masks_of(source, split), np.array(_PLACES.get(write, [0, 1, 2]))[EXPECTED])
    files = {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.*")}
    assert open_source(tmp_path, layout=name).splits == source.splits
    assert {path: path.stat().st_mtime_ns for path in own_cache.rglob("*.*")} == files
    check_and_train(tmp_path, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("file", "image", "name"),
    [
        ("annotations/instances_default.json", "images/default/a.jpg", "a.jpg"),
        ("result.json", "images/a.jpg", "images\\a.jpg"),
        ("labels.json", "data/a.jpg", "a.jpg"),
        ("_annotations.coco.json", "a.jpg", "a.jpg"),
    ],
    ids=["CVAT", "Label Studio", "FiftyOne", "Roboflow"],
)
def test_one_json_of_coco_for_all_images_is_read(file: str, image: str, name: str, tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    table = json.loads((tmp_path / "coco/annotations/instances_train2017.json").read_text())
    table["images"][0]["file_name"] = name
    photo(tmp_path / "export" / image, SIZE)
    text(tmp_path / "export" / file, json.dumps(table))
    source = open_source(tmp_path / "export")
    assert source.layout == "COCO"
    assert source.labels.names == ("background", "car", "sign")
    np.testing.assert_array_equal(masks_of(source, "train"), EXPECTED)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("write", [labelme, supervisely, coco, yolo])
def test_annotations_may_be_saved_by_programs_of_windows(write: Write, encoding: str, tmp_path: Path) -> None:
    write(tmp_path)
    for path in [*tmp_path.rglob("*.json"), *tmp_path.rglob("*.txt"), *tmp_path.rglob("*.yaml")]:
        path.write_text(path.read_text(encoding="utf-8"), encoding=encoding)
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), EXPECTED)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("write", [labelme, supervisely, coco, yolo])
def test_annotations_may_spell_letters_with_marks_otherwise_than_their_images(
    write: Write, forms: tuple[str, str], tmp_path: Path
) -> None:
    """As macOS stores them, in another spelling than most programs write."""
    write(tmp_path)
    here, there = (unicodedata.normalize(form, "é") for form in forms)
    for path in [path for path in tmp_path.rglob("*") if path.stem in {"a", "a.jpg", "000000000009"}]:
        name = there if path.suffix == ".jpg" else here
        path.rename(path.with_name(re.sub(r"^(a|0+9)", name, path.name)))
    for path in tmp_path.rglob("*.json"):
        text(path, path.read_text().replace('"a.jpg"', f'"{here}.jpg"').replace("000000000009.jpg", f"{here}.jpg"))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path), "val"), EXPECTED)


@pytest.mark.parametrize("kind", ["rectangle", "rotation"])
def test_rectangles_of_x_anylabeling_have_four_corners(kind: str, tmp_path: Path) -> None:
    labelme(tmp_path)
    page = json.loads((tmp_path / "train/a.json").read_text())
    page["shapes"][2] |= {"shape_type": kind, "points": square(*SIGN)}
    text(tmp_path / "train/a.json", json.dumps(page))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), EXPECTED)


@pytest.mark.parametrize("write", [labelme, ade20k_full])
def test_annotations_are_found_in_linked_folders(write: Write, tmp_path: Path) -> None:
    write(tmp_path / "a")
    expected = open_source(tmp_path / "a").splits
    (image,) = (sample.image for sample in expected["train"])
    linked = image.parent / "linked"
    linked.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in [path for path in image.parent.iterdir() if path.is_file()]:
        path.rename(elsewhere / path.name)
    (linked / "day").symlink_to(elsewhere, target_is_directory=True)
    assert [len(open_source(tmp_path / "a").splits[split]) for split in expected] == [1] * len(expected)


def test_a_damaged_table_of_supervisely_is_named_once(tmp_path: Path) -> None:
    supervisely(tmp_path)
    text(tmp_path / "meta.json", "{")
    with pytest.raises(
        DataError, match=rf"^{tmp_path}/meta\.json: is no JSON that can be read [^\n{{]*; export it again$"
    ):
        open_source(tmp_path)


def test_a_hidden_file_beside_one_json_of_coco_is_left_out(tmp_path: Path) -> None:
    coco(tmp_path)
    (tmp_path / "annotations/instances_train2017.json").rename(tmp_path / "result.json")
    (tmp_path / "annotations/instances_val2017.json").rename(tmp_path / "._result.json")
    (tmp_path / "train2017").rename(tmp_path / "images")
    assert [sample.image.parent.name for sample in open_source(tmp_path).splits["train"]] == ["images"]


def test_masks_are_read_rather_than_a_json_of_coco_beside_them(tmp_path: Path) -> None:
    coco(tmp_path / "coco")
    photo(tmp_path / "export/images/a.jpg", SIZE)
    save(tmp_path / "export/masks/a.png", EXPECTED)
    text(tmp_path / "export/classes.txt", "road\ncar\nsign\n")
    (tmp_path / "coco/annotations/instances_val2017.json").rename(tmp_path / "export/result.json")
    assert open_source(tmp_path / "export").labels.names == ("road", "car", "sign")


def test_masks_of_yolo_are_drawn_again_if_the_numbers_of_the_classes_are_corrected(tmp_path: Path) -> None:
    yolo(tmp_path)
    for path in tmp_path.rglob("*9.txt"):
        text(path, path.read_text().replace("\n9 ", "\n5 "))
    for names, expected in (("4: car\n  5: sign", 2), ("5: car\n  6: sign", 1)):
        text(tmp_path / "data.yaml", f"path: {tmp_path}\ntrain: images/train\nval: images/val\nnames:\n  {names}\n")
        np.testing.assert_array_equal(masks_of(open_source(tmp_path)), expected * (EXPECTED > 0))


def test_masks_of_panoptic_are_drawn_again_if_a_png_is_painted_anew(tmp_path: Path) -> None:
    panoptic(tmp_path)
    path = tmp_path / "annotations/panoptic_train2017/000000000009.png"
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), EXPECTED)
    with Image.open(path) as image:
        save(path, np.array(image)[:, ::-1])
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), EXPECTED[:, ::-1])


def test_masks_of_ade20k_are_drawn_again_if_a_class_gets_another_number(tmp_path: Path) -> None:
    ade20k_full(tmp_path)
    assert masks_of(open_source(tmp_path)).max() == 2
    for path in tmp_path.rglob("ADE_*.json"):
        path.write_bytes(path.read_bytes().replace(b'"name_ndx": 2978', b'"name_ndx": 2979'))
    source = open_source(tmp_path)
    assert source.labels.names == ("café", "building", "wall")
    assert (masks_of(source)[EXPECTED == 1] == 255).all()


def test_older_annotations_of_supervisely_are_paired_in_one_search_of_their_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisely(tmp_path)
    for path in tmp_path.glob("*/ann/*.json"):
        text(path.with_name("a.json"), path.read_text())
        path.rename(path.with_name("b.json"))
        photo(path.parents[1] / "img" / "b.jpg", SIZE)
    searched: list[Path] = []

    def find(folder: Path) -> list[ImageFile]:
        searched.append(folder)
        return find_images_below(folder)

    monkeypatch.setattr(annotated, "find_images_below", find)
    splits = open_source(tmp_path).splits
    assert {one.image for samples in splits.values() for one in samples} == {*tmp_path.glob("*/img/*")}
    assert len(searched) == len(set(searched)) == 2


@pytest.mark.parametrize("write", [labelme, supervisely, coco])
def test_an_annotation_without_its_image_is_refused(write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    next(tmp_path.rglob("*.jpg")).unlink()
    with pytest.raises(DataError, match="is missing; put it there, or remove the annotation"):
        open_source(tmp_path)


def test_shapes_of_labelme_to_ignore_are_ignored(tmp_path: Path) -> None:
    labelme(tmp_path / "a")
    page = json.loads((tmp_path / "a/train/a.json").read_text())
    page["shapes"][2]["label"] = "__ignore__"
    text(tmp_path / "a/train/a.json", json.dumps(page))
    assert (masks_of(open_source(tmp_path / "a"))[EXPECTED == 2] == 255).all()


def test_crowds_of_coco_have_their_class_as_cvat_marks_all_that_is_painted(tmp_path: Path) -> None:
    coco(tmp_path)
    path = tmp_path / "annotations/instances_train2017.json"
    expected = masks_of(open_source(tmp_path))
    path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), expected)


def faults(root: Path) -> dict[str, int]:
    report = check_data(root)
    assert report.failed
    return {finding.kind: finding.count for finding in report.findings if finding.severity == "error"}


@pytest.mark.parametrize("write", [labelme, supervisely, coco, ade20k_full])
def test_hidden_files_beside_annotations_are_left_out(write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    expected = masks_of(open_source(tmp_path))
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")  # as macOS writes it on foreign disks
        copied = path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}"
        copied.parent.mkdir(exist_ok=True)
        copied.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), expected)


_ADE20K = "ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00000001.json"
DAMAGED: list[tuple[Write, str, str]] = [
    (labelme, "train/b.json", "{"),
    (labelme, "train/b.json", '{"shapes": []}'),
    (
        labelme,
        "train/b.json",
        '{"shapes": [{"label": "car"}], "imagePath": "a.jpg", "imageHeight": 8, "imageWidth": 9}',
    ),
    (supervisely, "train/ann/b.jpg.json", "[]"),
    (supervisely, "train/ann/b.jpg.json", '{"size": {"height": 1, "width": 2}, "objects": [{"classTitle": "car"}]}'),
    (yolo, "labels/train/000000000030.txt", "5 0.1 0.2 0.3 0.4"),
    (yolo, "labels/train/000000000030.txt", "7 0.1 0.1 0.2 0.2 0.3 0.1"),
    (yolo, "labels/train/000000000030.txt", "5 0.1 0.1 0.2 0.2 1.3 0.1"),
    (yolo, "labels/train/000000000030.txt", "car 0.1"),
    (ade20k_full, _ADE20K, "{"),
    *((ade20k_full, _ADE20K, json.dumps({"annotation": {"object": [
        {"name_ndx": number, "name": "wall", "parts": {"part_level": 0}}]}})) for number in (-5, 5_000_000_000)),
]  # fmt: skip


@pytest.mark.parametrize(("write", "file", "content"), DAMAGED)
def test_a_damaged_annotation_is_named_and_does_not_hide_other_faults(
    write: Write, file: str, content: str, tmp_path: Path
) -> None:
    write(tmp_path)
    text(tmp_path / file, content)
    with pytest.raises(DataError, match=re.escape(Path(file).name)):
        open_source(tmp_path)
    assert faults(tmp_path) == {"annotation": 1}
    if write is not ade20k_full:
        next(tmp_path.rglob("val/**/*.jpg")).write_bytes(b"")
        assert faults(tmp_path).get("unreadable") == 1 or write is yolo


def change_json(path: Path, change: Callable[[Any], object]) -> None:
    table = json.loads(path.read_text())
    change(table)
    text(path, json.dumps(table))


def _annotation(**changes: object) -> Callable[[Any], object]:
    return lambda table: table["annotations"][0].update({"id": 71, **changes})


def _image(**changes: object) -> Callable[[Any], object]:
    return lambda table: table["images"].append(table["images"][0] | changes)


def _shape(**changes: object) -> Callable[[Any], object]:
    return lambda page: page["shapes"][0].update(changes)


def _object(**changes: object) -> Callable[[Any], object]:
    return lambda page: page["objects"][0].update(changes)


NOT_DRAWN: list[tuple[Write, str, Callable[[Any], object], str]] = [
    (coco, "annotations/instances_train2017.json", _annotation(segmentation=[]),
     "instances_train2017.json: annotation 71 of 000000000009.jpg has no segmentation, as a box; expected polygons"),
    (coco, "annotations/instances_train2017.json", _annotation(segmentation=None), "has no segmentation"),
    (coco, "annotations/instances_train2017.json", lambda table: table["annotations"][0].pop("segmentation"),
     "has no segmentation"),
    (coco, "annotations/instances_train2017.json", _annotation(image_id=8), "annotation 71 has the image_id 8, which"),
    (coco, "annotations/instances_train2017.json", _annotation(image_id="9"), "annotation 71 has the image_id '9'"),
    (coco, "annotations/instances_train2017.json", _image(), "instances_train2017.json: images lists the id 9 twice"),
    (coco, "annotations/instances_train2017.json", _image(id=8), "images lists the file 000000000009.jpg twice"),
    (coco, "annotations/instances_train2017.json",
     _annotation(segmentation={"size": list(SIZE), "counts": "`" * 50_000}), "number of more than 60 bits"),
    (panoptic, "annotations/panoptic_train2017.json", _annotation(image_id=8), "has the image_id 8, which"),
    (panoptic, "annotations/panoptic_train2017.json",
     _annotation(segments_info=[{"id": "5", "category_id": 1}]), "a segment has the id '5', which is no number"),
    (panoptic, "annotations/panoptic_train2017.json", _image(), "images lists the id 9 twice"),
    (labelme, "train/a.json", _shape(shape_type="cuboid"), "a.json, shape 1: is a cuboid; expected one of"),
    (labelme, "train/a.json", _shape(points=[]), "a.json, shape 1: is a polygon with 0 points; expected 3 or more"),
    (labelme, "train/a.json", _shape(points=[], shape_type="mask"), "is a mask with 0 points; expected 1 or more"),
    (supervisely, "train/ann/a.jpg.json", _object(geometryType="cuboid"), "a.jpg.json, object 1: is a cuboid"),
    (supervisely, "train/ann/a.jpg.json", _object(points={"exterior": []}), "is a polygon with 0 points"),
    (supervisely, "train/ann/a.jpg.json", _object(classTitle="bus"), "object 1: 'bus' is no class; expected one of"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "file", "change", "message"), NOT_DRAWN)
def test_an_annotation_that_is_not_drawn_is_an_error(
    write: Write, file: str, change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path)
    change_json(tmp_path / file, change)
    with pytest.raises(DataError, match=re.escape(message)):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 1


def test_without_pycocotools_the_extra_for_polygons_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coco(tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(MissingPackageError, match=r"^pycocotools is not installed; run: pip install 'segnet\[coco\]'"):
        open_source(tmp_path)


def test_images_of_coco_without_annotations_and_lines_of_labelme_without_points_are_no_fault(tmp_path: Path) -> None:
    coco(tmp_path / "a")
    change_json(tmp_path / "a/annotations/instances_train2017.json", lambda table: table["annotations"].clear())
    assert not masks_of(open_source(tmp_path / "a")).any()
    labelme(tmp_path / "b")
    change_json(tmp_path / "b/train/a.json", lambda page: page["shapes"][1].update(points=[]))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path / "b")), EXPECTED)


FAR = "has a corner at x {}, y 0; expected corners in or near the image of 40x32 pixels; correct it, or export it again"


@pytest.mark.parametrize("far", [float("nan"), float("inf"), -1e300, 81])
@pytest.mark.parametrize(
    ("write", "file", "change", "place"),
    [
        (coco, "annotations/instances_train2017.json", lambda far: _annotation(segmentation=[[0, 0, far, 0, 5, 5]]),
         "instances_train2017.json: annotation 71 of 000000000009.jpg"),
        (labelme, "train/a.json", lambda far: _shape(points=[[0, 0], [far, 0], [5, 5]]), "a.json, shape 1"),
        (labelme, "train/a.json", lambda far: _shape(points=[[far, 0]], shape_type="mask"), "a.json, shape 1"),
        (supervisely, "train/ann/a.jpg.json", lambda far: _object(points={"exterior": [[0, 0], [far, 0], [5, 5]]}),
         "a.jpg.json, object 1"),
        (supervisely, "train/ann/a.jpg.json", lambda far: _object(bitmap={"origin": [far, 0], "data": ""}),
         "a.jpg.json, object 1"),
    ],
)  # fmt: skip
def test_corners_far_from_the_image_are_refused(
    write: Write, file: str, change: Callable[[float], Callable[[Any], object]], place: str, far: float, tmp_path: Path
) -> None:
    write(tmp_path)
    change_json(tmp_path / file, change(far))
    with pytest.raises(DataError, match=re.escape(f"{place}: {FAR.format(f'{far:g}')}")):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 1


@pytest.mark.parametrize("write", [coco, labelme, supervisely])
def test_corners_a_little_outside_of_the_image_are_drawn(write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    corners = [[-3.5, -2], [46, -2], [46, 33.5], [-3.5, 33.5]]
    flat_corners = [float(side) for corner in corners for side in corner]
    file, change = {
        coco: ("annotations/instances_train2017.json", _annotation(segmentation=[flat_corners])),
        labelme: ("train/a.json", _shape(points=corners)),
        supervisely: ("train/ann/a.jpg.json", _object(points={"exterior": corners})),
    }[write]
    change_json(tmp_path / file, change)
    assert masks_of(open_source(tmp_path)).all()


@pytest.mark.parametrize("counts", [[0, 100], "PPPP09999"])
def test_run_lengths_of_coco_of_another_size_are_refused(counts: object, tmp_path: Path) -> None:
    coco(tmp_path)
    segmentation = {"counts": counts, "size": [10**6, 10**6]}
    change_json(tmp_path / "annotations/instances_train2017.json", _annotation(segmentation=segmentation))
    message = (
        r"annotation 71 of 000000000009.jpg: has run lengths of the size \[1000000, 1000000\]; expected \[32, 40\]"
    )
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize("counts", ["", "0123", [200, 32, -8, 1056]])
def test_run_lengths_of_coco_that_are_none_of_the_image_are_refused(counts: object, tmp_path: Path) -> None:
    coco(tmp_path)
    segmentation = {"counts": counts, "size": list(SIZE)}
    change_json(tmp_path / "annotations/instances_train2017.json", _annotation(segmentation=segmentation))
    with pytest.raises(DataError, match=r"annotation 71 .* has run lengths of -?\d+ pixels; expected 1280"):
        open_source(tmp_path)


@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_of_coco_are_read_as_pycocotools_packs_them(seed: int, tmp_path: Path) -> None:
    coco(tmp_path)
    pixels = np.random.default_rng(seed).random(SIZE) < (0.5, 0.01, 0.999, 0)[seed]
    packed = encode(np.asfortranarray(pixels, dtype=np.uint8))
    packed["counts"] = packed["counts"].decode()
    table = {"annotations": [{"image_id": 9, "category_id": 3, "segmentation": packed}]}
    change_json(tmp_path / "annotations/instances_train2017.json", lambda page: page.update(table))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), pixels)


@pytest.mark.parametrize("seed", range(4))
def test_polygons_of_coco_have_the_pixels_that_pycocotools_gives_them(seed: int, tmp_path: Path) -> None:
    coco(tmp_path)
    rng = np.random.default_rng(seed)
    polygons = [(rng.uniform(-20, 50, 2) + rng.uniform(-15, 15, (3 + seed, 2))).ravel().tolist() for _ in range(3)]
    table = {"annotations": [{"image_id": 9, "category_id": 3, "segmentation": polygons}]}
    change_json(tmp_path / "annotations/instances_train2017.json", lambda page: page.update(table))
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), decode(merge(frPyObjects(polygons, *SIZE))))


@pytest.mark.parametrize("place", [0, 1])
def test_a_polygon_of_coco_with_two_corners_covers_nothing_beside_others(place: int, tmp_path: Path) -> None:
    coco(tmp_path)
    polygons = flat(*CAR)
    polygons.insert(place, [0, 0, 8, 8])
    change_json(tmp_path / "annotations/instances_train2017.json", lambda page: page["annotations"][1].update(
        segmentation=polygons))  # fmt: skip
    np.testing.assert_array_equal(masks_of(open_source(tmp_path)), EXPECTED)
    change_json(tmp_path / "annotations/instances_train2017.json", _annotation(segmentation=[[0, 0, 8, 8]]))
    with pytest.raises(DataError, match=r"annotation 71 .* has no polygon of three corners or more; draw it anew"):
        open_source(tmp_path)


def test_a_number_that_is_too_large_for_a_float_is_a_fault(tmp_path: Path) -> None:
    labelme(tmp_path)
    change_json(tmp_path / "train/a.json", _shape(points=[[10**400, 0], [1, 1], [2, 2]]))
    assert faults(tmp_path)["annotation"] == 1


@pytest.mark.parametrize("content", ["", "[[1]]", "5"])
def test_a_damaged_cache_of_the_classes_of_ade20k_is_read_anew(content: str, tmp_path: Path, own_cache: Path) -> None:
    ade20k_full(tmp_path)
    expected = open_source(tmp_path).labels
    text(next(own_cache.glob("class-tables/*.json")), content)
    assert open_source(tmp_path).labels == expected


def test_tables_of_coco_are_checked_too(tmp_path: Path) -> None:
    coco(tmp_path)
    text(tmp_path / "annotations/instances_val2017.json", '{"images": []}')
    assert faults(tmp_path) == {"annotation": 1, "missing_split": 1}


@pytest.mark.parametrize("write", [coco, panoptic])
@pytest.mark.parametrize("key", ["images", "annotations"])
def test_entries_of_coco_without_their_keys_are_a_fault(write: Write, key: str, tmp_path: Path) -> None:
    write(tmp_path)
    path = next(tmp_path.glob("annotations/*_val2017.json"))
    text(path, json.dumps({**json.loads(path.read_text()), key: [{}]}))
    with pytest.raises(DataError, match=f"{path.name}: is an annotation of another form"):
        open_source(tmp_path)
    assert faults(tmp_path) == {"annotation": 1, "missing_split": 1}


@pytest.mark.parametrize("write", [coco, panoptic])
def test_files_of_coco_may_number_the_categories_differently(write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    path = next(tmp_path.glob("annotations/*_val2017.json"))
    swapped = re.sub(
        r'("(?:category_)?id": )(3|13)\b', lambda found: found[1] + {"3": "13", "13": "3"}[found[2]], path.read_text()
    )
    text(path, swapped)
    source = open_source(tmp_path)
    for split in ("train", "val"):
        names = np.array(source.labels.names)[masks_of(source, split)]
        assert (names[EXPECTED == 1] == "car").all()
        assert (names[EXPECTED == 2] == "sign").all()


def test_masks_of_stuff_need_the_same_numbers_in_all_splits(tmp_path: Path) -> None:
    stuff(tmp_path)
    path = tmp_path / "annotations" / "stuff_val2017.json"
    text(path, path.read_text().replace("floor", "banner floor"))
    with pytest.raises(DataError, match=r"stuff_val2017.json: category 118 is banner floor, and floor in another"):
        open_source(tmp_path)


def png_header(side: int) -> bytes:
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    "data",
    [
        "%%",
        *(base64.b64encode(content).decode() for content in (b"no", zlib.compress(b"no"), zlib.compress(b"no")[:-1])),
        base64.b64encode(zlib.compress(png_header(50_000))).decode(),
    ],
)
def test_a_damaged_bitmap_is_a_fault(data: str, tmp_path: Path) -> None:
    supervisely(tmp_path)
    path = tmp_path / "val" / "ann" / "a.jpg.json"
    page = json.loads(path.read_text())
    page["objects"][1]["bitmap"]["data"] = data
    text(path, json.dumps(page))
    assert faults(tmp_path) == {"annotation": 1, "missing_split": 1}


def test_a_bitmap_is_inflated_to_so_many_bytes_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisely(tmp_path)
    monkeypatch.setattr(annotated, "_MOST_BYTES", 20)
    with pytest.raises(DataError, match=r"a\.jpg\.json.*a bitmap is cut off, or has more than 20 bytes"):
        open_source(tmp_path)


LONG = "x" * 300


@pytest.mark.parametrize(
    ("write", "file", "change"),
    [
        (coco, "annotations/instances_train2017.json", lambda table: table["images"][0].update(file_name=LONG)),
        (labelme, "train/a.json", lambda page: page.update(imagePath=LONG)),
    ],
)
def test_a_name_that_no_image_can_have_is_a_fault(
    write: Write, file: str, change: Callable[[Any], object], tmp_path: Path
) -> None:
    write(tmp_path)
    change_json(tmp_path / file, change)
    with pytest.raises(DataError, match=r"\.json: the path of its image, '.*', is \d+ characters long, more than"):
        open_source(tmp_path)
    assert faults(tmp_path)["mask_without_image"] == 1


def test_a_class_that_cannot_be_one_is_said_with_its_data_set(tmp_path: Path) -> None:
    coco(tmp_path)
    change_json(
        tmp_path / "annotations/instances_train2017.json", lambda table: table["categories"][0].update(name="a\0")
    )
    with pytest.raises(DataError, match=rf"{re.escape(str(tmp_path))}: class name 'a\\x00' holds a line break"):
        open_source(tmp_path)


def test_a_path_that_the_system_refuses_is_said_with_its_data_set(tmp_path: Path) -> None:
    yolo(tmp_path)
    text(tmp_path / "train.txt", LONG)
    text(tmp_path / "data.yaml", "train: train.txt\nval: images/val\nnames:\n  5: car\n  9: sign\n")
    with pytest.raises(
        DataError, match=rf"{re.escape(str(tmp_path))}.*: cannot be read \(.*File name too long; choose"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("write", "file"),
    [
        (panoptic, "annotations/panoptic_val2017/000000000009.png"),
        (ade20k_full, "ADE20K_2021_17_01/images/ADE/validation/urban/street/ADE_val_00000001_seg.png"),
    ],
)
@pytest.mark.parametrize("damage", [lambda data: b"no image", lambda data: data[:-30], lambda data: data[:40]])
def test_a_damaged_mask_of_colors_is_a_fault(
    write: Write, file: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    write(tmp_path)
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    assert faults(tmp_path) == {"annotation": 1, "missing_split": 1}


@pytest.mark.parametrize(
    "segmentation",
    [[[1, 2]], [["a", "b"]], "text", {"counts": "ab", "size": [-8, 8]}, {"counts": [0, 100], "size": [32, 40]}],
)
def test_an_object_of_coco_that_is_no_area_is_a_fault(segmentation: object, tmp_path: Path) -> None:
    coco(tmp_path)
    path = tmp_path / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    table["annotations"][0]["segmentation"] = segmentation
    text(path, json.dumps(table))
    assert faults(tmp_path) == {"annotation": 1, "missing_split": 1}


def findings(root: Path) -> dict[str, Finding]:
    return {finding.kind: finding for finding in check_data(root).findings}


@pytest.mark.parametrize(
    ("write", "file", "image", "keys"),
    [
        (coco, "annotations/instances_val2017.json", "val2017/000000000009.jpg", ("images", 0, "height")),
        (labelme, "val/a.json", "val/a.jpg", ("imageHeight",)),
        (supervisely, "val/ann/a.jpg.json", "val/img/a.jpg", ("size", "height")),
    ],
)
def test_a_wrong_size_names_the_annotation_and_its_image(
    write: Write, file: str, image: str, keys: tuple[str | int, ...], tmp_path: Path, own_cache: Path
) -> None:
    write(tmp_path)
    page = table = json.loads((tmp_path / file).read_text())
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = 20
    text(tmp_path / file, json.dumps(page))
    finding = findings(tmp_path)["size_mismatch"]
    assert [mark.path for mark in finding.marks] == [f"{tmp_path / file} (image {tmp_path / image})"]
    assert "40x20, its image 40x32" in finding.marks[0].text
    assert finding.remedy.startswith("correct height and width in the annotations")
    source = open_source(tmp_path)
    with pytest.raises(DataError, match=re.escape(finding.marks[0].path)) as refused:
        refuse_known_faults(source, check="segnet check it")
    assert str(own_cache) not in str(refused.value)
    with pytest.raises(DataError, match=re.escape(finding.marks[0].path)) as refused:
        source.dataset("val").read(0)
    assert str(own_cache) not in str(refused.value)


@pytest.mark.parametrize(("write", "kind"), [(coco, "annotation"), (panoptic, "segment")])
def test_a_category_that_does_not_exist_is_said_in_words(write: Write, kind: str, tmp_path: Path) -> None:
    write(tmp_path)
    path = next(tmp_path.glob("annotations/*_val2017.json"))
    text(path, path.read_text().replace('"category_id": 13', '"id": 5, "category_id": 99', 1))
    assert findings(tmp_path)["annotation"].marks[0].path == (
        f"{path} (image {tmp_path / 'val2017/000000000009.jpg'}): is an annotation of another form than expected "
        f"({kind} 5 has category_id 99, which is not in categories); correct it, or export it again"
    )


@pytest.mark.parametrize(("key", "value"), [("category_id", None), ("area", [1])])
def test_objects_of_another_form_are_named_without_words_of_python(key: str, value: object, tmp_path: Path) -> None:
    coco(tmp_path)
    path = tmp_path / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    table["annotations"][0].pop(key)
    if value is not None:
        table["annotations"][0][key] = value
    text(path, json.dumps(table))
    found = findings(tmp_path)["annotation"].marks[0].path
    assert f"'{key}' is missing" in found if value is None else "of another kind or length" in found
    assert "Error" not in found


def test_a_bitmap_may_reach_out_of_its_image_and_be_transparent(tmp_path: Path) -> None:
    area = np.zeros((6, 6, 4), np.uint8)
    area[1:, 1:, 3] = 255
    mask = draw_shapes((8, 9), [Bitmap("car", (-2, 4), png(area))], table_of(["car"]))
    assert mask.tolist() == [[0] * 9] * 5 + [[1] * 4 + [0] * 5] * 3


@pytest.mark.parametrize("write", [coco, yolo, supervisely])
def test_images_of_one_name_are_named_by_their_folders(write: Write, tmp_path: Path) -> None:
    write(tmp_path)
    if write is supervisely:
        for split in ("train", "val"):
            (tmp_path / split).rename(tmp_path / f"film_{split}")
        expected = ["film_train/img/a", "film_val/img/a"]
    elif write is yolo:
        text(
            tmp_path / "data.yaml", f"path: {tmp_path}\ntrain: [images/train, images/val]\nnames: {{5: car, 9: sign}}\n"
        )
        expected = ["train/000000000009", "train/000000000030", "val/000000000009"]
    else:
        path = tmp_path / "annotations/instances_train2017.json"
        table = json.loads(path.read_text())
        table["images"][0]["file_name"] = "day/9.jpg"
        table["images"].append({**table["images"][0], "id": 8, "file_name": "night/9.jpg"})
        text(path, json.dumps(table))
        for folder in ("day", "night"):
            photo(tmp_path / "train2017" / folder / "9.jpg", SIZE)
        expected = ["day/9", "night/9"]
    names = [sample.name for samples in open_source(tmp_path).splits.values() for sample in samples]
    assert set(expected) <= set(names)


def test_polygons_are_found_from_their_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    yolo(tmp_path)
    text(tmp_path / "data.yaml", "train: images/train\nval: images/val\nnames:\n  5: car\n  9: sign\n")
    monkeypatch.chdir(tmp_path)
    for location in (".", "data.yaml"):
        np.testing.assert_array_equal(masks_of(open_source(location), "val"), EXPECTED)


def test_a_list_of_images_with_polygons_may_not_name_a_missing_one(tmp_path: Path) -> None:
    yolo(tmp_path)
    text(tmp_path / "train.txt", "images/train/000000000009.jpg\nimages/train/gone.jpg\n")
    text(tmp_path / "data.yaml", "train: train.txt\nval: images/val\nnames:\n  5: car\n  9: sign\n")
    with pytest.raises(DataError, match=r"a list names .*gone.jpg, which is not there; correct the list"):
        open_source(tmp_path)
    assert faults(tmp_path) == {"listing": 1}


@pytest.mark.parametrize("content", [None, "1: a" + " " * 100_000 + "b\n2", f"{'9' * 5000}: a"])
def test_a_table_of_coco_stuff_must_be_there_and_whole(content: str | None, tmp_path: Path) -> None:
    coco_stuff(tmp_path)
    (tmp_path / "labels.txt").unlink()
    if content is not None:
        text(tmp_path / "labels.txt", content)
    with pytest.raises(DataError, match=r"labels\.txt: is missing"):
        open_source(tmp_path)


def test_masks_are_drawn_with_a_progress_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    @contextmanager
    def noted(text: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
        assert text == "drawing masks"
        yield lambda done, of: calls.append((done, of))

    monkeypatch.setattr(drawing, "progress_bar", noted)
    labelme(tmp_path)
    open_source(tmp_path)
    assert calls == [(1, 2), (2, 2)]
    open_source(tmp_path)
    assert calls == [(1, 2), (2, 2)]
