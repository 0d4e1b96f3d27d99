"""Scores of a predictor on labeled images: classes, boundaries, calibration, and robustness to corruptions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.dataset import SegmentationDataset
from segnet.inference.evaluation import evaluate
from segnet.inference.predictor import Predictor
from segnet.metrics.boundary.counts import BoundaryConfig
from segnet.metrics.boundary.scores import BoundaryMeter, BoundaryScores
from segnet.metrics.calibration.scores import CalibrationMeter, CalibrationScores
from segnet.metrics.confusion import Scores

__all__ = ["DatasetScores", "evaluate_predictor"]


@dataclass(frozen=True, kw_only=True)
class DatasetScores:
    """Scores of a predictor on a data set.

    Attributes:
        images: number of images.
        scores: IoU and accuracy of the classes.
        boundary: boundary scores; None if they were not measured.
        calibration: calibration of the probabilities; None if it was not measured.
        resized: number of images that were predicted at another size than their own.
        tiled: number of images that were predicted in tiles.
    """

    images: int
    scores: Scores
    boundary: BoundaryScores | None
    calibration: CalibrationScores | None
    resized: int
    tiled: int

    @property
    def means(self) -> dict[str, float]:
        """Global accuracy, class average and mIoU, and the boundary F1 if it was measured."""
        means = {name: getattr(self.scores, name) for name in ("global_accuracy", "class_average", "miou")}
        return means if self.boundary is None else {**means, "boundary_f1": self.boundary.bf("paper")}

    @property
    def size_counts(self) -> dict[str, int]:
        """``resized`` and ``tiled``; empty if all images were predicted at their own size and in one piece."""
        return {"resized": self.resized, "tiled": self.tiled} if self.resized or self.tiled else {}

    def to_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        table = self.scores.to_dict()
        return table if self.boundary is None else {**table, "boundary": self.boundary.to_dict()}


def evaluate_predictor(
    predictor: Predictor,
    dataset: SegmentationDataset,
    *,
    boundary: BoundaryConfig | None = None,
    calibration: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DatasetScores:
    """Predict every image as ``segnet predict`` does, and score the masks at the images' own size.

    Args:
        predictor: the model.
        dataset: images and masks.
        boundary: how boundaries are scored; None: not at all.
        calibration: whether to measure the calibration of the probabilities, and how well uncertainty finds errors: the
            predictor's measure, or the entropy if it computes none.
        progress: called with (images done, all images) after every image.

    Raises:
        DataError: an image or mask cannot be read.
        ModelError: the calibration of a model that outputs class indices only.
    """
    outlines = None if boundary is None else BoundaryMeter(dataset.labels, config=boundary)
    confidences = CalibrationMeter(predictor.measure or "entropy") if calibration else None
    resized = tiled = 0

    def observe(name: str, predicted: NDArray[np.uint8], truth: NDArray[np.uint8]) -> None:
        nonlocal resized, tiled
        working_size = predictor.working_size(*truth.shape)
        resized += working_size != truth.shape
        tiled += predictor.needs_tiles(*working_size)
        if outlines is not None:
            outlines.add(name, predicted, truth)

    scores = evaluate(predictor, dataset, workers=1, progress=progress, observe=observe, calibration=confidences)
    return DatasetScores(
        images=len(dataset),
        scores=scores,
        boundary=None if outlines is None else outlines.scores,
        calibration=None if confidences is None else confidences.scores,
        resized=resized,
        tiled=tiled,
    )
