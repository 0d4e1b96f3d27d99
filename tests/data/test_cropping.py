"""Random crops and letterboxes of one image: what is shown, at which scale, and what is padded."""

from __future__ import annotations

import numpy as np
import pytest

from segnet.data.augment_config import AugmentConfig
from segnet.data.cropping import RandomCrop, letterbox
from segnet.labels import IGNORE_INDEX

SIZE = (24, 32)


def crop(**changes: object) -> RandomCrop:
    values = {"size": SIZE, "area": (0.25, 1.0), "stretch": 1.15, "typical": (48, 64)} | changes
    return RandomCrop(**values)  # type: ignore[arg-type]


def shown(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """An image of blocks of 8x8 pixels whose colors are ten times the class."""
    mask = np.random.default_rng(0).integers(1, 20, (-(-size[0] // 8), -(-size[1] // 8)), dtype=np.uint8)
    mask = mask.repeat(8, axis=0).repeat(8, axis=1)[: size[0], : size[1]]
    return np.repeat(mask[:, :, None] * 10, 3, axis=2), mask


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (20, 20), (96, 200), (1, 1)])
@pytest.mark.parametrize("seed", range(5))
def test_image_and_mask_stay_together_and_padding_is_ignored(size: tuple[int, int], seed: int) -> None:
    image, mask = crop()(*shown(size), np.random.default_rng(seed), padding=(7, 8, 9))
    assert (image.shape, mask.shape, image.dtype, mask.dtype) == ((*SIZE, 3), SIZE, np.uint8, np.uint8)
    ignored = mask == IGNORE_INDEX
    assert (image[ignored] == (7, 8, 9)).all()
    rows, columns = np.flatnonzero((~ignored).any(axis=1)), np.flatnonzero((~ignored).any(axis=0))
    inside = ~ignored[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert inside.all()  # a rectangle
    # Bilinear images blend along the borders of the blocks.
    exact = image[~ignored][:, 0] == 10 * mask[~ignored].astype(int)
    assert exact.mean() > 0.25
    assert set(np.unique(mask[~ignored])) <= set(np.unique(shown(size)[1]))


@pytest.mark.parametrize("stretch", [1.0, 1.15])
@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_padded_where_all_images_are_of_one_size(stretch: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert (crop(stretch=stretch)(*shown((48, 64)), rng)[1] != IGNORE_INDEX).all()
    square = crop(size=(24, 24), stretch=stretch)
    assert (square(*shown((48, 64)), rng)[1] != IGNORE_INDEX).all()


def test_a_quarter_of_the_area_keeps_the_scale_whatever_the_size_of_the_image() -> None:
    for size in [(48, 64), (64, 48), (40, 90)]:
        image, mask = shown(size)
        cut, classes = crop(area=(0.25, 0.25), stretch=1.0)(image, mask, np.random.default_rng(1))
        windows = np.lib.stride_tricks.sliding_window_view(mask, SIZE)
        places = np.argwhere((windows == classes).all(axis=(2, 3)))
        assert len(places) == 1
        top, left = places[0]
        np.testing.assert_array_equal(cut, image[top : top + 24, left : left + 32])


def test_the_scale_of_prediction_is_that_of_the_crop() -> None:
    """An image twice as large that prediction halves looks in a crop like the image of half its size."""
    image, mask = shown((48, 64))
    large = image.repeat(2, axis=0).repeat(2, axis=1), mask.repeat(2, axis=0).repeat(2, axis=1)
    whole = crop(area=(1.0, 1.0), stretch=1.0)
    small, twice = whole(image, mask, np.random.default_rng(1)), whole(*large, np.random.default_rng(1), scale=0.5)
    np.testing.assert_array_equal(small[1], twice[1])
    assert np.abs(small[0].astype(int) - twice[0]).max() <= 3


def test_shares_and_aspects_are_spread_over_their_ranges() -> None:
    boxes = [crop(area=(0.3, 0.6))._draw((48, 64), 1.0, np.random.default_rng(seed)) for seed in range(300)]
    shares = np.array([box.height * box.width / (48 * 64) for box in boxes])
    aspects = np.array([box.width / box.height for box in boxes]) / (4 / 3)
    assert 0.3 <= shares.min() < 0.31
    assert 0.59 < shares.max() <= 0.6
    assert 1 / 1.15 - 1e-9 <= aspects.min() < 0.88
    assert 1.14 < aspects.max() <= 1.15 + 1e-9
    assert np.isclose(shares.mean(), 0.45, atol=0.02)
    assert all(box.top >= 0 and box.top + box.height <= 48 + 1e-9 for box in boxes)


@pytest.mark.parametrize(("size", "factor"), [(SIZE, 1), ((24, 24), 4 / 3)])
def test_above_the_whole_area_the_image_is_smaller_than_the_crop_and_padded(
    size: tuple[int, int], factor: float
) -> None:
    image, mask = shown((48, 64))
    shares, places = [], []
    for seed in range(200):
        cut, classes = crop(size=size, area=(2.0, 4.0), stretch=1.0)(image, mask, np.random.default_rng(seed))
        ignored = classes == IGNORE_INDEX
        assert not cut[ignored].any()
        shares.append((~ignored).mean())
        places.append(np.argwhere(~ignored)[0])
    assert 0.24 < min(shares) / factor < 0.28
    assert 0.46 < max(shares) / factor < 0.53
    assert np.ptp(places, axis=0).min() > 6  # anywhere in the crop


def test_the_same_numbers_give_the_same_crop() -> None:
    first, second, other = (crop()(*shown((48, 64)), np.random.default_rng(seed))[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_whole_images_are_not_cropped() -> None:
    assert RandomCrop.from_config(AugmentConfig(), (48, 64)) is None
    assert RandomCrop.from_config(AugmentConfig(crop=SIZE), (48, 64)) == crop()


@pytest.mark.parametrize(
    ("size", "box", "inside"),
    [
        ((48, 64), (24, 32), (slice(0, 24), slice(0, 32))),
        ((64, 48), (32, 32), (slice(0, 32), slice(4, 28))),
        ((10, 30), (32, 32), (slice(11, 22), slice(0, 32))),
        ((3, 1000), (8, 8), (slice(4, 5), slice(0, 8))),
    ],
)
def test_a_letterbox_shows_the_whole_image_in_the_middle(
    size: tuple[int, int], box: tuple[int, int], inside: tuple[slice, slice]
) -> None:
    image, mask = letterbox(*shown(size), box)
    assert (image.shape, mask.shape) == ((*box, 3), box)
    assert (mask[inside] != IGNORE_INDEX).all()
    assert np.count_nonzero(mask != IGNORE_INDEX) == mask[inside].size
    assert not image[mask == IGNORE_INDEX].any()
