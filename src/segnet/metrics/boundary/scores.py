"""Boundary F1 of a data set, and pixel scores near true borders.

The F1 of a class in an image is the harmonic mean of precision (predicted boundary points near a true one / predicted)
and recall (true points near a predicted one / true). An image's BF is the mean over its classes, a data set's the mean
over its images. Which classes are an image's is where paper and script differ:

paper   those with true boundary points in it (paper, section 3.3)
script  those with true or predicted ones, so that a class that is seen by mistake counts as 0 (computeBFmeasure.m)

An image without such a class is left out and reported; the script counts it as 0.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.labels import IGNORE_INDEX, ClassTable, require_table
from segnet.metrics.boundary.counts import BoundaryConfig, boundary_counts
from segnet.metrics.boundary.outlines import Mask, near_border
from segnet.metrics.confusion import Scores, finite_or_none
from segnet.system.field_types import require_kind

__all__ = ["CONVENTIONS", "BoundaryMeter", "BoundaryScores", "Convention"]

Convention = Literal["paper", "script"]
"""Which classes of an image its BF is the mean of."""

CONVENTIONS: tuple[Convention, ...] = ("paper", "script")

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoundaryScores:
    """What the boundary points of many images say. Scores of parts add up, in any order, to the same figures.

    Attributes:
        labels: the class table.
        config: how the points were counted.
        names: of the images.
        counts: int64 (images, classes, 4), see ``boundary_counts``.
        near: int64 (radii, classes, classes), confusion within each of ``config.radii`` of a true border.
        unlabeled: int64 (radii, classes), pixels there for which no class was predicted; 0 if every pixel has one.
    """

    labels: ClassTable
    config: BoundaryConfig
    names: tuple[str, ...]
    counts: NDArray[np.int64]
    near: NDArray[np.int64]
    unlabeled: NDArray[np.int64] | int = 0

    def __add__(self, other: BoundaryScores) -> BoundaryScores:
        """Scores of the images of both.

        Raises:
            ConfigError: classes or settings differ.
        """
        if (self.labels, self.config) != (other.labels, other.config):
            raise ConfigError("boundary scores of other classes or settings cannot be added; count both the same way")
        return BoundaryScores(
            self.labels,
            self.config,
            self.names + other.names,
            np.concatenate([self.counts, other.counts]),
            self.near + other.near,
            self.unlabeled + other.unlabeled,
        )

    def bf(self, convention: Convention = "paper") -> float:
        """The data set's BF: mean over the images of the mean over their classes; NaN without any."""
        return _mean(self.image_bf(convention))

    def image_bf(self, convention: Convention = "paper") -> Values:
        """(images,), each the mean over its classes; NaN for an image without a class that counts."""
        return np.array([_mean(row) for row in self.f1(convention)])

    def class_bf(self, convention: Convention = "paper") -> Values:
        """(classes,), each the mean over the images in which the class counts."""
        return _column_means(self.f1(convention))

    def f1(self, convention: Convention = "paper") -> Values:
        """(images, classes), 0 without a hit; NaN where the class does not count.

        Raises:
            ConfigError: the convention is not known.
        """
        if convention not in CONVENTIONS:
            raise ConfigError(f"convention {convention!r} is not known; give one of {', '.join(CONVENTIONS)}")
        _, predicted, _, true = np.moveaxis(self.counts, -1, 0)
        precision, recall = self._precision_and_recall()
        harmonic = 2 * precision * recall / np.where(precision + recall > 0, precision + recall, 1)
        counting = (true > 0) | (predicted > 0) if convention == "script" else true > 0
        return np.where(counting, np.where((true > 0) & (predicted > 0), harmonic, 0), np.nan)

    @property
    def precision(self) -> Values:
        """(classes,), mean over the images in which the class has predicted boundary points."""
        return _column_means(self._precision_and_recall()[0])

    @property
    def recall(self) -> Values:
        """(classes,), mean over the images in which the class has true boundary points."""
        return _column_means(self._precision_and_recall()[1])

    @property
    def trimap(self) -> list[Scores]:
        """Pixel scores within each of ``config.radii`` of a true border."""
        missed = np.broadcast_to(self.unlabeled, self.near.shape[:2])
        return [Scores(counts, self.labels, nowhere) for counts, nowhere in zip(self.near, missed, strict=True)]

    def left_out(self, convention: Convention = "paper") -> list[str]:
        """Names of the images without a class that counts, sorted."""
        unknown = np.isnan(self.image_bf(convention))
        return sorted(name for name, missing in zip(self.names, unknown, strict=True) if missing)

    def to_dict(self) -> dict[str, Any]:
        """All scores in a form that JSON can hold; NaN becomes None."""
        by_class = {f"bf_{convention}": self.class_bf(convention) for convention in CONVENTIONS}
        by_class |= {"precision": self.precision, "recall": self.recall}
        images = (self.counts[..., 3] > 0).sum(axis=0)
        return {
            "settings": asdict(self.config),
            "images": len(self.names),
            **{f"bf_{convention}": finite_or_none(self.bf(convention)) for convention in CONVENTIONS},
            **{f"left_out_{convention}": self.left_out(convention) for convention in CONVENTIONS},
            "per_class": {
                name: {**{key: finite_or_none(values[index]) for key, values in by_class.items()}, "images": int(many)}
                for index, (name, many) in enumerate(zip(self.labels.names, images, strict=True))
            },
            "trimap": [
                {"radius": radius, "pixels": int(scores.pixels.sum()), "miou": finite_or_none(scores.miou)}
                for radius, scores in zip(self.config.radii, self.trimap, strict=True)
            ],
        }

    def _precision_and_recall(self) -> tuple[Values, Values]:
        hits, predicted, found, true = np.moveaxis(self.counts, -1, 0)
        with np.errstate(invalid="ignore"):
            return hits / predicted, found / true


