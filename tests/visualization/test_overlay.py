from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from segnet.errors import ShapeError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.visualization.legends import add_legend
from segnet.visualization.overlay import choose_outline_width, class_shares, colorize, overlay
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
