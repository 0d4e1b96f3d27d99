"""What one image adds to the calibration of a data set: whole numbers alone, so that any order of adding is exact.

Sums of fractions are kept as whole numbers of 2^-28. Uncertainty is counted in 65,536 bins of a relative width of
1/256: a bin is the upper half of the float32, less its sign and rounded down, so that the bins are as fine near 0,
where most pixels are, as elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import DataError, ShapeError
from segnet.labels import IGNORE_INDEX

__all__ = ["BINS", "SMALLEST", "UNIT", "Counts", "bin_edges", "bin_of", "counts_of"]

BINS = 65_536
"""Of uncertainty."""

UNIT = 2.0**-28
"""What the whole numbers of sums are multiples of."""

SMALLEST = 1e-12
"""A smaller probability of the true class counts as this one, so that one pixel cannot make the NLL infinite."""

_SLACK = 1e-3  # of half precision

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counts:
    """Sums over the pixels whose truth is not ignored.

    Attributes:
        reliability: int64 (2, bins), by confidence in bins of equal width: pixels, and those that are right.
        confidences: whole number of ``UNIT`` per bin, sum of the confidence of its pixels.
        nll: whole number of ``UNIT``, sum of the negative logarithm of the true class's probability.
        brier: whole number of ``UNIT``, sum of squared distances of the probabilities from the truth's 0 and 1.
        pixels: int64 (2, ``BINS``), by uncertainty: those that are wrong, those that are right.
        patches: int64 (2, ``BINS``), the same of patches, by their mean uncertainty; right where more than half are.
        uncertainty: whole number of ``UNIT``, sum over the patches of their mean uncertainty.
    """

    reliability: Integers
    confidences: tuple[int, ...]
    nll: int
    brier: int
    pixels: Integers
    patches: Integers
    uncertainty: int

    def __add__(self, other: Counts) -> Counts:
        mine, theirs = vars(self), vars(other)
        confidences = tuple(a + b for a, b in zip(self.confidences, other.confidences, strict=True))
        rest = {f.name: mine[f.name] + theirs[f.name] for f in fields(self) if f.name != "confidences"}
        return Counts(confidences=confidences, **rest)

    @classmethod
    def none(cls, bins: int) -> Counts:
        """Of no image."""
        empty = np.zeros((2, BINS), dtype=np.int64)
        return cls(np.zeros((2, bins), dtype=np.int64), (0,) * bins, 0, 0, empty, empty, 0)


def counts_of(
    probabilities: NDArray[np.float32],
    uncertainty: NDArray[np.float32],
    truth: NDArray[np.uint8],
    *,
    bins: int,
    patch: int,
) -> Counts:
    """Of one image.

    Args:
        probabilities: float32 (classes, H, W), whose sum over the classes is 1.
        uncertainty: float32 (H, W), 0 or more.
        truth: uint8 (H, W), class index, or 255 (ignored).
        bins: of confidence.
        patch: side of the patches, which begin in the upper left corner.

    Raises:
        ShapeError: the sizes differ.
        DataError: the truth is not uint8 or holds a value that is no class, a probability is below 0 or above 1, or an
            uncertainty is negative, infinite or no number.
    """
    if not probabilities.shape[1:] == uncertainty.shape == truth.shape:
        raise ShapeError(
            f"probabilities {probabilities.shape}, uncertainty {uncertainty.shape} and truth {truth.shape} must have "
            "one height and width"
        )
    if truth.dtype != np.uint8:
        raise DataError(f"the truth is {truth.dtype}; give class numbers as uint8, in a NumPy array")
    counted = truth != IGNORE_INDEX
    true = truth[counted].astype(np.int64)
    if true.size and true.max() >= len(probabilities):
        raise DataError(f"the truth holds the value {true.max()}, but the classes are 0 to {len(probabilities) - 1}")
    if not np.all((uncertainty >= 0) & np.isfinite(uncertainty)):
        raise DataError("uncertainty must be 0 or more everywhere; some of it is negative, infinite or no number")
    chosen = probabilities[:, counted].astype(np.float64)  # (classes, pixels)
    if chosen.size and not (chosen.min() >= -_SLACK and chosen.max() <= 1 + _SLACK):
        raise DataError(
            f"probabilities are {chosen.min():.3g} to {chosen.max():.3g}; give 0 to 1, of logits their softmax"
        )
    confidence, right = chosen.max(axis=0), chosen.argmax(axis=0) == true
    of_truth = np.take_along_axis(chosen, true[None], axis=0)[0]
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    unsure = uncertainty[counted]
    means, mostly_right = _patches(uncertainty, counted, right, patch)
    return Counts(
        reliability=np.stack([np.bincount(place, minlength=bins), np.bincount(place[right], minlength=bins)]),
        confidences=tuple(_whole(confidence[place == index]) for index in range(bins)),
        nll=_whole(-np.log(np.maximum(of_truth, SMALLEST))),
        brier=_whole((chosen**2).sum(axis=0) - 2 * of_truth + 1),
        pixels=_histogram(unsure, right),
        patches=_histogram(means, mostly_right),
        uncertainty=_whole(means),
    )


def bin_of(uncertainty: NDArray[np.float32]) -> Integers:
    """The bin of each, 0 to ``BINS`` - 1."""
    bits = np.ascontiguousarray(uncertainty, dtype=np.float32).view(np.uint32)
    return ((bits & 0x7FFFFFFF) >> 15).astype(np.int64)


def bin_edges() -> NDArray[np.float32]:
    """The smallest uncertainty of each bin, (``BINS``,); those of the last 256 are no numbers."""
    return (np.arange(BINS, dtype=np.uint32) << 15).view(np.float32)


def _histogram(uncertainty: NDArray[np.float32], right: NDArray[np.bool_]) -> Integers:
    place = bin_of(uncertainty)
    return np.stack([np.bincount(place[right == good], minlength=BINS) for good in (False, True)])


def _patches(
    uncertainty: NDArray[np.float32], counted: NDArray[np.bool_], right: NDArray[np.bool_], side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Of every patch with a counted pixel: its mean uncertainty, and whether more than half of it is right."""
    hits = np.zeros(counted.shape)
    hits[counted] = right
    many, hits, unsure = (_sums(values, side) for values in (counted, hits, np.where(counted, uncertainty, 0)))
    some = many > 0
    means = (unsure[some] / many[some]).astype(np.float32)
    return means, hits[some] > many[some] / 2


def _sums(values: NDArray[Any], side: int) -> NDArray[np.float64]:
    """Over patches; those at the right and lower border may be smaller."""
    height, width = values.shape
    filled = np.pad(values.astype(np.float64), ((0, -height % side), (0, -width % side)))
    summed: NDArray[np.float64] = filled.reshape(filled.shape[0] // side, side, -1, side).sum(axis=(1, 3))
    return summed


def _whole(values: NDArray[Any]) -> int:
    """The sum as a whole number of ``UNIT``."""
    return int(np.rint(values.astype(np.float64) / UNIT).astype(np.int64).sum())