class BoundaryMeter:
    """Counts image by image; give ``add`` to ``evaluate`` as its ``observe``.

    Args:
        labels: the class table.
        config: see ``BoundaryConfig``.
    """

    def __init__(self, labels: ClassTable, *, config: BoundaryConfig = BoundaryConfig()) -> None:  # noqa: B008
        require_table(labels)
        require_kind("config", config, BoundaryConfig, example="tolerance=0.01")
        self.labels = labels
        self.config = config
        self._names: list[str] = []
        self._counts: list[NDArray[np.int64]] = []
        # The last column: pixels for which no class was predicted.
        self._near = np.zeros((len(config.radii), labels.classes, labels.classes + 1), dtype=np.int64)

    def add(self, name: str, predicted: Mask, truth: Mask) -> None:
        """Count one image.

        Args:
            name: of the image.
            predicted: uint8 (H, W), 0 .. classes-1, or 255 (no class), which is wrong where the truth is a class.
            truth: uint8 (H, W), 0 .. classes-1, or 255 (ignored).

        Raises:
            ShapeError, DataError, MissingPackageError: see ``boundary_counts``.
        """
        classes = self.labels.classes
        counts = boundary_counts(predicted, truth, classes, self.config)
        near = [_confusion_near_border(predicted, truth, radius, classes) for radius in self.config.radii]
        self._near = self._near + np.array(near, dtype=np.int64).reshape(self._near.shape)
        self._names.append(name)
        self._counts.append(counts)

    @property
    def scores(self) -> BoundaryScores:
        """Of the images so far."""
        counts = np.array(self._counts, dtype=np.int64).reshape(-1, self.labels.classes, 4)
        near, unlabeled = self._near[..., :-1], self._near[..., -1]
        return BoundaryScores(self.labels, self.config, tuple(self._names), counts, near, unlabeled)


def _confusion_near_border(predicted: Mask, truth: Mask, radius: float, classes: int) -> NDArray[np.int64]:
    """(classes, classes + 1), the last column for pixels without a predicted class."""
    counted = near_border(truth, radius) & (truth != IGNORE_INDEX)
    pairs = truth[counted].astype(np.int64) * (classes + 1) + np.minimum(predicted[counted], classes)
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def _column_means(values: Values) -> Values:
    return np.array([_mean(column) for column in values.T])


def _mean(values: Values) -> float:
    """Of those that are known. The sum is rounded once, so that the order of the images changes nothing."""
    known = values[~np.isnan(values)]
    return math.fsum(known) / known.size if known.size else math.nan
