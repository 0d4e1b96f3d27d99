"""A predictor where a runtime is wanted, so that what is scored is just what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ModelError
from segnet.inference.prediction import argmax
from segnet.inference.predictor import Predictor
from segnet.metrics.uncertainty import Measure, choose_measure, entropy
from segnet.runtimes.protocol import Estimate, Image, Runtime

__all__ = ["PredictorRuntime"]


class PredictorRuntime(Runtime):
    """ClassTable images as a predictor does: large ones at the size that it takes for them, or in tiles.

    Args:
        predictor: the uncertainty that it computes is that of ``estimate``; without one, the entropy is.

    Attributes:
        resized: how many images were labeled at another size than their own.
        tiled: how many were labeled in tiles.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.info = predictor.runtime.info
        self.resized = self.tiled = 0
        self._predictor = predictor

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The predictor's; without one the entropy, if the model gives probabilities."""
        if self._predictor.measure is not None:
            return (self._predictor.measure,)
        return () if self.info.output == "mask" else ("entropy",)

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W)."""
        return _together([self._predictor(single).mask for single in self._images(image)])

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Probability of each class, (N, classes, H, W).

        Raises:
            ModelError: the model gives masks alone.
        """
        if self.info.output == "mask":
            raise ModelError(f"{self.info.name}: gives masks alone; export it with --output logits or probabilities")
        return self._planes(image)[:, : self.info.labels.classes]

    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask, probabilities and uncertainty of one labeling.

        Raises:
            ConfigError: the measure is not the predictor's.
        """
        choose_measure(measure, self.measures, model=self.info.name)
        planes = self._planes(image)
        probabilities = planes[:, : self.info.labels.classes]
        uncertainty = planes[:, -1] if self._predictor.measure else entropy(probabilities)
        given = None if self.info.output == "mask" else probabilities
        return Estimate(argmax(probabilities), given, uncertainty)

    def _planes(self, image: Image) -> NDArray[np.float32]:
        return _together([self._predictor.predict_planes(single) for single in self._images(image)])

    def _images(self, image: Image) -> NDArray[np.uint8]:
        """Bytes, (N, H, W, C), since a predictor takes bytes: exact for images that were read and not resized."""
        height, width = image.shape[2:]
        self.resized += len(image) * (self._predictor.working_size(height, width) != (height, width))
        self.tiled += len(image) * self._predictor.in_tiles(height, width)
        images: NDArray[np.uint8] = np.rint(image.transpose(0, 2, 3, 1) * np.float32(255)).astype(np.uint8)
        return images


def _together(found: list[NDArray[Any]]) -> NDArray[Any]:
    """``numpy.stack``, but one image is not copied."""
    return found[0][None] if len(found) == 1 else np.stack(found)
