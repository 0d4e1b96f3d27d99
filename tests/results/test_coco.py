from __future__ import annotations

import json
import resource
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as tools
from pycocotools.coco import COCO
from scipy import ndimage

from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ConfigError, DataError, MissingPackageError, OutputError
from segnet.inference.prediction import Prediction, SegmentedFrame
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.results import coco
from segnet.results.coco import CocoFile, Form, polygons

LABELS = ClassTable.from_names(["sky", "road", "tree"])
# pycocotools' decoder, built for an earlier NumPy
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
FORMS: tuple[Form, ...] = ("rle", "polygons")


def labeled(mask: np.ndarray, **about: Any) -> SegmentedFrame:
    return SegmentedFrame(np.zeros((*mask.shape, 3), dtype=np.uint8), Prediction(mask), **about)


def entry(mask: np.ndarray, name: str = "a") -> SegmentedFrame:
    return labeled(mask, source=f"in/{name}.jpg", name=name)


def write(path: Path, masks: list[np.ndarray], *, error: type[BaseException] | None = None) -> None:
    with CocoFile(path, LABELS) as file:
        for mask in masks:
            file.add(entry(mask))
        if error is not None:
            raise error


def random_mask(seed: int, classes: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, classes, (7, 11), dtype=np.uint8)


def filled(shapes: list[list[int]], size: tuple[int, int]) -> np.ndarray:
    """What pycocotools makes of polygons."""
    if not shapes:
        return np.zeros(size, dtype=bool)
    mask: np.ndarray = tools.decode(tools.merge(tools.frPyObjects(shapes, *size))).astype(bool)
    return mask


regions = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(regions)
@settings(deadline=None)
def test_polygons_give_back_every_region_exactly(region: np.ndarray) -> None:
    found = polygons(region)
    np.testing.assert_array_equal(filled(found, region.shape), region)
    assert len(found) == ndimage.label(region)[1]  # four neighbors


def test_a_square_has_four_corners() -> None:
    region = np.zeros((5, 6), dtype=bool)
    region[1:3, 2:5] = True
    (square,) = polygons(region)
    corners = np.reshape(square, (-1, 2)).tolist()
    assert sorted(corners) == [[2, 1], [2, 3], [5, 1], [5, 3]]


def test_holes_stay_holes() -> None:
    region = np.ones((9, 9), dtype=bool)
    region[1:3, 1:3] = region[4:7, 5:8] = region[7, 1] = False
    region[5, 6] = True  # an island in a hole
    found = polygons(region)
    assert len(found) == 2
    np.testing.assert_array_equal(filled(found, region.shape), region)


@pytest.mark.parametrize("size", [(72, 96), (180, 240)])
def test_a_scene_comes_back_whole(size: tuple[int, int]) -> None:
    mask = render_scene(3, size=size)[1]
    for value in np.unique(mask[mask != IGNORE_INDEX]):
        region = mask == value
        np.testing.assert_array_equal(filled(polygons(region), region.shape), region)


def test_a_large_image_is_cut_into_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    region = np.random.default_rng(0).random((40, 30)) < 0.6
    monkeypatch.setattr(coco, "_STRIP", 100)
    np.testing.assert_array_equal(filled(polygons(region), region.shape), region)
    assert max(max(shape[1::2]) - min(shape[1::2]) for shape in polygons(region)) <= 100 // 30


@pytest.mark.parametrize("form", FORMS)
def test_pycocotools_reads_the_masks_out_of_the_file(form: Form, tmp_path: Path) -> None:
    path = tmp_path / "new" / "coco.json"
    masks = [random_mask(0), random_mask(1, classes=2)]
    masks[0][0, :3] = IGNORE_INDEX
    with CocoFile(path, LABELS, form=form) as file:
        for number, mask in enumerate(masks):
            file.add(entry(mask, f"{number}"))
    found = COCO(str(path))
    assert [image["file_name"] for image in found.loadImgs([1, 2])] == ["0.jpg", "1.jpg"]
    for number, mask in enumerate(masks, start=1):
        annotations = found.loadAnns(found.getAnnIds(imgIds=number))
        assert [one["category_id"] for one in annotations] == [1, 2, 3][: int(mask[mask != IGNORE_INDEX].max()) + 1]
        for one in annotations:
            region = mask == one["category_id"] - 1
            np.testing.assert_array_equal(found.annToMask(one), region)
            rows, columns = np.nonzero(region)
            box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (one["area"], one["bbox"], one["iscrowd"]) == (region.sum(), box, 0)
    assert [(one["id"], one["name"], one["color"]) for one in found.loadCats([1, 2, 3])] == [
        (number, name, list(color)) for number, name, color in zip((1, 2, 3), LABELS.names, LABELS.colors, strict=True)
    ]
    assert sorted(found.anns) == list(range(1, 6))  # 0 is no number for pycocotools' scores


