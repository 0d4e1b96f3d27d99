"""Steady images: class probabilities that remember the frames before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.inference.prediction import argmax
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.protocol import Estimate, Image, Runtime

__all__ = ["SmoothRuntime"]

_CELLS = 16
# Thumbnails of frames that follow each other at 25/s correlate with 0.98 and more; of CamVid's images of different
# drives, the middle pair does with 0.63, and one in a hundred with more than 0.84.
_SAME_SCENE = 0.9


class _Memory(NamedTuple):
    """Of the frame before, or of one tile of it: blended probabilities, and what the scene looked like."""

    planes: NDArray[np.float32]
    scene: NDArray[np.float32]


class SmoothRuntime(Runtime):
    """A model whose probabilities are blended, pixel by pixel, with those of the frames before.

    The frames before have the weight ``smooth * (1 - d * d)``, where d is half the sum of the absolute differences of
    both probabilities, 0 where they agree and 1 where each is sure of another class: what is unsure is steadied, and
    the edge of what moves stays where the new frame sees it. A scene cut, a frame of another size and ``reset`` start
    anew. Frames are taken one by one, in order; one object serves one video. Of frames that come in tiles, each tile is
    blended with that of the same place, if ``next_image`` is called before each frame.

    Args:
        runtime: the model.
        smooth: from 0, as the model itself, to below 1.
    """

    def __init__(self, runtime: Runtime, smooth: float) -> None:
        self.info = runtime.info
        self._runtime = runtime
        self._smooth = np.float32(smooth)
        self._kept: list[_Memory] = []
        self._place = 0
        self._tiles = False

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Those of the model."""
        return self._runtime.measures

    def reset(self) -> None:
        """Forget the frames before."""
        self._kept = []

    def next_image(self) -> None:
        """The next that comes is the first tile of a frame, or the whole of it."""
        self._place, self._tiles = 0, True

    def mask(self, image: Image) -> NDArray[np.uint8]:
        """Class of each pixel, (1, H, W)."""
        return argmax(self.probabilities(image))

    def probabilities(self, image: Image) -> NDArray[np.float32]:
        """Blended probability of each class, (1, classes, H, W).

        Raises:
            ModelError: the model gives masks alone.
        """
        return self._blended(image, self._runtime.probabilities(image))

    def estimate(self, image: Image, measure: Measure | None = None) -> Estimate:
        """Mask and probabilities are blended; the uncertainty is that of the frame itself.

        Raises:
            ModelError: the model gives masks alone.
            ConfigError: the measure is none of ``measures``.
        """
        found = self._runtime.estimate(image, measure)
        alone = found.probabilities if found.probabilities is not None else self._runtime.probabilities(image)
        blended = self._blended(image, alone)
        return Estimate(argmax(blended), blended, found.uncertainty)

    def _blended(self, image: Image, new: NDArray[np.float32]) -> NDArray[np.float32]:
        scene = _thumbnail(image)
        place = self._place
        if self._tiles:
            self._place += 1
        last = self._kept[place] if place < len(self._kept) else None
        if last is not None and last.planes.shape == new.shape and _same_scene(last.scene, scene):
            step = last.planes - new
            apart = np.abs(step).sum(axis=1, keepdims=True) * np.float32(0.5)
            step *= self._smooth * (1 - np.minimum(apart * apart, 1))
            new = np.add(new, step, out=step)
        self._kept[place : place + 1] = [_Memory(new, scene)]
        return new


def _thumbnail(image: Image) -> NDArray[np.float32]:
    """Gray means of at most 16x16 cells."""
    _, _, height, width = image.shape
    rows, columns = (
        np.linspace(0, side, min(_CELLS, side), endpoint=False).astype(np.intp) for side in (height, width)
    )
    gray = image[0].mean(axis=0, dtype=np.float32)
    sums = np.add.reduceat(np.add.reduceat(gray, rows, axis=0), columns, axis=1)
    areas = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)
    cells: NDArray[np.float32] = (sums / areas).astype(np.float32)
    return cells


def _same_scene(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether light and dark lie in the same places; two even images are compared by their brightness."""
    first, second = before - before.mean(), after - after.mean()
    spread = float(np.sqrt((first * first).mean() * (second * second).mean()))
    if spread < 1e-4:
        return bool(np.abs(before - after).mean() < 0.1)
    return float((first * second).mean()) > _SAME_SCENE * spread
