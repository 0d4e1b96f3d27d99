"""Test-time augmentation (TTA): the mean of the probabilities of an image, its mirror image and resized copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.media.images.resizing import check_scales, resize_planes
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime
from segnet.system.field_types import check_types

__all__ = ["TTAConfig", "TTARuntime", "with_tta"]


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
        check_types(self)
        check_scales("tta_scales", self.tta_scales)


class TTARuntime(Runtime):
    """A runtime whose probabilities are the mean over augmented copies of each image.

    Args:
        runtime: runs the copies, one after the other.
        config: which copies.
    """

    def __init__(self, runtime: Runtime, config: TTAConfig) -> None:
        self.info = runtime.info
        self._runtime = runtime
        self._config = config

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._runtime!r})"

    @property
    def name(self) -> str:
        """Name of the model in error messages."""
        return self._runtime.name

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The entropy of the mean; the variance of samples differs from copy to copy."""
        return ("entropy",)

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``."""
        self.require(probabilities=probabilities, measure=measure)
        size = (batch.shape[2], batch.shape[3])
        total: NDArray[np.float32] | None = None
        for scale in self._config.tta_scales:
            copied = resize_planes(batch, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
            mean = self._run_copy(copied)
            if self._config.tta_flip:
                mirrored = self._run_copy(copied[..., ::-1].copy())  # PyTorch takes no negative strides
                mean = (mean + mirrored[..., ::-1]) / np.float32(2)
            mean = resize_planes(mean, size)
            total = mean if total is None else total + mean
        assert total is not None
        return Output.from_probabilities(total / np.float32(len(self._config.tta_scales)), measure)

    def _run_copy(self, batch: ImageBatch) -> NDArray[np.float32]:
        probabilities = self._runtime.run(batch, probabilities=True).probabilities
        assert probabilities is not None
        return probabilities


def with_tta(runtime: Runtime, config: TTAConfig) -> Runtime:
    """A runtime with test-time augmentation; the same object if there is nothing to average.

    Raises:
        ModelError: the model outputs class indices only.
        ConfigError: scales are requested of a model with a fixed input size.
    """
    if config == TTAConfig():
        return runtime
    runtime.require(probabilities=True)
    if runtime.info.size is not None and config.tta_scales != (1.0,):
        raise ConfigError(
            f"{runtime.name}: has a fixed input size; leave --tta-scales out, or export it without --size"
        )
    return TTARuntime(runtime, config)