@pytest.mark.parametrize(("values", "categories"), [([1, 7], [1, 7]), ([0, 7], [1, 8])])
def test_categories_have_the_values_of_mask_files(values: list[int], categories: list[int], tmp_path: Path) -> None:
    with CocoFile(tmp_path / "coco.json", ClassTable.from_names(["sky", "road"], values)) as file:
        file.add(entry(np.array([[0, 1]], np.uint8)))
    found = json.loads((tmp_path / "coco.json").read_text())
    assert [one["id"] for one in found["categories"]] == categories
    assert [one["category_id"] for one in found["annotations"]] == categories


def test_a_frame_is_an_image_with_its_number_and_time(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    with CocoFile(path, LABELS) as file:
        file.add(labeled(random_mask(0), source="b/drive.mp4", name="drive/000012", number=12, time=Fraction(1, 2)))
        file.add(labeled(random_mask(0), source="in/b/a.png", name="b/a"))
        file.add(labeled(random_mask(0), source="in/c.d/a.png", name="c.d/a.png"))
    first, second, third = json.loads(path.read_text(encoding="utf-8"))["images"]
    assert first == {
        "id": 1, "file_name": "drive/000012.png", "width": 11, "height": 7,
        "source": "b/drive.mp4", "frame": 12, "time": 0.5,
    }  # fmt: skip
    assert second == {"id": 2, "file_name": "b/a.png", "width": 11, "height": 7}
    assert third["file_name"] == "c.d/a.png"


def test_what_has_no_name_is_called_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    with CocoFile(path, LABELS) as file:
        file.add(labeled(random_mask(0)))
        file.add(labeled(random_mask(0), source="in/b.jpg"))
        file.add(labeled(random_mask(0), name="c/d"))
        file.add(labeled(random_mask(0), number=7))
    images = json.loads(path.read_text(encoding="utf-8"))["images"]
    assert [image["file_name"] for image in images] == ["000000.png", "b.jpg", "c/d.png", "000003.png"]


def test_a_name_that_is_not_utf8_leaves_the_file_whole(tmp_path: Path) -> None:
    with CocoFile(tmp_path / "coco.json", LABELS) as file:
        with pytest.raises(DataError, match="is a name that is not UTF-8"):
            file.add(entry(random_mask(0), "\udcff"))
        file.add(entry(random_mask(1), "b"))
    (image,) = json.loads((tmp_path / "coco.json").read_text(encoding="utf-8"))["images"]
    assert image["file_name"] == "b.jpg"


def test_the_file_gets_its_name_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("earlier")
    with CocoFile(path, LABELS) as file:
        file.add(entry(random_mask(0)))
        assert path.read_text() == "earlier"
    assert len(COCO(str(path)).imgs) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text("earlier")
    with pytest.raises(BrokenPipeError):  # another's file: not ours to explain
        write(path, [random_mask(0)], error=BrokenPipeError)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_ctrl_c_ends_the_file_so_that_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    with pytest.raises(KeyboardInterrupt):
        write(path, [random_mask(0)], error=KeyboardInterrupt)
    assert len(COCO(str(path)).imgs) == 1


def test_without_images_there_is_no_file(tmp_path: Path) -> None:
    with CocoFile(tmp_path / "coco.json", LABELS):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("images", "room"), [(1, 100), (400, 1000)], ids=["at-the-end", "on-the-way"])
def test_a_full_disk_is_told_and_leaves_nothing(images: int, room: int, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(OutputError, match=r"coco\.json cannot be written"):
            write(tmp_path / "coco.json", [random_mask(number) for number in range(images)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(OutputError, match=r"coco\.json cannot be written"),
        CocoFile(tmp_path / "file/coco.json", LABELS),
    ):
        pass


def test_a_folder_of_that_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "coco.json").mkdir()
    with pytest.raises(OutputError, match="is a folder"), CocoFile(tmp_path / "coco.json", LABELS) as file:
        file.add(entry(random_mask(0)))
    assert not list((tmp_path / "coco.json").iterdir())


@pytest.mark.parametrize(("package", "form"), [("pycocotools", "rle"), ("contourpy", "polygons")])
def test_a_missing_library_is_told_with_the_pip_line(
    package: str, form: Form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"{package}.mask", raising=False)
    with pytest.raises(MissingPackageError, match=rf"{package} is not installed; run: pip install 'segnet\[coco\]'"):
        CocoFile(tmp_path / "coco.json", LABELS, form=form)


def test_an_unknown_form_is_not_taken_for_run_lengths(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="form='polygon' is unknown; choose one of rle, polygons"):
        CocoFile(tmp_path / "coco.json", LABELS, form="polygon")  # type: ignore[arg-type]
