"""What a model says of an image, of a frame, or of some rows of a large image."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Planes", "Prediction", "SegmentedFrame", "SegmentedRows", "argmax", "joined"]

Planes = NDArray[np.float32]
"""(K, H, W): the probability of each class, and whatever else there is a number of for each pixel."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        mask: uint8 (H, W), class of each pixel.
        confidence: float32 (H, W), probability of that class; None if it was not asked for.
        uncertainty: float32 (H, W), by the predictor's measure, 0 where nothing is unsure; None if it was not asked
            for.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None

    def part(self, rows: slice) -> Prediction:
        """Some rows of it."""
        confidence, uncertainty = (part if part is None else part[rows] for part in (self.confidence, self.uncertainty))
        return Prediction(self.mask[rows], confidence, uncertainty)


@dataclass(frozen=True, eq=False)
class SegmentedFrame:
    """An image or a frame, and what the model says of it.

    Attributes:
        image: uint8 (H, W, C), upright; RGB for 3 channels, gray for 1.
        prediction: of it; of a video smoothed if that was asked for.
        time: of a video's frame, seconds since the first one, or since ``VideoConfig.start``; else None.
        aspect: width of a pixel over its height.
        latency_ms: of a live source, from the moment that the frame was there to the prediction; else None.
        source: path of the image or the video, or the name of a camera or stream; empty if a program gave the frame.
        name: of its results, without suffix: ``a/1`` of the image a/1.jpg in a folder, ``drive/000012`` of a frame.
        number: of a frame among those that were labeled, from 0; None of an image.
    """

    image: NDArray[np.uint8]
    prediction: Prediction
    time: Fraction | None = None
    aspect: Fraction = Fraction(1)
    latency_ms: float | None = None
    source: str = ""
    name: str = ""
    number: int | None = None

    @property
    def mask(self) -> NDArray[np.uint8]:
        """Of the prediction."""
        return self.prediction.mask

    @property
    def confidence(self) -> NDArray[np.float32] | None:
        """Of the prediction."""
        return self.prediction.confidence

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """Of the prediction."""
        return self.prediction.uncertainty


class SegmentedRows(NamedTuple):
    """Rows of a labeling.

    Attributes:
        top: number of the first.
        image: the same rows of the image, uint8 (h, W, C); None of a labeling that has another size.
        prediction: of these rows.
    """

    top: int
    image: NDArray[np.uint8] | None
    prediction: Prediction


def joined(parts: list[Prediction]) -> Prediction:
    """The predictions of rows that follow each other, as one."""
    confidence = [part.confidence for part in parts if part.confidence is not None]
    uncertainty = [part.uncertainty for part in parts if part.uncertainty is not None]
    return Prediction(
        np.concatenate([part.mask for part in parts]),
        np.concatenate(confidence) if confidence else None,
        np.concatenate(uncertainty) if uncertainty else None,
    )


def argmax(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class with the largest value, the first of equals: (N, classes, H, W) to uint8 (N, H, W).

    Several times faster than ``numpy.argmax`` over this axis, which goes pixel by pixel.
    """
    best = logits[:, 0].copy()
    mask = np.zeros(best.shape, dtype=np.uint8)
    for index in range(1, logits.shape[1]):
        better = logits[:, index] > best
        np.copyto(mask, index, where=better)
        np.maximum(best, logits[:, index], out=best)
    return mask
