"""Boundary counts of one image, against loops and by hand."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

import boundary_oracle as by_loops
from segnet.errors import ConfigError, DataError, MissingPackageError, ShapeError
from segnet.labels import IGNORE_INDEX
from segnet.metrics.boundary.counts import BoundaryConfig, boundary_counts
from segnet.metrics.boundary.outlines import bits_of, outlines

IGNORED = BoundaryConfig(ignored_regions="ignored")
ONE_TO_ONE = BoundaryConfig(one_to_one=True)

sizes = st.tuples(st.integers(1, 8), st.integers(1, 8))
pixels = st.sampled_from([0, 1, 2, IGNORE_INDEX])
pairs = sizes.flatmap(lambda size: st.tuples(*[arrays(np.uint8, size, elements=pixels)] * 2))


def square(shift: int, *, size: tuple[int, int] = (360, 480)) -> np.ndarray:
    """Class 1, 40 pixels wide, on class 0."""
    mask = np.zeros(size, dtype=np.uint8)
    mask[100:140, 100 + shift : 140 + shift] = 1
    return mask


def patches(seed: int, values: list[int], cells: tuple[int, int] = (5, 6), side: int = 7) -> np.ndarray:
    found = np.random.default_rng(seed).choice(values, cells)
    return np.kron(found, np.ones((side, side))).astype(np.uint8)


@given(pairs, st.floats(0, 0.5), st.sampled_from(["border", "ignored"]))
@settings(max_examples=100, deadline=None)
def test_counts_equal_loops_over_all_pairs_of_points(masks, tolerance, void):
    predicted, truth = masks
    radius = tolerance * float(np.hypot(*truth.shape))
    expected = by_loops.counts(predicted, truth, 3, radius, void_ignored=void == "ignored")
    assert (
        boundary_counts(predicted, truth, 3, BoundaryConfig(tolerance=tolerance, ignored_regions=void)).tolist()
        == expected
    )


@given(pairs, st.floats(0, 0.5))
@settings(max_examples=60, deadline=None)
def test_matching_finds_as_many_pairs_as_a_search_by_hand(masks, tolerance):
    predicted, truth = masks
    counts = boundary_counts(predicted, truth, 3, BoundaryConfig(tolerance=tolerance, one_to_one=True))
    for index, row in enumerate(counts.tolist()):
        found, true = by_loops.outline(predicted, index), by_loops.outline(truth, index)
        pairs = by_loops.most_pairs(found, true, tolerance * float(np.hypot(*truth.shape)))
        assert row == [pairs, len(found), pairs, len(true)]


@given(pairs, st.sampled_from([BoundaryConfig(tolerance=0.2), BoundaryConfig(tolerance=0.2, one_to_one=True)]))
@settings(max_examples=60, deadline=None)
def test_to_swap_prediction_and_truth_swaps_the_sides_and_to_transpose_changes_nothing(masks, config):
    predicted, truth = masks
    counts = boundary_counts(predicted, truth, 3, config)
    np.testing.assert_array_equal(boundary_counts(truth, predicted, 3, config), counts[:, [2, 3, 0, 1]])
    np.testing.assert_array_equal(boundary_counts(predicted.T.copy(), truth.T.copy(), 3, config), counts)


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_one_to_one_never_finds_more_and_a_wider_tolerance_never_less(masks):
    free, wide = (boundary_counts(*masks, 3, BoundaryConfig(tolerance=tolerance)) for tolerance in (0.15, 0.3))
    alone = boundary_counts(*masks, 3, BoundaryConfig(tolerance=0.15, one_to_one=True))
    assert (alone <= free).all()
    assert (free <= wide).all()


def test_counts_equal_distance_transforms_at_the_published_size():
    predicted = np.roll(patches(0, [0, 1, 2], (12, 16), 30), (3, 2), (0, 1))
    truth = patches(1, [0, 1, 2, IGNORE_INDEX], (12, 16), 30)
    for index, row in enumerate(boundary_counts(predicted, truth, 3).tolist()):
        found, true = (outlines(bits_of(mask, [index])) == 1 for mask in (predicted, truth))
        hits = (found & (distance_transform_edt(~true) <= 4.5), true & (distance_transform_edt(~found) <= 4.5))
        assert row == [hits[0].sum(), found.sum(), hits[1].sum(), true.sum()]


@pytest.mark.parametrize("config", [BoundaryConfig(), IGNORED, ONE_TO_ONE])
@pytest.mark.parametrize("shift", [0, 4, -4])
def test_a_square_that_is_4_pixels_off_is_found_whole(shift: int, config: BoundaryConfig):
    assert boundary_counts(square(shift), square(0), 2, config).tolist() == [[160, 160, 160, 160]] * 2


def test_of_a_square_that_is_5_pixels_off_the_ends_of_its_horizontal_lines_are_found():
    # Its outline is a ring of 41 x 41 points. The far upright line, 41 points, is missed, and of the near one all but
    # the 5 at either end, which the horizontal lines come close to.
    assert boundary_counts(square(5), square(0), 2).tolist() == [[160 - 41 - 31, 160, 160 - 41 - 31, 160]] * 2


def test_a_tolerance_of_exactly_3_pixels_takes_3():
    assert 0.0075 * np.hypot(240, 320) == pytest.approx(3)
    inside = boundary_counts(square(3, size=(240, 320)), square(0, size=(240, 320)), 2)
    beyond = boundary_counts(square(4, size=(240, 320)), square(0, size=(240, 320)), 2)
    assert inside[1].tolist() == [160, 160, 160, 160]
    assert beyond[1, 0] < 160


def test_one_point_serves_many_unless_matched():
    truth, predicted = np.zeros((9, 400), dtype=np.uint8), np.zeros((9, 400), dtype=np.uint8)
    truth[:, 200:] = 1
    predicted[:, 198:202] = 1  # outlines 2 to the left and 2 to the right; tolerance 3
    assert boundary_counts(predicted, truth, 2).tolist() == [[18, 18, 9, 9]] * 2
    assert boundary_counts(predicted, truth, 2, ONE_TO_ONE).tolist() == [[9, 18, 9, 9]] * 2


def test_absent_classes_and_one_that_fills_the_image_have_no_points():
    assert boundary_counts(np.full((20, 30), 1, np.uint8), np.full((20, 30), 1, np.uint8), 3).tolist() == [[0] * 4] * 3


def test_truth_towards_void_is_a_boundary_and_prediction_inside_void_counts_unless_ignored():
    truth = np.full((100, 400), IGNORE_INDEX, dtype=np.uint8)
    truth[:, :100] = 0
    predicted = np.zeros((100, 400), dtype=np.uint8)
    predicted[:, 300:] = 1
    assert boundary_counts(predicted, truth, 2).tolist() == [[0, 100, 0, 100], [0, 100, 0, 0]]
    assert boundary_counts(predicted, truth, 2, IGNORED).tolist() == [[0] * 4] * 2


def test_with_void_ignored_a_line_beside_void_is_still_a_partner():
    truth = np.full((100, 400), 1, dtype=np.uint8)
    truth[:, :100] = 0
    truth[:, 100:102] = IGNORE_INDEX
    predicted = np.full((100, 400), 1, dtype=np.uint8)
    predicted[:, :97] = 0
    assert boundary_counts(predicted, truth, 2, IGNORED).tolist() == [[100, 100, 0, 0], [0, 100, 0, 0]]


def test_more_classes_than_bits_are_counted_in_groups():
    predicted, truth = patches(0, list(range(150))), patches(1, [*range(150), IGNORE_INDEX])
    counts = boundary_counts(predicted, truth, 150, BoundaryConfig(tolerance=0.2))
    assert counts.tolist() == by_loops.counts(
        predicted, truth, 150, 0.2 * float(np.hypot(*truth.shape)), void_ignored=False
    )


def test_255_classes_leave_void_out():
    truth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (boundary_counts(truth, truth, 255)[:, [0, 2]] == boundary_counts(truth, truth, 255)[:, [1, 3]]).all()


@pytest.mark.parametrize(("predicted", "truth"), [((3, 4), (4, 3)), ((1, 3, 4), (1, 3, 4)), ((12,), (12,))])
def test_other_shapes_are_refused(predicted: tuple[int, ...], truth: tuple[int, ...]):
    with pytest.raises(ShapeError, match="must be \\(height, width\\) of one size"):
        boundary_counts(np.zeros(predicted, np.uint8), np.zeros(truth, np.uint8), 2)


@pytest.mark.parametrize(("predicted", "truth", "kind"), [(2, 0, "prediction"), (0, 7, "truth")])
def test_a_value_that_is_no_class_is_refused(predicted: int, truth: int, kind: str):
    with pytest.raises(
        DataError, match=f"the {kind} holds [27], but the classes are 0 to 1 and the ignore value is 255"
    ):
        boundary_counts(np.full((3, 3), predicted, np.uint8), np.full((3, 3), truth, np.uint8), 2)


@pytest.mark.parametrize("kinds", [(np.int64, np.uint8), (np.uint8, np.float32)])
def test_other_numbers_than_bytes_are_refused(kinds: tuple[type, type]):
    with pytest.raises(DataError, match="give class numbers as uint8"):
        boundary_counts(np.zeros((3, 3), kinds[0]), np.zeros((3, 3), kinds[1]), 2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"tolerance": -0.1}, "tolerance or radius of -0.1 is not possible"),
        ({"tolerance": float("nan")}, "tolerance=nan is not possible: a finite number wanted"),
        ({"radii": (2, float("inf"))}, r"radii=\(2, inf\) is not possible: a list, each item a finite number, wanted"),
        ({"radii": 3}, "radii=3 is not possible: a list, each item a finite number, wanted"),
        ({"radii": [2, -4]}, "tolerance or radius of -4 is not possible"),
        ({"tolerance": 3}, "tolerance of 3 is not possible; give it as a share of the image.s diagonal"),
        ({"ignored_regions": "class"}, "ignored_regions='class' is not possible: one of 'border', 'ignored' wanted"),
        (
            {"ignored_regions": "ignored", "one_to_one": True},
            "one_to_one has no single answer with ignored_regions='ignored'",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict, told: str):
    with pytest.raises(ConfigError, match=told):
        BoundaryConfig(**settings)


def test_matching_without_scipy_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "scipy.spatial", None)
    with pytest.raises(MissingPackageError, match="segnet\\[matching\\]"):
        boundary_counts(square(0), square(0), 2, ONE_TO_ONE)
