"""Scores of a mask: formulas of one confusion matrix (classes x classes pixel counts).

Convention, as in the paper's script (SegNet-Tutorial, Scripts/compute_test_results.m): one confusion matrix is summed
over the whole data set; pixels whose truth is ignored count for nothing. Unlike there, a class that occurs neither
in truth nor in prediction is left out of the means instead of counting as 0; the script's means, over all classes,
are figures of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError, ShapeError
from segnet.labels import IGNORE_INDEX, ClassTable, require_table

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["CONVENTION", "Scores", "confusion", "finite_or_none", "score_mask"]

CONVENTION = (
    "one confusion matrix over the whole data set; ignored pixels out; classes that never occur out of the means"
)


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Pixel counts: row = true class, column = predicted class; pixels with ignored truth are left out.

    Args:
        predicted: integer tensor of any shape, 0 .. classes-1.
        truth: integer tensor of the same shape, 0 .. classes-1 or 255 (ignored).
        classes: how many classes.

    Returns:
        int64 (classes, classes), on the device of the inputs; matrices of parts add up.

    Raises:
        ShapeError: the shapes differ.
        DataError: the values are no tensors of integers, or a counted pixel holds one that is no class.
    """
    for kind, values in (("truth", truth), ("prediction", predicted)):
        if not hasattr(values, "is_floating_point"):
            raise DataError(
                f"the {kind} is of type {type(values).__name__}; give tensors, or arrays to segnet.score_mask"
            )
        if values.is_floating_point() or values.is_complex():
            raise DataError(
                f"the {kind} is {values.dtype}; give class numbers as integers, of logits their argmax(dim=1)"
            )
    _require_same_shape(predicted, truth)
    truth = truth.long()  # in int8, 255 would be -1
    counted = truth != IGNORE_INDEX
    rows, columns = truth[counted], predicted[counted].long()
    for kind, values in (("truth", rows), ("prediction", columns)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise DataError(
                f"the {kind} holds values from {int(values.min())} to {int(values.max())}, "
                f"but the classes are 0 to {classes - 1}"
            )
    pairs = rows * classes + columns
    return pairs.bincount(minlength=classes * classes).view(classes, classes)


def score_mask(predicted: NDArray[np.uint8], truth: NDArray[np.uint8], labels: ClassTable) -> Scores:
    """Scores of one mask. A prediction of 255 (no class) is wrong where the truth is a class.

    Args:
        predicted: uint8 of any shape, 0 .. classes-1, or 255 (ignored).
        truth: uint8 of the same shape, 0 .. classes-1, or 255 (ignored).
        labels: the class table.

    Raises:
        ShapeError: the shapes differ.
        DataError: the masks are no arrays of uint8, or a counted pixel holds a value that is no class.
    """
    if not isinstance(predicted, np.ndarray) or not isinstance(truth, np.ndarray):
        raise DataError(
            f"the prediction is of type {type(predicted).__name__} and the truth of {type(truth).__name__}; give "
            "arrays, or tensors to segnet.confusion"
        )
    _require_same_shape(predicted, truth)
    if predicted.dtype != np.uint8 or truth.dtype != np.uint8:
        raise DataError(f"the prediction is {predicted.dtype} and the truth {truth.dtype}; give both as uint8")
    every = np.bincount(truth.ravel().astype(np.intp) * 256 + predicted.ravel(), minlength=256 * 256).reshape(256, 256)
    classes, counted = labels.classes, every[:IGNORE_INDEX]
    for kind, times in (("truth", counted.sum(axis=1)), ("prediction", counted.sum(axis=0)[:IGNORE_INDEX])):
        if times[classes:].any():
            value = classes + int(np.flatnonzero(times[classes:])[0])
            raise DataError(
                f"the {kind} holds {value}, but the classes are 0 to {classes - 1} and the ignore value is "
                f"{IGNORE_INDEX}"
            )
    return Scores(counted[:classes, :classes].copy(), labels, counted[:classes, IGNORE_INDEX].copy())


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """What a confusion matrix says, in [0, 1]; NaN where a class never occurs. Scores of parts add up.

    Attributes:
        counts: int64 (classes, classes), rows true, columns predicted.
        labels: the class table.
        unlabeled: int64 (classes,), pixels of each true class for which no class was predicted; they are wrong. 0 if
            every pixel has one.

    Raises:
        ShapeError: the counts are of another number of classes.
        ModelError: the class table is of another type.
    """

    counts: NDArray[np.int64]
    labels: ClassTable
    unlabeled: NDArray[np.int64] | int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", np.asarray(self.counts))  # also what ``confusion`` returned, or a list
        require_table(self.labels)
        if self.counts.shape != (wanted := (self.labels.classes, self.labels.classes)):
            raise ShapeError(
                f"counts have the shape {self.counts.shape}, but the class table has {self.labels.classes} classes; "
                f"expected {wanted}"
            )

    def __repr__(self) -> str:
        names = {"mIoU": self.miou, "class average": self.class_average, "global accuracy": self.global_accuracy}
        return (
            f"Scores({', '.join(f'{name} {value:.3f}' for name, value in names.items())}, {self.pixels.sum():,} pixels)"
        )

    def __add__(self, other: Scores) -> Scores:
        """Scores of the pixels of both.

        Raises:
            ConfigError: the classes differ.
        """
        if self.labels != other.labels:
            raise ConfigError("scores of other classes cannot be added; count both with the same class table")
        return Scores(self.counts + other.counts, self.labels, self.unlabeled + other.unlabeled)

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Per class, its counted pixels in the truth: int64 (classes,)."""
        return np.asarray(self.counts.sum(axis=1) + self.unlabeled, dtype=np.int64)

    @property
    def unlabeled_pixels(self) -> int:
        """How many counted pixels have no predicted class."""
        return int(np.sum(self.unlabeled))

    @property
    def global_accuracy(self) -> float:
        """Share of counted pixels that are right (the paper's G)."""
        return float(_ratio([np.trace(self.counts)], [self.pixels.sum()])[0])

    @property
    def class_average(self) -> float:
        """Mean over classes of the share of a class's pixels that are right (the paper's C)."""
        return _mean(self.accuracy)

    @property
    def miou(self) -> float:
        """Mean intersection over union."""
        return _mean(self.iou)

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of the IoU in which each class weighs as much as it has pixels in the truth."""
        weighted = float((self.pixels * np.nan_to_num(self.iou)).sum())
        return float(_ratio([weighted], [self.pixels.sum()])[0])

    @property
    def class_average_of_all(self) -> float:
        """The class average as the authors' script has it: divided by the number of all classes, absent ones as 0."""
        return self._mean_of_all(self.accuracy)

    @property
    def miou_of_all(self) -> float:
        """The mean IoU as the authors' script has it: divided by the number of all classes, absent ones as 0."""
        return self._mean_of_all(self.iou)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Per class, share of its pixels that are right; NaN for a class absent from the truth."""
        return _ratio(np.diag(self.counts), self.pixels)

    @property
    def iou(self) -> NDArray[np.float64]:
        """Per class, intersection over union; NaN for a class absent from truth and prediction."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(axis=0) + self.pixels - hits)

    @property
    def absent(self) -> list[str]:
        """Names of the classes that occur neither in the truth nor in the prediction."""
        return [name for name, value in zip(self.labels.names, self.iou, strict=True) if np.isnan(value)]

    def to_dict(self) -> dict[str, Any]:
        """All scores in a form that JSON can hold; NaN becomes None."""
        table = zip(self.labels.names, self.iou, self.accuracy, self.pixels, strict=True)
        return {
            "convention": CONVENTION,
            "pixels": int(self.pixels.sum()),
            "unlabeled_pixels": self.unlabeled_pixels,
            "global_accuracy": finite_or_none(self.global_accuracy),
            "class_average": finite_or_none(self.class_average),
            "miou": finite_or_none(self.miou),
            "frequency_weighted_iou": finite_or_none(self.frequency_weighted_iou),
            "over_all_classes": {
                "class_average": finite_or_none(self.class_average_of_all),
                "miou": finite_or_none(self.miou_of_all),
            },
            "absent_classes": self.absent,
            "per_class": {
                name: {"iou": finite_or_none(iou), "accuracy": finite_or_none(accuracy), "pixels": int(pixels)}
                for name, iou, accuracy, pixels in table
            },
            "confusion": self.counts.tolist(),
        }

    def _mean_of_all(self, values: NDArray[np.float64]) -> float:
        return float(np.nan_to_num(values).mean()) if self.pixels.any() else float("nan")


def _require_same_shape(predicted: Tensor | NDArray[Any], truth: Tensor | NDArray[Any]) -> None:
    if predicted.shape != truth.shape:
        raise ShapeError(f"prediction {tuple(predicted.shape)} and truth {tuple(truth.shape)} must have one shape")


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part, dtype=np.float64) / np.asarray(whole, dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def finite_or_none(value: float) -> float | None:
    """The value for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
