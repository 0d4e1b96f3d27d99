from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segnet.errors import ShapeError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.visualization.overlay import (
    add_class_names,
    add_legend,
    choose_outline_width,
    class_shares,
    color_map,
    colorize,
    overlay,
    panels,
    rounded_up,
    sheet,
)
from segnet.visualization.style import OverlayStyle

LABELS = ClassTable(names=("left", "right", "absent"), colors=((200, 0, 0), (0, 100, 0), (1, 2, 3)))


def halves(height: int, width: int) -> NDArray[np.uint8]:
    """Class 0 on the left, class 1 on the right."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[:, width // 2 :] = 1
    return mask


def gray(height: int, width: int) -> NDArray[np.uint8]:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def contains(image: NDArray[np.uint8], color: tuple[int, int, int]) -> bool:
    return bool((image == color).all(axis=2).any())


def test_colorize_gives_each_pixel_the_color_of_its_class() -> None:
    mask = np.array([[0, 1], [10, IGNORE_INDEX]])
    image = colorize(mask, CAMVID)
    assert image.dtype == np.uint8
    assert image.tolist() == [[list(CAMVID.colors[0]), list(CAMVID.colors[1])], [list(CAMVID.colors[10]), [0, 0, 0]]]


def test_overlay_blends_by_opacity() -> None:
    mask = np.zeros((4, 6), dtype=np.uint8)
    assert overlay(gray(4, 6), mask, LABELS, OverlayStyle(opacity=0))[0, 0].tolist() == [100, 100, 100]
    assert overlay(gray(4, 6), mask, LABELS)[0, 0].tolist() == [150, 50, 50]
    assert overlay(gray(4, 6), mask, LABELS, OverlayStyle(opacity=1))[0, 0].tolist() == [200, 0, 0]


def test_overlay_is_its_formula_for_each_pixel() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (9, 14, 3), dtype=np.uint8)
    mask = np.repeat(generator.choice(np.array([0, 1, 2, IGNORE_INDEX], dtype=np.uint8), (9, 7)), 2, axis=1)
    mixed = np.where((mask == IGNORE_INDEX)[..., None], image, 0.7 * image + 0.3 * LABELS.palette()[mask])
    right, below = np.pad(mask, ((0, 1), (0, 1)), mode="edge")[:-1, 1:], np.pad(mask, ((0, 1), (0, 0)), mode="edge")[1:]
    known = mask != IGNORE_INDEX
    line = known & (((mask != right) & (right != IGNORE_INDEX)) | ((mask != below) & (below != IGNORE_INDEX)))
    wanted = np.where(line[..., None], 128 + mixed / 2, mixed)
    found = overlay(image, mask, LABELS, OverlayStyle(opacity=0.3, outline_width=1))
    assert np.abs(found - wanted).max() <= 1.1  # rounded down, and the weight is a number of 256ths


def test_overlay_draws_a_light_line_between_classes() -> None:
    image = overlay(gray(4, 6), halves(4, 6), LABELS)
    light = image.min(axis=2) >= 128
    assert light.sum(axis=1).tolist() == [1, 1, 1, 1]
    assert light[:, 2].all()


def test_overlay_draws_wider_lines_in_larger_images() -> None:
    image = overlay(gray(1080, 1080), halves(1080, 1080), LABELS)
    assert (image[500].min(axis=1) >= 128).sum() == 2


def test_overlay_leaves_void_as_it_is_and_draws_no_line_around_it() -> None:
    mask = np.zeros((6, 6), dtype=np.uint8)
    mask[2:4, 2:4] = IGNORE_INDEX
    image = overlay(gray(6, 6), mask, LABELS)
    expected = np.where((mask == IGNORE_INDEX)[:, :, None], 100, [150, 50, 50])
    np.testing.assert_array_equal(image, expected)


def test_overlay_leaves_its_arguments_alone_and_takes_any_size() -> None:
    flipped = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)[..., ::-1]
    np.testing.assert_array_equal(
        overlay(flipped, halves(4, 6), LABELS), overlay(flipped.copy(), halves(4, 6).astype(np.int64), LABELS)
    )
    image, mask = gray(1, 1), np.zeros((1, 1), dtype=np.int64)
    assert overlay(image, mask, LABELS).shape == (1, 1, 3)
    assert image.tolist() == [[[100, 100, 100]]]


def test_overlay_refuses_a_mask_of_another_size() -> None:
    with pytest.raises(ShapeError, match=r"image has the size \(4, 6\) and the mask \(4, 5\).*give a mask of"):
        overlay(gray(4, 6), halves(4, 5), LABELS)


def line_by_loop(mask: NDArray[np.uint8], width: int) -> NDArray[np.bool_]:
    """Whether a pixel's class differs, along the row or the column, from one that a line of this width joins it to."""
    height, columns = mask.shape
    lines = np.zeros(mask.shape, dtype=bool)
    ahead = [(0, step) for step in range(1, (width + 1) // 2 + 1)] + [
        (step, 0) for step in range(1, (width + 1) // 2 + 1)
    ]
    behind = [(0, -step) for step in range(1, width // 2 + 1)] + [(-step, 0) for step in range(1, width // 2 + 1)]
    for y, x in np.ndindex(mask.shape):
        for down, right in ahead + behind:
            if 0 <= y + down < height and 0 <= x + right < columns and mask[y, x] != IGNORE_INDEX:
                other = mask[y + down, x + right]
                lines[y, x] |= other not in (mask[y, x], IGNORE_INDEX)
    return lines


@pytest.mark.parametrize("width", [0, 1, 2, 3, 6, 40])
def test_lines_are_those_of_a_plain_loop_of_any_width(width: int) -> None:
    rng = np.random.default_rng(width)
    mask = np.repeat(np.repeat(rng.choice([0, 1, 2, IGNORE_INDEX], size=(5, 7)), 4, axis=0), 3, axis=1).astype(np.uint8)
    image = overlay(gray(*mask.shape), mask, LABELS, OverlayStyle(opacity=0, outline_width=width))
    np.testing.assert_array_equal(image[..., 0] != 100, line_by_loop(mask, width))


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9])
def test_a_line_lies_on_both_sides_of_its_border_and_is_as_wide_as_asked(width: int) -> None:
    row = overlay(gray(4, 40), halves(4, 40), LABELS, OverlayStyle(opacity=0, outline_width=width))[2, :, 0]
    drawn = np.flatnonzero(row != 100)
    assert drawn.tolist() == list(range(20 - (width + 1) // 2, 20 + width // 2))


def thirds(height: int, width: int) -> NDArray[np.uint8]:
    """Class 0 on the left, 1 in the middle, 2 on the right."""
    return np.repeat(np.arange(3, dtype=np.uint8), width // 3)[None].repeat(height, axis=0)


def test_an_overlay_of_some_classes_leaves_the_others_as_the_image_is() -> None:
    image = overlay(gray(4, 30), thirds(4, 30), LABELS, OverlayStyle(show_classes=("right",), outline_width=0))
    assert (image[:, :10] == 100).all()
    assert (image[:, 10:20] == (50, 100, 50)).all()
    assert (image[:, 20:] == 100).all()


def test_lines_run_around_the_shown_classes_alone() -> None:
    around = [
        overlay(gray(4, 30), thirds(4, 30), LABELS, OverlayStyle(show_classes=(name,), opacity=0))
        for name in LABELS.names
    ]
    drawn = [np.flatnonzero((image[2] != 100).any(axis=1)).tolist() for image in around]
    assert drawn == [[9], [9, 19], [19]]


def test_colors_of_some_classes_leave_the_others_black() -> None:
    image = colorize(thirds(4, 30), LABELS, OverlayStyle(show_classes=("left", "absent")))
    assert [tuple(image[2, column].tolist()) for column in (5, 15, 25)] == [(200, 0, 0), (0, 0, 0), (1, 2, 3)]


def test_a_look_changes_neither_mask_nor_labels() -> None:
    mask, style = thirds(4, 30), OverlayStyle(show_classes=("right",), palette="colorblind")
    overlay(gray(4, 30), mask, LABELS, style)
    colorize(mask, LABELS, style)
    np.testing.assert_array_equal(mask, thirds(4, 30))
    assert LABELS.colors == ((200, 0, 0), (0, 100, 0), (1, 2, 3))


def test_the_colorblind_palette_is_in_image_colors_and_legend() -> None:
    style, safe = OverlayStyle(palette="colorblind", opacity=1, outline_width=0), ClassTable.from_names(LABELS.names)
    mask = thirds(64, 99)
    np.testing.assert_array_equal(colorize(mask, LABELS, style), colorize(mask, safe))
    np.testing.assert_array_equal(overlay(gray(64, 99), mask, LABELS, style), colorize(mask, safe))
    legend = add_legend(gray(64, 99), LABELS, np.full(3, 1 / 3), style)[64:]
    assert all(contains(legend, color) for color in safe.colors)
    assert not any(contains(legend, color) for color in LABELS.colors)


def test_class_shares_leave_void_out() -> None:
    mask = np.array([[0, 0, 0, 1], [IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]], dtype=np.uint8)
    assert class_shares(mask, LABELS).tolist() == [0.75, 0.25, 0]


def test_class_shares_of_void_alone_are_0() -> None:
    assert class_shares(np.full((2, 2), IGNORE_INDEX), LABELS).tolist() == [0, 0, 0]


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


@pytest.mark.parametrize(
    ("size", "working_size", "width"),
    [
        ((100, 5000), None, 1),
        ((539, 5000), None, 1),
        ((1080, 5000), None, 2),
        ((12000, 12000), None, 22),
        ((12000, 12000), (480, 480), 22),  # seen as a whole
        ((12000, 12000), (3600, 3600), 7),
        ((12000, 12000), (12000, 12000), 2),
        ((360, 480), (720, 960), 1),
    ],
)
def test_outlines_fit_the_image_but_are_no_wider_than_two_pixels_of_the_working_size(
    size: tuple[int, int], working_size: tuple[int, int] | None, width: int
) -> None:
    assert choose_outline_width(OverlayStyle(), size, working_size=working_size) == width
