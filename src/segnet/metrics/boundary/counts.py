"""Boundary points of one image: how many there are, and how many have a partner on the other side.

Source: Csurka et al., "What is a good evaluation measure for semantic segmentation?", BMVC 2013, in the form of the
SegNet paper, section 3.3, and of its script, Scripts/computeBFmeasure.m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, ShapeError
from segnet.labels import IGNORE_INDEX
from segnet.metrics.boundary.outlines import Bits, Mask, bits_of, blocks, each_bit, groups, outlines, reach_of, spread
from segnet.system.field_types import check_types
from segnet.system.packages import importing

__all__ = ["BoundaryConfig", "boundary_counts"]


@dataclass(frozen=True, kw_only=True)
class BoundaryConfig:
    """What counts as a hit.

    Attributes:
        tolerance: how far a point may be off, as a share of the image's diagonal. Paper, section 3.3: 0.75 %.
        ignored_regions: ``border`` is the authors' script: true outlines run along ignored regions as along a
            class, and predictions inside them count. ``ignored`` leaves out points that touch a truly ignored region,
            on both sides; they may still be partners.
        one_to_one: whether each point is the partner of one other at most, as in the authors' script, or of all that
            are near enough. Needs SciPy and takes some thirty times as long.
        radii: of the bands along true borders in which the trimap mIoU counts, in pixels.

    Raises:
        ConfigError: the tolerance or a radius is negative or no number, the tolerance is above 1, or ``ignored`` is
            combined with ``one_to_one``.
    """

    tolerance: float = 0.0075
    ignored_regions: Literal["border", "ignored"] = "border"
    one_to_one: bool = False
    radii: tuple[float, ...] = (2, 4, 8, 16)

    def __post_init__(self) -> None:
        check_types(self)
        for value in (self.tolerance, *self.radii):
            if not 0 <= value < math.inf:
                raise ConfigError(f"a tolerance or radius of {value} is not possible; give 0 or more")
        if self.tolerance > 1:
            raise ConfigError(
                f"a tolerance of {self.tolerance} is not possible; give it as a share of the image's diagonal, such as "
                "0.0075, not in pixels"
            )
        if self.one_to_one and self.ignored_regions == "ignored":
            raise ConfigError(
                "one_to_one has no single answer with ignored_regions='ignored'; use it with ignored_regions='border'"
            )


def boundary_counts(
    predicted: Mask, truth: Mask, classes: int, config: BoundaryConfig = BoundaryConfig()
) -> NDArray[np.int64]:
    """Count the boundary points of each class in one image.

    Args:
        predicted: uint8 (H, W), 0 .. classes-1, or 255 where nothing is predicted.
        truth: uint8 (H, W), 0 .. classes-1, or 255 (ignored).
        classes: how many classes.
        config: see ``BoundaryConfig``.

    Returns:
        int64 (classes, 4): predicted points with a true one within the tolerance, predicted points, true points with a
        predicted one within the tolerance, true points.

    Raises:
        ShapeError: the two are not (H, W) of one size.
        DataError: a mask holds a value that is no class.
        MissingPackageError: matching is wanted and SciPy is not installed.
    """
    _check(predicted, truth, classes)
    radius = config.tolerance * math.hypot(*truth.shape)
    hits_of = _one_to_one if config.one_to_one else _near
    counted = _away_from_ignored(truth) if config.ignored_regions == "ignored" else np.ones(truth.shape, dtype=bool)
    parts = []
    for values in groups(range(classes)):
        found, true = outlines(bits_of(predicted, values)), outlines(bits_of(truth, values))
        right, met = hits_of(found, true, radius)
        parts.append(np.stack([_totals(bits[counted], len(values)) for bits in (right, found, met, true)], axis=1))
    return np.concatenate(parts)


def _check(predicted: Mask, truth: Mask, classes: int) -> None:
    if predicted.shape != truth.shape or truth.ndim != 2:
        raise ShapeError(f"prediction {predicted.shape} and truth {truth.shape} must be (height, width) of one size")
    for kind, mask in (("prediction", predicted), ("truth", truth)):
        if mask.dtype != np.uint8:
            raise DataError(f"the {kind} is {mask.dtype}; give class numbers as uint8, in a NumPy array")
        wrong = mask[(mask >= classes) & (mask != IGNORE_INDEX)]
        if wrong.size:
            raise DataError(
                f"the {kind} holds {wrong.max()}, but the classes are 0 to {classes - 1} and the ignore value is "
                f"{IGNORE_INDEX}"
            )


def _away_from_ignored(truth: Mask) -> NDArray[np.bool_]:
    somewhere, _ = blocks(bits_of(truth, [IGNORE_INDEX]))
    return np.equal(somewhere, 0)


def _totals(bits: Bits, many: int) -> NDArray[np.int64]:
    """How often each of the ``many`` bits is set."""
    sets = bits[bits != 0]
    return np.array([np.count_nonzero(sets & bit) for bit in each_bit(bits.dtype, many)], dtype=np.int64)


def _near(found: Bits, true: Bits, radius: float) -> tuple[Bits, Bits]:
    """Points of either side with any point of the same class on the other within the radius."""
    return found & spread(true, radius), true & spread(found, radius)


def _one_to_one(found: Bits, true: Bits, radius: float) -> tuple[Bits, Bits]:
    """Points of either side that have a partner, if as many as possible are given one of their own."""
    right, met = np.zeros_like(found), np.zeros_like(true)
    for bit in each_bit(found.dtype, 8 * found.itemsize):
        points, others = np.argwhere(found & bit), np.argwhere(true & bit)
        if len(points) and len(others):
            partner = _partners(points, others, radius)
            right[tuple(points[partner >= 0].T)] |= bit
            met[tuple(others[partner[partner >= 0]].T)] |= bit
    return right, met


def _partners(points: NDArray[np.intp], others: NDArray[np.intp], radius: float) -> NDArray[np.intp]:
    """For each of the points the index of its partner, or -1: as many pairs as possible, and those as near as possible.

    So does ``correspondPixels`` of the Berkeley benchmark, where to be alone costs 100 times the largest distance.
    """
    with importing("scipy", "matching"):
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import min_weight_full_bipartite_matching
        from scipy.spatial import KDTree
    reach = math.sqrt(reach_of(radius) + 0.5)  # squared distances are whole numbers
    near = KDTree(points).sparse_distance_matrix(KDTree(others), reach, output_type="coo_matrix")
    # Each point may also stay with itself, at more than all distances together; 1 is added since 0 means no pair.
    own = np.arange(len(points))
    alone = np.full(len(points), (reach + 1) * len(points))
    rows, columns = np.concatenate([near.row, own]), np.concatenate([near.col, own + len(others)])
    shape = (len(points), len(others) + len(points))
    costs = coo_array((np.concatenate([near.data + 1, alone]), (rows, columns)), shape=shape).tocsr()
    _, partner = min_weight_full_bipartite_matching(costs)
    return np.where(partner < len(others), partner, -1)
