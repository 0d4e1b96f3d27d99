from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from segnet.data.check.alignment import align
from segnet.data.check.hashes import closest_alike, differences, look_at, nearest_differences
from segnet.data.check.islands import component_areas
from segnet.data.synthetic.scenes import render_scene


def areas_by_flood(mask: np.ndarray) -> list[int]:
    left, areas = {(y, x) for y in range(mask.shape[0]) for x in range(mask.shape[1])}, []
    while left:
        waiting = [left.pop()]
        area = 0
        while waiting:
            y, x = waiting.pop()
            area += 1
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                if near in left and mask[near] == mask[y, x]:
                    left.remove(near)
                    waiting.append(near)
        areas.append(area)
    return sorted(areas)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (17, 23), (40, 31)])
@pytest.mark.parametrize("classes", [1, 2, 5])
def test_components_are_those_of_a_flood(shape: tuple[int, int], classes: int) -> None:
    mask = np.random.default_rng(classes).integers(0, classes, shape).astype(np.uint8)
    assert sorted(component_areas(mask).tolist()) == areas_by_flood(mask)


def test_a_spiral_is_one_component() -> None:
    mask = np.zeros((40, 40), dtype=np.uint8)
    y, x, length, turn = 0, 0, 39, [(0, 1), (1, 0), (0, -1), (-1, 0)]
    for step in range(30):
        for _ in range(max(0, length)):
            mask[y, x] = 1
            y, x = y + turn[step % 4][0], x + turn[step % 4][1]
        length -= 2 if step % 2 else 0
    assert int((mask == 1).sum()) in component_areas(mask)


def test_a_resized_and_compressed_copy_looks_alike_and_other_scenes_do_not() -> None:
    grays = [render_scene(seed, size=(96, 128))[0].mean(axis=2).astype(np.uint8) for seed in range(6)]
    copy = np.asarray(Image.fromarray(grays[2]).resize((90, 70)))
    looks = [look_at(gray) for gray in [*grays, copy]]
    assert closest_alike(looks, looks, before=True).tolist() == [-1] * 6 + [2]
    assert closest_alike(looks[:4], looks[6:]).tolist() == [-1, -1, 0, -1]
    assert closest_alike(looks, []).tolist() == [-1] * 7
    np.testing.assert_array_equal(nearest_differences(looks[6:], looks[:6]), differences(looks[6:], looks[2:3]))


def test_flat_images_of_different_brightness_are_not_alike() -> None:
    looks = [look_at(np.full((20, 30), gray, dtype=np.uint8)) for gray in (10, 11, 200)]
    assert closest_alike(looks, looks, before=True).tolist() == [-1, 0, -1]


def test_the_fit_finds_shift_and_flip() -> None:
    image, mask = render_scene(3, size=(96, 128))
    gray = image.mean(axis=2).astype(np.uint8)
    own = align(gray, mask)
    shifted, flipped = align(gray, np.roll(mask, (-5, 7), axis=(0, 1))), align(gray, mask[:, ::-1])
    assert own is not None
    assert shifted is not None
    assert flipped is not None
    assert own.fit == own.best
    assert own.shift_xy == (0, 0)
    assert shifted.shift_xy == (-7, 5)
    assert flipped.flips[0] == pytest.approx(own.fit, abs=0.3)
    assert flipped.fit < 0.5 * own.fit


@pytest.mark.parametrize("shape", [(1, 200), (24, 200), (200, 200)])
def test_no_fit_is_given_where_there_is_nothing_to_compare(shape: tuple[int, int]) -> None:
    assert align(np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)) is None
