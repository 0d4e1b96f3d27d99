from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segnet.labels import CAMVID, ClassTable
from segnet.visualization.legends import add_class_names, add_legend, color_map, panels, rounded_up, sheet
from segnet.visualization.style import OverlayStyle

LABELS = ClassTable(names=("left", "right", "absent"), colors=((200, 0, 0), (0, 100, 0), (1, 2, 3)))


def gray(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def contains(image: NDArray[np.uint8], color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=2).any())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (360, 480), (1, 1), (100, 700), (720, 960)])
def test_legend_stands_below_the_untouched_image(height: int, width: int) -> None:
    image = gray(height, width)
    result = add_legend(image, LABELS, np.array([0.7, 0.3, 0]))
    np.testing.assert_array_equal(result[:height, :width], image)
    assert result.shape[0] >= height + 20
    assert (result[:height, width:] == 255).all()
    assert contains(result[height:], (200, 0, 0))
    assert contains(result[height:], (0, 100, 0))


def test_legend_shows_only_the_classes_that_occur_largest_first() -> None:
    legend = add_legend(gray(64, 64), LABELS, np.array([0.3, 0.7, 0]))[64:]
    assert not contains(legend, (1, 2, 3))
    first_rows = [np.flatnonzero((legend == color).all(axis=2).any(axis=1))[0] for color in LABELS.colors[:2]]
    assert first_rows[1] < first_rows[0]


def test_a_legend_of_some_classes_leaves_the_others_out() -> None:
    legend = add_legend(gray(64, 64), LABELS, np.array([0.3, 0.5, 0.2]), OverlayStyle(show_classes=("left", "absent")))[
        64:
    ]
    assert contains(legend, (200, 0, 0)) and contains(legend, (1, 2, 3))  # noqa: PT018
    assert not contains(legend, (0, 100, 0))


def test_class_names_below_an_image_depend_on_its_size_alone() -> None:
    style = OverlayStyle(show_classes=("right", "absent"))
    first, second = (add_class_names(image, LABELS, style) for image in (gray(64, 200), 2 * gray(64, 200)))
    np.testing.assert_array_equal(first[64:], second[64:])
    np.testing.assert_array_equal(second[:64, :200], 2 * gray(64, 200))
    assert [contains(first[64:], color) for color in LABELS.colors] == [False, True, True]


def test_legend_keeps_a_margin_around_its_text_for_any_name() -> None:
    labels = ClassTable.from_names(["a name that is much longer than the image is wide", "b"])
    legend = add_legend(gray(64, 64), labels, np.array([0.9996, 0.0004]))[64:]
    for edge in (legend[:4], legend[-4:], legend[:, :4], legend[:, -4:]):
        assert (edge == 255).all()


def test_legend_uses_columns_where_the_image_is_wide() -> None:
    shares = np.full(CAMVID.classes, 1 / CAMVID.classes)
    narrow, wide = (add_legend(gray(100, width), CAMVID, shares) for width in (100, 1000))
    assert narrow.shape[0] > wide.shape[0]
    assert wide.shape[1] == 1000


def test_legend_without_classes_is_none() -> None:
    np.testing.assert_array_equal(add_legend(gray(8, 8), LABELS, np.zeros(3)), gray(8, 8))


def test_panels_stand_in_rows_below_their_titles() -> None:
    colors = [(10, 0, 0), (0, 10, 0), (0, 0, 10)]
    titled = [(f"panel {n}", np.full((40, 100, 3), color, dtype=np.uint8)) for n, color in enumerate(colors)]
    image = panels(titled, columns=2)
    tops, lefts = zip(*(np.argwhere((image == color).all(axis=2)).min(axis=0) for color in colors), strict=True)
    assert tops[0] == tops[1] > 0  # a title above
    assert tops[2] >= tops[0] + 40 + tops[0]
    assert lefts[0] == lefts[2] == 0
    assert lefts[1] >= 100


def test_sheet_stacks_rows_of_different_widths() -> None:
    result = sheet([gray(2, 3), gray(4, 5)])
    assert result.shape == (6, 5, 3)
    assert (result[:2, 3:] == 255).all()


def luminance(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    return image @ np.array([0.2126, 0.7152, 0.0722])


def test_a_color_map_grows_lighter_with_the_value() -> None:
    values = np.linspace(0, 1.2, 300, dtype=np.float32).reshape(1, -1).repeat(20, axis=0)
    image = color_map(values, largest=1.0, title="entropy")
    row = luminance(image[0, :300].astype(np.float64))
    assert (np.diff(row) >= -0.5).all()
    assert row[-1] - row[0] > 150
    assert len(np.unique(image[0], axis=0)) > 240  # of 256 colors; the last 50 values have one
    assert (image[0, 250:300] == image[0, 250]).all()  # what is beyond the scale has its end's color


def test_a_color_map_stands_over_its_scale() -> None:
    image = color_map(np.zeros((40, 300), dtype=np.float32), largest=0.5, title="variance")
    assert image.shape[0] > 40
    assert image.shape[1] == 300
    assert (image[:40] == image[0, 0]).all()
    bar = image[40:]
    assert contains(bar, tuple(image[0, 0].tolist()))
    assert contains(bar, (253, 231, 37))
    assert (bar < 100).all(axis=2).sum() > 100  # numbers and title


def test_a_narrow_color_map_has_room_for_its_title() -> None:
    image = color_map(np.ones((8, 8), dtype=np.float32), largest=1.0, title="mutual information, in nats")
    assert image.shape[1] > 100
    assert (image[:8, :8] == (253, 231, 37)).all()


@pytest.mark.parametrize("largest", [0.043, 1.0])
def test_the_numbers_of_a_narrow_scale_do_not_touch(largest: float) -> None:
    image = color_map(np.zeros((8, 8), dtype=np.float32), largest=largest, title="x")
    bar = image[8:]
    rows = np.arange(len(bar)) * 5 // len(bar) == 2  # those of the numbers
    ink = (bar[rows] < 200).all(axis=2).any(axis=0)
    gaps = np.diff(np.flatnonzero(ink))
    assert (gaps > 6).sum() == 4


@pytest.mark.parametrize(
    ("value", "end"), [(0.0443, 0.045), (2.25, 2.3), (1.0, 1.0), (0.3, 0.3), (9.99, 10), (1e-6, 1e-6)]
)
def test_the_end_of_a_scale_has_two_digits(value: float, end: float) -> None:
    assert rounded_up(value) == pytest.approx(end)
