from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segnet.errors import ConfigError
from segnet.inference.tiling import Span, TileConfig, blend_tiles, cut, fits, spans, tile_size


class Array:
    """An image in memory, which knows how much of it was read."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.next = image, 0

    @property
    def size(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    def read(self, rows: int) -> np.ndarray:
        self.next += rows
        assert self.next <= len(self.image)
        return self.image[self.next - rows : self.next]


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 200), st.integers(0, 31))
@settings(deadline=None)
def test_spans_cover_the_length_with_the_overlap_that_was_asked_for(
    length: int, steps: int, overlap: int, odd: int
) -> None:
    tile = 2 * overlap + 32 + 32 * steps + odd
    found = spans(length, tile=tile, overlap=overlap)
    assert found[0].start == 0
    assert found[-1].stop == length
    for span in found:
        assert span.start % 32 == 0
        assert 0 < span.stop - span.start <= tile + 31
    for one, other in itertools.pairwise(found):
        assert one.start < other.start
        assert one.stop - other.start >= overlap
        assert one.stop < other.stop


@given(st.integers(1, 3000), st.integers(20, 400), st.integers(0, 9))
@settings(deadline=None)
def test_tiles_of_one_size_all_have_it(length: int, tile: int, overlap: int) -> None:
    found = spans(length, tile=tile, overlap=overlap, exact=True)
    if length <= tile:
        assert found == [Span(0, length)]
        return
    assert {span.stop - span.start for span in found} == {tile}
    assert found[0].start == 0
    assert found[-1].stop == length
    assert all(one.stop - other.start >= overlap for one, other in itertools.pairwise(found))


@given(st.integers(1, 5000), st.integers(1, 40), st.integers(0, 6))
@settings(deadline=None)
def test_neither_fewer_nor_smaller_tiles_would_do(length: int, steps: int, overlaps: int) -> None:
    overlap, tile = 32 * overlaps, 64 * overlaps + 32 + 32 * steps

    def longest(count: int, side: int) -> int:
        """So many tiles cover at most this length; the last is up to 31 pixels longer."""
        return count * (side - overlap) + overlap + 31

    found = spans(length, tile=tile, overlap=overlap)
    if len(found) > 1:
        assert longest(len(found) - 1, tile) < length
        assert longest(len(found), found[0].stop - 32) < length


def test_the_number_of_tiles() -> None:
    assert spans(1024, tile=1024, overlap=128) == [Span(0, 1024)]
    assert spans(1920, tile=1024, overlap=128) == [Span(0, 1024), Span(896, 1920)]
    assert spans(1951, tile=1024, overlap=128) == [Span(0, 1024), Span(896, 1951)]
    assert len(spans(20000, tile=1024, overlap=128)) == 23  # 20000 = 128 + 22.2 * (1024 - 128)


def values(image: np.ndarray) -> np.ndarray:
    """Planes that depend on the pixel alone, whatever tile it is in."""
    red = image[..., 0].astype(np.float32)
    return np.stack([red, 255 - red, red * 0 + 1])


@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 40), st.integers(0, 5))
@settings(deadline=None)
def test_what_depends_on_the_pixel_alone_comes_back(height: int, width: int, overlap: int, steps: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    tile = 2 * overlap + 64 + 32 * steps
    down, across = (spans(length, tile=tile, overlap=overlap) for length in (height, width))
    tops, images, planes = zip(*blend_tiles(Array(image), values, np.copy, down, across), strict=True)
    assert list(tops) == [span.start for span in down]
    np.testing.assert_array_equal(np.concatenate(images), image)
    np.testing.assert_allclose(np.concatenate(planes, axis=1), values(image), atol=1e-3)


def test_overlaps_go_over_from_one_tile_to_the_next_without_a_step() -> None:
    """Each tile says its number; the blend rises steadily, and is each tile's own far from the seam."""
    image = np.zeros((32, 600, 3), dtype=np.uint8)
    across = spans(600, tile=416, overlap=96)
    assert len(across) == 2
    numbers = iter(range(2))

    def predict(tile: np.ndarray) -> np.ndarray:
        return np.full((1, *tile.shape[:2]), next(numbers), dtype=np.float32)

    ((_, _, planes),) = blend_tiles(Array(image), predict, np.copy, [Span(0, 32)], across)
    row = planes[0, 5]
    assert row[: across[1].start].max() == 0
    assert row[across[0].stop :].min() == 1
    steps = np.diff(row)
    assert steps.min() >= 0
    assert steps.max() < 0.05
    middle = (across[1].start + across[0].stop) // 2
    assert abs(row[middle] - 0.5) < 0.05


def test_only_the_rows_of_a_band_are_read_ahead() -> None:
    image = Array(np.zeros((640, 64, 3), dtype=np.uint8))
    down = spans(640, tile=160, overlap=32)
    for (_, rows, planes), span in zip(blend_tiles(image, values, np.copy, down, [Span(0, 64)]), down, strict=True):
        assert image.next == span.stop
        assert len(rows) == planes.shape[1]


def test_an_image_that_is_no_longer_than_a_tile_stays_in_one_piece() -> None:
    config = TileConfig(tile=160, overlap=32)
    assert cut(160, 90, 11, config) is None
    down, across = cut(192, 90, 11, config) or ([], [])
    assert len(down) > 1
    assert across == [Span(0, 90)]


def test_the_memory_decides_what_fits_and_how_large_tiles_are() -> None:
    config = TileConfig(memory=2.0)
    assert fits(720, 1280, 11, config)
    assert not fits(3000, 4000, 11, config)
    height, width = tile_size(4000, 11, config)
    assert height % 32 == width % 32 == 0
    assert 512 < height < 800
    assert tile_size(4000, 11, TileConfig(memory=8.0))[0] > height
    flat, wide = tile_size(20_000, 11, config)
    assert flat < height  # the rows being blended are five times as wide
    assert wide > width
    assert flat * 20_000 * 11 * 6 <= 2e9 / 3
    assert tile_size(20_000, 11, TileConfig(tile=500)) == (500, 500)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile": 200, "overlap": 100}, "at least two overlaps"),
        ({"tile": -1}, "tile=-1"),
        ({"overlap": -1}, "overlap of 0 or more"),
        ({"memory": 0.0}, "give gigabytes"),
        ({"memory": float("nan")}, "memory=nan is not possible: a finite number wanted"),
        ({"tile": "x"}, "tile='x' is not possible: a whole number wanted"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TileConfig(**settings)  # type: ignore[arg-type]


def test_too_little_memory_for_the_width_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"memory=0.01 GB is too little for an image 20000 pixels wide"):
        tile_size(20_000, 11, TileConfig(memory=0.01))
