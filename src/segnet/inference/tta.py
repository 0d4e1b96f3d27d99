"""Test-time augmentation: the mean of what a model says of an image, its mirror image and other sizes of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segnet.errors import ConfigError
from segnet.inference.prediction import argmax
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.protocol import Image, Runtime

__all__ = ["TTAConfig", "TTARuntime", "averaged"]


@dataclass(frozen=True, kw_only=True)
class TTAConfig:
    """Which variants of an image are predicted and averaged (test-time augmentation).

    Attributes:
        tta_flip: Average the prediction with that of the mirrored image. It is often more exact, and takes twice the
            time.
        tta_scales: Factors at which the image is resized; the predictions of all sizes are averaged. Add sizes,
            0.75,1,1.25 for instance, for more exact masks in more time.
    """

    tta_flip: bool = False
    tta_scales: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.tta_scales or not all(0.1 <= scale <= 10 for scale in self.tta_scales):
            written = ",".join(f"{scale:g}" for scale in self.tta_scales)
            raise ConfigError(
                f"tta_scales={written} is not possible; give numbers from 0.1 to 10, 0.75,1,1.25 for instance"
            )


class TTARuntime(Runtime):
    """A runtime whose probabilities are the mean over several views of each image.

    Args:
        runtime: labels the views, one after the other.
        config: which views.
    """

    def __init__(self, runtime: Runtime, config: TTAConfig) -> None:
        self.info = runtime.info
        self._runtime = runtime
        self._config = config

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The entropy of the mean; the variance of samples differs from view to view."""
        return ("entropy",)

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (N, H, W)."""
        return argmax(self.probabilities(image))

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Mean probability of each class, (N, classes, H, W).

        Raises:
            ModelError: the model gives masks alone.
        """
        size = (image.shape[2], image.shape[3])
        total: NDArray[np.float32] | None = None
        for scale in self._config.tta_scales:
            view = _resized(image, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
            found = self._runtime.probabilities(view)
            if self._config.tta_flip:
                mirrored = self._runtime.probabilities(np.ascontiguousarray(view[..., ::-1]))
                found = (found + mirrored[..., ::-1]) / np.float32(2)
            found = _resized(found, size)
            total = found if total is None else total + found
        assert total is not None
        mean: NDArray[np.float32] = total / np.float32(len(self._config.tta_scales))
        return mean


def averaged(runtime: Runtime, config: TTAConfig) -> Runtime:
    """The runtime itself where there is but one view.

    Raises:
        ConfigError: other sizes are asked of a model that takes one, or views of a model that gives masks alone.
    """
    if config == TTAConfig():
        return runtime
    if runtime.info.output == "mask":
        raise ConfigError(f"{runtime.info.name}: gives masks alone; export it with --output logits or probabilities")
    if runtime.info.size is not None and config.tta_scales != (1.0,):
        raise ConfigError(
            f"{runtime.info.name}: takes images of one size; leave --tta-scales out, or export it without --size"
        )
    return TTARuntime(runtime, config)


def _resized(batch: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, and smoothed where it becomes smaller: (N, K, H, W) to (N, K, *size)."""
    if batch.shape[2:] == size:
        return batch
    planes = batch.reshape(-1, *batch.shape[2:])
    way = (size[1], size[0])
    done = [np.asarray(Pillow.fromarray(plane).resize(way, Pillow.Resampling.BILINEAR)) for plane in planes]
    return np.stack(done).reshape(*batch.shape[:2], *size)
