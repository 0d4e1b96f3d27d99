"""A predictor where a runtime is wanted, so that what is scored is just what it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segnet.inference import Predictor
from segnet.prediction import argmax
from segnet.runtimes.protocol import Estimate, Image, Runtime
from segnet.uncertainty import Measure, choose_measure, entropy

__all__ = ["PredictorRuntime"]


class PredictorRuntime(Runtime):
    """Labels pictures as a predictor does: large ones at the size that it takes for them, or in tiles.

    Args:
        predictor: the uncertainty that it computes is that of ``estimate``; without one, the entropy is.

    Attributes:
        resized: how many pictures were labelled at another size than their own.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.info = predictor.runtime.info
        self.resized = 0
        self._predictor = predictor

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The predictor's."""
        return (self._predictor.measure or "entropy",)

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W)."""
        return np.stack([self._predictor(picture).mask for picture in self._pictures(image)])

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Probability of each class, (N, classes, H, W); of a model that gives masks alone 1 for its class."""
        planes = [self._predictor.planes(picture) for picture in self._pictures(image)]
        return np.stack(planes)[:, : self.info.labels.classes]

    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask, probabilities and uncertainty of one labelling.

        Raises:
            ConfigError: the measure is not the predictor's.
        """
        choose_measure(measure, self.measures, model=self.info.name)
        planes = np.stack([self._predictor.planes(picture) for picture in self._pictures(image)])
        probabilities = planes[:, : self.info.labels.classes]
        uncertainty = planes[:, -1] if self._predictor.measure else entropy(probabilities)
        given = None if self.info.output == "mask" else probabilities
        return Estimate(argmax(probabilities), given, uncertainty)

    def _pictures(self, image: Image) -> NDArray[np.uint8]:
        """Bytes, (N, H, W, C): what ``as_batch`` was given."""
        height, width = image.shape[2:]
        if self._predictor.working_size(height, width) != (height, width):
            self.resized += len(image)
        pictures: NDArray[np.uint8] = np.rint(image.transpose(0, 2, 3, 1) * np.float32(255)).astype(np.uint8)
        return pictures
