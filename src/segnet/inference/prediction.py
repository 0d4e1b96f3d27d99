"""Results of inference: of an image, of a video frame, or of some rows of a large image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Planes", "Prediction", "SegmentedFrame", "SegmentedRows", "concatenate_rows"]

Planes = NDArray[np.float32]
"""(K, H, W): the probability of each class, followed by the uncertainty if it was requested."""


@dataclass(frozen=True)
class Prediction:
    """Segmentation of one image.

    Attributes:
        mask: uint8 (H, W), class index of each pixel.
        confidence: float32 (H, W), probability of that class, 0 to 1; None if it was not requested.
        uncertainty: float32 (H, W), by the predictor's measure, 0 where the model is certain; None if it was not
            requested.
        working_size: (height, width) at which the image was segmented, see ``ResizePolicy``; None of some rows.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None
    working_size: tuple[int, int] | None = None

    def rows(self, chosen: slice) -> Prediction:
        """The prediction of some rows."""
        confidence, uncertainty = (
            values if values is None else values[chosen] for values in (self.confidence, self.uncertainty)
        )
        return Prediction(self.mask[chosen], confidence, uncertainty)


@dataclass(frozen=True, eq=False)
class SegmentedFrame:
    """An image or a video frame with its prediction.

    Attributes:
        image: uint8 (H, W, C), upright; RGB for 3 channels, gray for 1.
        prediction: of the image; for a video with temporal smoothing, the smoothed one.
        time: seconds since the first frame of a video, or since ``VideoConfig.start``; None of an image.
        aspect: pixel aspect ratio, width over height.
        latency_ms: of a live source, from the arrival of the frame to its prediction, in milliseconds; else None.
        source: path of the image or video, or name of a camera or stream; empty for frames from a program.
        name: name of the results, without suffix: ``a/1`` for the image a/1.jpg in a folder, ``drive/000012`` for a
            frame.
        number: of a frame among the segmented ones, from 0; None of an image.
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
        """Mask of the prediction: uint8 (H, W)."""
        return self.prediction.mask

    @property
    def confidence(self) -> NDArray[np.float32] | None:
        """Confidence of the prediction: float32 (H, W) or None."""
        return self.prediction.confidence

    @property
    def uncertainty(self) -> NDArray[np.float32] | None:
        """Uncertainty of the prediction: float32 (H, W) or None."""
        return self.prediction.uncertainty


class SegmentedRows(NamedTuple):
    """Some rows of an image with their prediction.

    Attributes:
        top: number of the first row.
        image: the same rows of the image, uint8 (h, W, C); None if the prediction has another size than the image.
        prediction: of these rows.
    """

    top: int
    image: NDArray[np.uint8] | None
    prediction: Prediction


def concatenate_rows(parts: Sequence[Prediction], *, working_size: tuple[int, int] | None = None) -> Prediction:
    """One prediction from those of consecutive rows.

    Args:
        parts: from top to bottom, at least one.
        working_size: of the result, see ``Prediction``.
    """
    confidence = [part.confidence for part in parts if part.confidence is not None]
    uncertainty = [part.uncertainty for part in parts if part.uncertainty is not None]
    return Prediction(
        np.concatenate([part.mask for part in parts]),
        np.concatenate(confidence) if confidence else None,
        np.concatenate(uncertainty) if uncertainty else None,
        working_size,
    )
