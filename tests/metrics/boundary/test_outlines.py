"""Outlines and discs, against loops and SciPy's distance transform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

import boundary_oracle as by_loops
from segnet.metrics.boundary.outlines import bits_of, groups, near_border, outlines, spread


def random_mask(seed: int, shape: tuple[int, int], values: list[int]) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, shape).astype(np.uint8)


def drawn(image: str) -> np.ndarray:
    """Lines of digits as a mask."""
    return np.array([[int(digit) for digit in line] for line in image.split()], dtype=np.uint8)


def places(bits: np.ndarray, bit: int) -> list[tuple[int, int]]:
    return [(int(row), int(column)) for row, column in np.argwhere(bits & bit)]


def test_the_outline_of_a_square_is_a_ring_of_corners():
    bits = outlines(bits_of(drawn("0000 0110 0110 0000"), [0, 1]))
    ring = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert places(bits, 1) == places(bits, 2) == ring


def test_lines_that_meet_the_lower_and_right_rim_end_on_it_as_with_seg2bdry():
    assert places(outlines(bits_of(drawn("001 001 001"), [1])), 1) == [(0, 1), (1, 1), (2, 1)]
    assert places(outlines(bits_of(drawn("000 000 111"), [1])), 1) == [(1, 0), (1, 1), (1, 2)]


def test_a_class_that_fills_the_image_and_one_that_is_absent_have_no_outline():
    assert not outlines(bits_of(drawn("11 11"), [0, 1])).any()


def test_lines_between_two_other_classes_are_of_no_concern():
    assert places(outlines(bits_of(drawn("1223 1223"), [3])), 1) == [(0, 2), (1, 2)]


@pytest.mark.parametrize("seed", range(5))
def test_outlines_equal_loops(seed: int):
    mask = random_mask(seed, (9, 7), [0, 1, 2, 255])
    bits = outlines(bits_of(mask, [0, 1, 2]))
    for index in range(3):
        assert places(bits, 1 << index) == by_loops.outline(mask, index)


@pytest.mark.parametrize("radius", [0, 0.9, 1, 1.5, 2, 3, 4.5, 5, 7.3, 40])
def test_spread_equals_a_distance_transform_per_class(radius: float):
    bits = np.where(np.random.default_rng(1).random((30, 43)) < 0.01, 1 << np.arange(43) % 11, 0).astype(np.uint16)
    found = spread(bits, radius)
    for index in range(11):
        here = (bits >> index) & 1 == 1
        expected = distance_transform_edt(~here) <= radius if here.any() else here
        np.testing.assert_array_equal((found >> index) & 1 == 1, expected)


def test_a_radius_that_is_a_whole_number_but_for_rounding_reaches_that_far():
    line = np.array([[1, 0, 0, 0, 0]], dtype=np.uint8)
    assert spread(line, 3 - 1e-15).tolist() == [[1, 1, 1, 1, 0]]


@pytest.mark.parametrize(("many", "dtype"), [(1, "uint8"), (8, "uint8"), (9, "uint16"), (33, "uint64"), (64, "uint64")])
def test_bits_take_the_smallest_number_that_holds_them(many: int, dtype: str):
    mask = np.arange(many, dtype=np.uint8)[None]
    bits = bits_of(mask, range(many))
    assert bits.dtype == dtype
    assert [int(value) for value in bits[0]] == [1 << index for index in range(many)]


def test_groups_hold_64_values_at_most():
    assert [list(group) for group in groups(range(150))] == [
        list(range(64)), list(range(64, 128)), list(range(128, 150)),
    ]  # fmt: skip


@pytest.mark.parametrize("radius", [0, 1, 1.5, 2, 3.2])
@pytest.mark.parametrize("values", [[0, 1], [0, 255], [0, 3, 7, 255], [5]])
def test_near_border_equals_loops(radius: float, values: list[int]):
    mask = np.kron(random_mask(len(values), (3, 3), values), np.ones((3, 4))).astype(np.uint8)
    np.testing.assert_array_equal(near_border(mask, radius), by_loops.near_border(mask, radius))


def test_near_border_of_more_values_than_bits():
    mask = np.kron(np.arange(130).reshape(10, 13), np.ones((2, 2))).astype(np.uint8)
    np.testing.assert_array_equal(near_border(mask, 1), by_loops.near_border(mask, 1))


@pytest.mark.parametrize("radius", [1, 2, 4, 8])
def test_a_straight_border_has_as_many_pixels_on_either_side_as_the_radius(radius: int):
    mask = np.repeat([[0] * 20 + [1] * 20], 3, axis=0).astype(np.uint8)
    assert np.flatnonzero(near_border(mask, radius)[1]).tolist() == list(range(20 - radius, 20 + radius))
