"""Scores of a labelling: formulas of one classes x classes pixel count.

Convention, as in the paper's script (SegNet-Tutorial, Scripts/compute_test_results.m): one confusion matrix is summed
over the whole data set; pixels whose truth is void enter nothing. Other than there, a class that occurs neither in
truth nor in prediction is left out of the means instead of counting as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import DataError, ShapeError
from segnet.labels import VOID, Labels

__all__ = ["CONVENTION", "Scores", "confusion"]

CONVENTION = "one confusion matrix over the whole data set; void pixels out; classes that never occur out of the means"


def confusion(predicted: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Pixel counts: row = true class, column = predicted class; pixels of void truth are left out.

    Args:
        predicted: integer tensor of any shape, 0 .. classes-1.
        truth: integer tensor of the same shape, 0 .. classes-1 or void 255.
        classes: how many classes.

    Returns:
        int64 (classes, classes), on the device of the inputs; matrices of parts add up.

    Raises:
        ShapeError: the shapes differ.
        DataError: a counted pixel holds a value that is no class.
    """
    if predicted.shape != truth.shape:
        raise ShapeError(f"prediction {tuple(predicted.shape)} and truth {tuple(truth.shape)} must have one shape")
    counted = truth != VOID
    rows, columns = truth[counted].long(), predicted[counted].long()
    for kind, values in (("truth", rows), ("prediction", columns)):
        if values.numel() and not 0 <= int(values.min()) <= int(values.max()) < classes:
            raise DataError(
                f"the {kind} holds values from {int(values.min())} to {int(values.max())}, "
                f"but the classes are 0 to {classes - 1}"
            )
    pairs = rows * classes + columns
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


@dataclass(frozen=True, eq=False)
class Scores:
    """What a confusion matrix says, in [0, 1]; NaN where a class never occurs.

    Attributes:
        counts: int64 (classes, classes), rows true, columns predicted.
        labels: the class table.
    """

    counts: NDArray[np.int64]
    labels: Labels

    @property
    def global_accuracy(self) -> float:
        """Share of counted pixels that are right (the paper's G)."""
        return float(_ratio([np.trace(self.counts)], [self.counts.sum()])[0])

    @property
    def class_average(self) -> float:
        """Mean over classes of the share of a class's pixels that are right (the paper's C)."""
        return _mean(self.accuracy)

    @property
    def miou(self) -> float:
        """Mean intersection over union."""
        return _mean(self.iou)

    @property
    def accuracy(self) -> NDArray[np.float64]:
        """Per class, share of its pixels that are right; NaN for a class absent from the truth."""
        return _ratio(np.diag(self.counts), self.counts.sum(axis=1))

    @property
    def iou(self) -> NDArray[np.float64]:
        """Per class, intersection over union; NaN for a class absent from truth and prediction."""
        hits = np.diag(self.counts)
        return _ratio(hits, self.counts.sum(axis=0) + self.counts.sum(axis=1) - hits)

    @property
    def absent(self) -> list[str]:
        """Names of the classes that occur neither in the truth nor in the prediction."""
        return [name for name, value in zip(self.labels.names, self.iou, strict=True) if np.isnan(value)]

    def to_dict(self) -> dict[str, Any]:
        """All scores in a form that JSON can hold; NaN becomes None."""
        table = zip(self.labels.names, self.iou, self.accuracy, self.counts.sum(axis=1), strict=True)
        return {
            "convention": CONVENTION,
            "pixels": int(self.counts.sum()),
            "global_accuracy": _plain(self.global_accuracy),
            "class_average": _plain(self.class_average),
            "miou": _plain(self.miou),
            "absent_classes": self.absent,
            "per_class": {
                name: {"iou": _plain(iou), "accuracy": _plain(accuracy), "pixels": int(pixels)}
                for name, iou, accuracy, pixels in table
            },
            "confusion": self.counts.tolist(),
        }


def _ratio(part: Any, whole: Any) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part, dtype=np.float64) / np.asarray(whole, dtype=np.float64)


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
