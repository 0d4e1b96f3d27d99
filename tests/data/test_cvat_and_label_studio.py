"""The own exports of CVAT and Label Studio: one file for all images, whose areas become masks."""

from __future__ import annotations

import base64
import io
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement, fromstring, tostring

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from layout_files import check_and_train, masks_of, photo, save, text
from segnet.data.check.report import check_data
from segnet.data.layouts import open_source
from segnet.data.layouts.polygons import fill
from segnet.errors import DataError

SIZE = (32, 40)
CAR, SIGN = (12, 8, 32, 24), (16, 12, 24, 20)  # left, top, right and bottom edges
EXPECTED = np.zeros(SIZE, np.uint8)
EXPECTED[8:24, 12:32] = 1
EXPECTED[12:20, 16:24] = 2
FILE = "annotations.xml"


def corners(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def points(box: Sequence[float]) -> str:
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners(*box))


def cvat(root: Path, *, meta: bool = True) -> None:
    """Two subsets, as a project is exported; of the areas of an image the sign comes first, and lies on top."""
    tree = Element("annotations")
    if meta:
        listed = SubElement(SubElement(SubElement(tree, "meta"), "project"), "labels")
        for name, color in (("sign", "#00ff00"), ("car", "#ff0000")):
            label = SubElement(listed, "label")
            SubElement(label, "name").text, SubElement(label, "color").text = name, color
    for subset in ("train", "Validation"):
        image = SubElement(tree, "image", name="b/a.jpg", subset=subset, width=str(SIZE[1]), height=str(SIZE[0]))
        SubElement(image, "polygon", label="sign", points=points(SIGN), z_order="1")
        left, top, right, bottom = CAR
        SubElement(image, "box", label="car", xtl=f"{left}", ytl=f"{top}", xbr=f"{right}", ybr=f"{bottom}", z_order="0")
        SubElement(image, "polyline", label="car", points="0,0;5,5")
        photo(root / "images" / subset / "b" / "a.jpg", SIZE)
    text(root / FILE, '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(tree, encoding="unicode"))


def change_image(root: Path, change: Callable[[Element], object]) -> None:
    tree = fromstring((root / FILE).read_text())  # noqa: S314  our own file
    change(tree.findall("image")[0])
    text(root / FILE, tostring(tree, encoding="unicode"))


def area(tag: str, **attributes: object) -> Callable[[Element], object]:
    """An image with this area alone."""

    def change(image: Element) -> None:
        for one in list(image):
            image.remove(one)
        SubElement(image, tag, {key: str(value) for key, value in {"label": "car", **attributes}.items()})

    return change


def region(names: str, name: str, **value: object) -> dict[str, Any]:
    return {"type": names, "value": {**value, names: [name]}, "original_width": SIZE[1], "original_height": SIZE[0]}


def percent(*sides: float) -> list[float]:
    return [100 * side / size for side, size in zip(sides, (*SIZE[::-1], *SIZE[::-1]), strict=False)]


def label_studio(root: Path) -> None:
    left, top, right, bottom = percent(*CAR)
    result = [
        region("rectanglelabels", "car", x=left, y=top, width=right - left, height=bottom - top, rotation=0),
        region("polygonlabels", "sign", points=corners(*percent(*SIGN)), closed=True),
        region("keypointlabels", "lamp", x=3, y=4, width=0.3),
        {"type": "choices", "value": {"choices": ["day"]}},
        {"type": "relation", "from_id": "a", "to_id": "b"},
    ]
    cancelled = {"result": [], "was_cancelled": True}
    images = ["/data/upload/1/0a1b2c3d-a.jpg", "/data/local-files/?d=street%2Fb.jpg", "s3://bucket/c.jpg"]
    tasks: list[Any] = [
        {"id": 7 + number, "data": {"note": "-", "image": image}, "annotations": [{"result": result}, cancelled]}
        for number, image in enumerate(images)
    ]
    tasks[2]["annotations"] = [cancelled]
    for name in ("a.jpg", "street/b.jpg", "else/b.jpg"):
        photo(root / "images" / name, SIZE)
    text(root / "project-1-at-2026.json", json.dumps(tasks))


def change_tasks(root: Path, change: Callable[[Any], object]) -> None:
    (path,) = root.glob("*.json")
    tasks = json.loads(path.read_text())
    change(tasks)
    text(path, json.dumps(tasks))


def one_region(*regions: dict[str, Any]) -> Callable[[Any], object]:
    return lambda tasks: tasks[0]["annotations"][0].update(result=list(regions))


@pytest.mark.parametrize("write", [cvat, label_studio])
def test_areas_become_masks(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    source = open_source(tmp_path)
    expected = EXPECTED if write is label_studio else np.array([0, 2, 1])[EXPECTED]
    for split in ("train", "val"):
        np.testing.assert_array_equal(masks_of(source, split), expected)
    check_and_train(tmp_path, out=tmp_path / "run")


def test_classes_of_cvat_have_its_order_and_colors(tmp_path: Path) -> None:
    cvat(tmp_path / "a")
    labels = open_source(tmp_path / "a").labels
    assert labels.names == ("background", "sign", "car")
    assert labels.colors[1:] == ((0, 255, 0), (255, 0, 0))
    cvat(tmp_path / "b", meta=False)
    assert open_source(tmp_path / "b").labels.names == ("background", "car", "sign")


def test_images_of_cvat_may_lie_beside_the_file(tmp_path: Path) -> None:
    cvat(tmp_path)
    (tmp_path / "images/train/b").rename(tmp_path / "b")
    assert open_source(tmp_path).splits["train"][0].image == tmp_path / "b/a.jpg"


def test_frames_of_a_video_of_cvat_are_named_without_suffix(tmp_path: Path) -> None:
    cvat(tmp_path)
    change_image(tmp_path, lambda image: image.attrib.update(name="frame.000001"))
    photo(tmp_path / "images/train/frame.000001.PNG", SIZE)
    (sample,) = open_source(tmp_path).splits["train"]
    assert (sample.name, sample.image.name) == ("frame.000001", "frame.000001.PNG")


def test_names_of_cvat_do_not_lead_out_of_a_folder(tmp_path: Path) -> None:
    cvat(tmp_path / "data")
    change_image(tmp_path / "data", lambda image: image.attrib.update(name="../../../other/x.jpg"))
    photo(tmp_path / "other/x.jpg", SIZE)
    assert open_source(tmp_path / "data").splits["train"][0].name == "other/x"


def test_skeletons_of_cvat_cover_nothing(tmp_path: Path) -> None:
    cvat(tmp_path)
    change_image(tmp_path, area("skeleton"))
    assert not masks_of(open_source(tmp_path)).any()


def test_an_image_that_cvat_lists_twice_is_an_error(tmp_path: Path) -> None:
    cvat(tmp_path)
    content = (tmp_path / FILE).read_text()
    text(tmp_path / FILE, content.replace("</annotations>", "") + content[content.index("<image") :])
    with pytest.raises(DataError, match=r"lists the image .*a\.jpg twice; expected each image once"):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 2


def test_images_of_label_studio_are_found_by_most_of_their_path(tmp_path: Path) -> None:
    label_studio(tmp_path)
    splits = open_source(tmp_path).splits
    found = {sample.image.relative_to(tmp_path).as_posix() for samples in splits.values() for sample in samples}
    assert found == {"images/a.jpg", "images/street/b.jpg"}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("write", [cvat, label_studio])
def test_files_may_be_saved_by_programs_of_windows(
    write: Callable[[Path], None], encoding: str, tmp_path: Path
) -> None:
    write(tmp_path)
    expected = open_source(tmp_path).layout
    for path in [*tmp_path.glob("*.xml"), *tmp_path.glob("*.json")]:
        content = path.read_text(encoding="utf-8").replace('encoding="utf-8"', f'encoding="{encoding[:6].rstrip("-")}"')
        path.write_text(content, encoding=encoding)
    source = open_source(tmp_path)
    assert source.layout == expected
    assert masks_of(source).any()


@pytest.mark.parametrize("write", [cvat, label_studio])
def test_files_may_spell_letters_with_marks_otherwise_than_images(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path)
    count = sum(map(len, open_source(tmp_path).splits.values()))
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    for path in [*tmp_path.rglob("a.jpg")]:
        path.rename(path.with_name(f"{decomposed}.jpg"))
    for path in [*tmp_path.glob("*.xml"), *tmp_path.glob("*.json")]:
        text(path, path.read_text().replace("a.jpg", f"{composed}.jpg"))
    assert sum(map(len, open_source(tmp_path).splits.values())) == count


def test_a_hidden_file_beside_the_tasks_of_label_studio_is_left_out(tmp_path: Path) -> None:
    label_studio(tmp_path)
    (tmp_path / "._project-1-at-2026.json").write_bytes(b"\0\5\x16\7")
    assert open_source(tmp_path).layout == "Label Studio"


def test_an_uploaded_image_of_label_studio_is_found_by_the_name_that_it_had(tmp_path: Path) -> None:
    label_studio(tmp_path)
    (tmp_path / "images/a.jpg").rename(tmp_path / "images/a (1).jpg")
    change_tasks(tmp_path, lambda tasks: tasks[0]["data"].update(image="/data/upload/1/0a1b2c3d-a_1.jpg"))
    names = {sample.image.name for samples in open_source(tmp_path).splits.values() for sample in samples}
    assert names == {"a (1).jpg", "b.jpg"}


def test_tasks_of_label_studio_with_one_number_have_masks_of_their_own(tmp_path: Path) -> None:
    label_studio(tmp_path)
    change_tasks(tmp_path, lambda tasks: tasks[1].update(id=7))
    splits = open_source(tmp_path).splits
    assert len({sample.mask for samples in splits.values() for sample in samples}) == 2


def inside(outline: Sequence[Sequence[float]], x: float, y: float) -> bool:
    """Whether a line from a point to the right crosses a polygon an odd number of times."""
    crossed = False
    for (x0, y0), (x1, y1) in zip(outline, [*outline[1:], outline[0]], strict=True):
        if (y0 > y) != (y1 > y) and x < x0 + (y - y0) * (x1 - x0) / (y1 - y0):
            crossed = not crossed
    return crossed


def by_centers(outline: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    return np.array([[inside(outline, x + 0.5, y + 0.5) for x in range(SIZE[1])] for y in range(SIZE[0])])


def filled(outline: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, np.uint8)
    fill(SIZE, outline).paint(mask, 1)
    return mask > 0


@pytest.mark.parametrize("seed", range(8))
def test_a_polygon_has_the_pixels_whose_centers_lie_inside(seed: int) -> None:
    outline = np.random.default_rng(seed).uniform((-5, -5), (SIZE[1] + 5, SIZE[0] + 5), (3 + seed, 2)).tolist()
    np.testing.assert_array_equal(filled(outline), by_centers(outline))


def test_polygons_that_share_an_edge_share_no_pixel() -> None:
    first, second = [(2.0, 1.0), (20.3, 4.0), (14.7, 30.0)], [(20.3, 4.0), (39.0, 25.0), (14.7, 30.0)]
    assert not (filled(first) & filled(second)).any()


@pytest.mark.parametrize("corners", [[], [(1.0, 1.0)], [(1.0, 1.0), (9.0, 9.0)]])
def test_too_few_corners_cover_nothing(corners: list[tuple[float, float]]) -> None:
    assert not filled(corners).any()


def ellipse_of(x: float, y: float, radii: tuple[float, float]) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return ((columns - x) / radii[0]) ** 2 + ((rows - y) / radii[1]) ** 2 < 1


def test_ellipses_boxes_that_are_turned_and_masks_of_cvat_are_drawn(tmp_path: Path) -> None:
    def drawn(tag: str, **attributes: object) -> NDArray[np.bool_]:
        change_image(tmp_path, area(tag, **attributes))
        return masks_of(open_source(tmp_path)) == 2

    cvat(tmp_path)
    quarter = by_centers(corners(13, 10, 23, 26))
    np.testing.assert_array_equal(drawn("box", xtl=10, ytl=13, xbr=26, ybr=23, rotation=90), quarter)
    circle = drawn("ellipse", cx=20, cy=16, rx=9, ry=9, rotation=30)
    assert (circle != ellipse_of(20, 16, (9, 9))).sum() <= 4  # 64 corners are no curve
    upright = drawn("ellipse", cx=20, cy=16, rx=12, ry=6, rotation=90)
    assert (upright != ellipse_of(20, 16, (6, 12))).sum() <= 4
    expected = np.zeros(SIZE, dtype=bool)
    expected[[4, 4, 5, 6], [31, 32, 30, 32]] = True
    np.testing.assert_array_equal(drawn("mask", rle="1, 3, 4, 1", left=30, top=4, width=3, height=3), expected)


def pack(canvas: NDArray[np.uint8]) -> list[int]:
    """Words of eight bits, repeated if three or more are equal, in lengths of 3, 4, 8 or 16 bits."""
    words, widths = canvas.ravel(), (3, 4, 8, 16)
    bits = f"{len(words):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in widths)
    starts = [0, *(np.flatnonzero(np.diff(words)) + 1), len(words)]
    for start, end in pairwise(starts):
        index = next(number for number, width in enumerate(widths) if end - start <= 1 << width)
        length = f"{index:02b}{end - start - 1:0{widths[index]}b}"
        repeated = end - start > 2
        bits += f"{repeated:b}{length}" + "".join(
            f"{word:08b}" for word in words[start : start + 1 if repeated else end]
        )
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


def test_brushes_ellipses_and_rectangles_that_are_turned_of_label_studio_are_drawn(tmp_path: Path) -> None:
    def drawn(*regions: dict[str, Any]) -> NDArray[np.bool_]:
        change_tasks(tmp_path, one_region(*regions))
        source = open_source(tmp_path)
        split = next(split for split, (sample,) in source.splits.items() if sample.image.name == "a.jpg")
        return masks_of(source, split) == 1

    label_studio(tmp_path)
    painted = np.random.default_rng(0).random(SIZE) < 0.3
    canvas = np.zeros((*SIZE, 4), np.uint8)
    canvas[painted] = (18, 52, 86, 255)
    np.testing.assert_array_equal(drawn(region("brushlabels", "car", format="rle", rle=pack(canvas))), painted)
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    np.testing.assert_array_equal(drawn(region("bitmasklabels", "car", imageDataURL=address)), painted)
    x, y, width, height = percent(20, 4, 10, 12)
    turned = drawn(region("rectanglelabels", "car", x=x, y=y, width=width, height=height, rotation=90))
    np.testing.assert_array_equal(turned, by_centers(corners(8, 4, 20, 14)))
    x, y, across, down = percent(20, 16, 12, 6)
    oval = drawn(region("ellipselabels", "car", x=x, y=y, radiusX=across, radiusY=down, rotation=90))
    assert (oval != ellipse_of(20, 16, (6, 12))).sum() <= 4


def vertex(x: float, y: float, **others: object) -> dict[str, Any]:
    x, y = percent(x, y)
    return {"x": x, "y": y, "isBezier": False, **others}


def test_closed_vectors_of_label_studio_are_drawn_and_open_ones_cover_nothing(tmp_path: Path) -> None:
    def drawn(vertices: list[dict[str, Any]], *, closed: bool = True) -> NDArray[np.bool_]:
        change_tasks(tmp_path, one_region(region("vectorlabels", "car", vertices=vertices, closed=closed)))
        source = open_source(tmp_path)
        split = next(split for split, (sample,) in source.splits.items() if sample.image.name == "a.jpg")
        return masks_of(source, split) == source.labels.names.index("car")

    label_studio(tmp_path)
    straight = [vertex(x, y) for x, y in corners(*CAR)]
    np.testing.assert_array_equal(drawn(straight), by_centers(corners(*CAR)))
    assert not drawn(straight, closed=False).any()
    around = []  # of a circle of radius 10 about (20, 16), in quarters
    for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        point = np.array((20 + 10 * x, 16 + 10 * y), dtype=float)
        along = 5.5228 * np.array((-y, x))
        controls = {key: vertex(*(point + way)) for key, way in (("controlPoint1", -along), ("controlPoint2", along))}
        around.append(vertex(*point, **controls) | {"isBezier": True})
    assert (drawn(around) != ellipse_of(20, 16, (10, 10))).sum() <= 4
    del around[0]["controlPoint2"]  # a quarter bends at one end only; a straight line would leave 28 pixels out
    assert 4 < (ellipse_of(20, 16, (10, 10)) & ~drawn(around)).sum() < 20


def faults(root: Path) -> dict[str, int]:
    report = check_data(root)
    assert report.failed
    return {finding.kind: finding.count for finding in report.findings if finding.severity == "error"}


NOT_DRAWN: list[tuple[Callable[[Element], object], str]] = [
    (area("cuboid"), "annotations.xml, a cuboid of b/a.jpg: cannot be drawn; expected one of polygon, mask, box"),
    (area("polygon", label="bus", points="0,0;1,1"), "a polygon of b/a.jpg: 'bus' is no class; expected one of"),
    (area("polygon", points="0,0;81,0;5,5"), "a polygon of b/a.jpg: has a corner at x 81, y 0; expected corners in or"),
    (area("polygon", points="0,0;nan,0;5,5"), "has a corner at x nan, y 0"),
    (area("polygon", points="0;1"), "annotations.xml (image "),
    (area("polygon"), "'points' is missing"),
    (area("mask", rle="1, 2", left=0, top=0, width=2, height=2), "has run lengths of 3 pixels for a part of 2x2"),
    (area("mask", rle="1, -2, 5", left=0, top=0, width=2, height=2), "has run lengths of 4 pixels"),
    (area("mask", rle="4", left=39, top=0, width=2, height=2), "at x 39, y 0; expected as many as that part has"),
    (
        area("mask", rle=f"{2**62}, {2**62}, {2**62}, {2**62}, 4", left=0, top=0, width=2, height=2),
        "has run lengths of ",
    ),
    (lambda image: image.attrib.update(width="1000000000"), "an image of 1000000000x32 pixels; at most 500,000,000"),
    (lambda image: image.attrib.update(name="a" * 400), "annotations.xml: an image has a name that no file can have"),
    (lambda image: image.attrib.pop("name"), "annotations.xml: an image has no name; export it again"),
    (lambda image: image.attrib.pop("width"), "'width' is missing"),
]


@pytest.mark.parametrize(("change", "message"), NOT_DRAWN)
def test_an_area_of_cvat_that_is_not_drawn_is_an_error(
    change: Callable[[Element], object], message: str, tmp_path: Path
) -> None:
    cvat(tmp_path)
    change_image(tmp_path, change)
    with pytest.raises(DataError, match=re.escape(message)):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 1


LABEL = "<meta><task><labels><label><name>car</name><color>{}</color></label></labels></task></meta>"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotations><image></annotations>", "is no XML that can be read (mismatched tag: "),
        ('<annotations><track id="0"/></annotations>', '"CVAT for video"; expected the areas of each image; export it'),
        (f"<annotations>{'<a>' * 100}{'</a>' * 100}</annotations>", "it has elements in more than"),
        (f"<annotations>{LABEL.format('red')}</annotations>", "the color 'red' is none; expected one like #ff8000"),
        ('<annotations><!DOCTYPE a [<!ENTITY b "c">]></annotations>', "it has a document type"),
    ],
)
def test_a_file_of_cvat_of_another_form_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    text(tmp_path / FILE, content)
    with pytest.raises(DataError, match=re.escape(message)):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 1


def brush(rle: list[int]) -> Callable[[Any], object]:
    return one_region(region("brushlabels", "car", format="rle", rle=rle))


TRANSPARENT = pack(np.zeros((*SIZE, 4), np.uint8))
WRONG: list[tuple[Callable[[Any], object], str]] = [
    (brush(pack(np.zeros((2, 2, 4), np.uint8))), "task 7, region 1: its brush cannot be drawn (it has 16 words of 8"),
    (brush(TRANSPARENT[:-2]), "its run lengths are cut off"),
    (brush([]), "its run lengths are cut off"),
    (brush([*TRANSPARENT[:6], 255, 255, *TRANSPARENT[8:]]), "its run lengths are "),
    (one_region(region("polygonlabels", "car", points=[[0, 0], [201, 0], [5, 5]])), "has a corner at x 80.4, y 0"),
    (one_region(region("polygonlabels", "car", points=[[0]])), "is an annotation of another form"),
    (lambda tasks: tasks[0]["data"].update(image="a.txt"), "task 7: has no image in its data; expected a path"),
    (
        lambda tasks: tasks[0]["data"].update(other="b.jpg"),
        "task 7: has several images in its data, /data/upload/1/0a1",
    ),
    (lambda tasks: tasks[1]["data"].update(image="a.jpg"), "a.jpg is also that of"),
    (lambda tasks: tasks[1]["data"].update(image="b.jpg"), "task 8: its image b.jpg may be "),
    (one_region(region("brushlabels", "car", format="rle", rle=10**12)), "a value or list is of another kind"),
    (
        one_region(region("bitmasklabels", "car", imageDataURL="data:,")),
        "its bitmap is no PNG of 40x32, the image's size",
    ),
    (lambda tasks: tasks[1].pop("id"), "is an annotation of another form than expected ('id' is missing)"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_task_of_label_studio_that_is_not_drawn_is_an_error(
    change: Callable[[Any], object], message: str, tmp_path: Path
) -> None:
    label_studio(tmp_path)
    change_tasks(tmp_path, change)
    with pytest.raises(DataError, match=re.escape(message)):
        open_source(tmp_path)
    assert faults(tmp_path)["annotation"] == 1


def test_areas_of_label_studio_without_a_label_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    label_studio(tmp_path)
    box = {"x": 0, "y": 0, "width": 50, "height": 50}
    area, label = {"id": "a", "type": "rectangle", "value": box}, region("labels", "car", **box)
    with caplog.at_level("WARNING", logger="segnet"):
        change_tasks(tmp_path, one_region(area, {**label, "id": "a"}))
        open_source(tmp_path)
        assert not caplog.messages
        change_tasks(tmp_path, one_region(area, {"id": "a", "type": "choices", "value": {**box, "choices": ["car"]}}))
        open_source(tmp_path)
    assert [message.split(": ")[1] for message in caplog.messages] == [
        "areas without a label are not drawn (1); label them in Label Studio"
    ]


def test_tasks_of_label_studio_with_predictions_alone_are_refused(tmp_path: Path) -> None:
    label_studio(tmp_path)
    change_tasks(
        tmp_path, lambda tasks: [task.update(predictions=task["annotations"], annotations=[]) for task in tasks]
    )
    with pytest.raises(DataError, match="none of its 3 tasks has an annotation; drafts and predictions are not read"):
        open_source(tmp_path)


@pytest.mark.parametrize("write", [cvat, label_studio])
def test_a_missing_image_is_an_error(write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path)
    next((tmp_path / "images").rglob("a.jpg")).unlink()
    with pytest.raises(DataError, match=r"a\.jpg is missing; put it"):
        open_source(tmp_path)
    assert faults(tmp_path)["mask_without_image"] == 1


def test_a_png_for_each_label_of_label_studio_is_refused_with_the_remedy(tmp_path: Path) -> None:
    photo(tmp_path / "images/a.jpg", SIZE)
    save(tmp_path / "masks/task-1-annotation-1-by-1-tag-car-0.png", EXPECTED)
    text(tmp_path / "classes.txt", "road\ncar\nsign\n")
    with pytest.raises(DataError, match="do not name their image; export the project as JSON instead"):
        open_source(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '[{"id": 1}]', "5"])
def test_other_files_of_json_are_none_of_label_studio(content: str, tmp_path: Path) -> None:
    text(tmp_path / "a.json", content)
    with pytest.raises(DataError, match="no data set was recognized"):
        open_source(tmp_path)
    with pytest.raises(DataError, match="holds no JSON of Label Studio"):
        open_source(tmp_path, layout="label-studio")
