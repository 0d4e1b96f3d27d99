"""Areas are drawn within a box around them, as they would be drawn on the whole mask."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segnet.data.layouts.polygons import (
    Bitmap,
    Pixels,
    Shape,
    draw_shapes,
    fill,
    pixels_of_area,
    pixels_of_columns,
    table_of,
)

SIZE = (23, 37)
LARGE = (20_000, 20_000)
SQUARE = [(19_000.0, 18_000.0), (19_009.0, 18_000.0), (19_009.0, 18_009.0), (19_000.0, 18_009.0)]
TABLE = table_of(["car"])


def png(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def drawn_on_the_whole_mask(shape: Shape) -> NDArray[np.uint8]:
    image = Image.new("1", SIZE[::-1])
    pen = ImageDraw.Draw(image)
    for value, ring in ((1, shape.outline), *((0, hole) for hole in shape.holes)):
        if len(ring) > 2:
            pen.polygon([(float(x), float(y)) for x, y in ring], fill=value)
    return np.array(image).astype(np.uint8)


def random_ring(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Corners of a random polygon around a random place; some are whole numbers, and some lie on one line."""
    around, reach = rng.uniform((-20, -15), (55, 40)), rng.choice([2, 10, 40])
    corners = around + rng.uniform(-reach, reach, (rng.integers(0, 9), 2))
    if rng.random() < 0.5:
        corners = corners.round()
    if rng.random() < 0.2:
        corners[:, rng.integers(2)] = corners[:1, 0]
    return [(x, y) for x, y in corners.tolist()]


@pytest.mark.parametrize("seed", range(4))
def test_polygons_with_holes_have_the_pixels_that_pillow_gives_them_on_the_whole_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(500):
        shape = Shape("car", random_ring(rng), [random_ring(rng) for _ in range(rng.integers(3))])
        np.testing.assert_array_equal(draw_shapes(SIZE, [shape], TABLE), drawn_on_the_whole_mask(shape))


@pytest.mark.parametrize("seed", range(4))
def test_bitmaps_have_the_pixels_that_lie_in_the_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        (height, width), (left, top) = rng.integers(1, 30, 2), rng.integers(-30, 45, 2)
        part = rng.integers(0, 2, (height, width), dtype=np.uint8) * 255
        expected = np.zeros((150, 150), np.uint8)
        expected[50 + top : 50 + top + height, 50 + left : 50 + left + width] = part > 0
        mask = draw_shapes(SIZE, [Bitmap("car", (int(left), int(top)), png(part))], TABLE)
        np.testing.assert_array_equal(mask, expected[50 : 50 + SIZE[0], 50 : 50 + SIZE[1]])


@pytest.mark.parametrize(
    "counts", [[851], [0, 851], [100, 751], [0, 5, 846], [100, 0, 7, 30, 714], [850, 1], [23, 23, 805, 0], [0, 0, 851]]
)
def test_run_lengths_cover_whole_columns_and_parts_of_them(counts: list[int]) -> None:
    mask = np.zeros(SIZE, np.uint8)
    pixels_of_columns(counts, SIZE[0]).paint(mask, 1)
    flat = [number % 2 for number, count in enumerate(counts) for _ in range(count)]
    np.testing.assert_array_equal(mask, np.reshape(flat, SIZE[::-1]).T)


@pytest.mark.parametrize(
    "pixels",
    [
        lambda: pixels_of_area(LARGE, Shape("car", SQUARE)),
        lambda: pixels_of_area(LARGE, Bitmap("car", (19_000, 18_000), png(np.full((10, 10), 255, np.uint8)))),
        lambda: fill(LARGE, SQUARE),
    ],
    ids=["polygon", "bitmap", "fill"],
)
def test_a_small_area_of_a_large_image_needs_its_own_pixels_only(pixels: object) -> None:
    found = pixels()  # type: ignore[operator]
    assert isinstance(found, Pixels)
    assert found.inside.size <= 100


def test_run_lengths_of_a_large_image_need_the_columns_that_they_cover_only() -> None:
    square = [count for _ in range(10) for count in (10, 19_990)]
    found = pixels_of_columns([18_000 * 20_001, *square[:-1], 400_000_000 - 18_000 * 20_001 - sum(square[:-1])], 20_000)
    assert found.inside.shape == (20_000, 10)
    assert found.columns == slice(18_000, 18_010)
