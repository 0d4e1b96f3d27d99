"""Temporal smoothing: class probabilities of a video are blended with those of the frames before."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime, argmax

__all__ = ["SmoothedRuntime"]

_CELLS = 16
# Thumbnails of consecutive frames at 25 frames/s correlate with 0.98 and more; those of CamVid images from different
# drives have a median correlation of 0.63, and only one pair in a hundred exceeds 0.84.
_SAME_SCENE = 0.9


class _Memory(NamedTuple):
    """The previous frame, or one tile of it: blended probabilities, and a thumbnail of the scene."""

    planes: NDArray[np.float32]
    scene: NDArray[np.float32]


class SmoothedRuntime(Runtime):
    """A model whose probabilities are blended, pixel by pixel, with those of the previous frames.

    The previous frames have the weight ``smoothing * (1 - d * d)``, where d is half the sum of the absolute differences
    of both probabilities: 0 where they agree, and 1 where each is certain of another class. Uncertain pixels are
    smoothed, and the edges of moving objects stay where the new frame shows them. The memory is cleared at a scene
    cut and at a frame of another size.

    Frames are run one by one, in order; one object serves one video. If frames are cut into tiles, each tile is
    blended with the tile at the same position, provided that ``start_image`` is called before each frame.

    Args:
        runtime: the model.
        smoothing: weight, from 0 (no smoothing) to below 1.

    Raises:
        ModelError: the model outputs class indices only.
    """

    def __init__(self, runtime: Runtime, smoothing: float) -> None:
        runtime.require(probabilities=True)
        self.info = runtime.info
        self._runtime = runtime
        self._smoothing = np.float32(smoothing)
        self._memories: list[_Memory] = []
        self._size: tuple[int, int] | None = None
        self._tile = 0
        self._tiled = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._runtime!r}, {self._smoothing:g})"

    @property
    def name(self) -> str:
        """Name of the model in error messages."""
        return self._runtime.name

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Those of the model."""
        return self._runtime.measures

    def start_image(self, size: tuple[int, int]) -> None:
        """Mark the start of a frame: the next batch is its first tile, or the whole of it."""
        if size != self._size:  # a tile of the same number may lie elsewhere
            self._memories.clear()
        self._size, self._tile, self._tiled = size, 0, True

    def run(self, batch: ImageBatch, *, probabilities: bool = False, measure: Measure | None = None) -> Output:
        """See ``Runtime.run``; N is 1. Mask and probabilities are smoothed, the uncertainty is the frame's own."""
        output = self._runtime.run(batch, probabilities=True, measure=measure)
        assert output.probabilities is not None
        blended = self._blend(batch, output.probabilities)
        return Output(argmax(blended), blended, output.uncertainty)

    def _blend(self, batch: ImageBatch, new: NDArray[np.float32]) -> NDArray[np.float32]:
        scene = _thumbnail(batch)
        tile = self._tile
        if self._tiled:
            self._tile += 1
        last = self._memories[tile] if tile < len(self._memories) else None
        if last is not None and last.planes.shape == new.shape and _same_scene(last.scene, scene):
            step = last.planes - new
            distance = np.abs(step).sum(axis=1, keepdims=True) * np.float32(0.5)
            step *= self._smoothing * (1 - np.minimum(distance * distance, 1))
            np.copyto(step, 0, where=~np.isfinite(distance))  # else one overflow would stay for ever
            new = np.add(new, step, out=step)
        self._memories[tile : tile + 1] = [_Memory(new, scene)]
        return new


def _thumbnail(batch: ImageBatch) -> NDArray[np.float32]:
    """Gray means of at most 16x16 cells."""
    _, _, height, width = batch.shape
    rows, columns = (
        np.linspace(0, side, min(_CELLS, side), endpoint=False).astype(np.intp) for side in (height, width)
    )
    gray = batch[0].mean(axis=0, dtype=np.float32)
    sums = np.add.reduceat(np.add.reduceat(gray, rows, axis=0), columns, axis=1)
    areas = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)
    cells: NDArray[np.float32] = (sums / areas).astype(np.float32)
    return cells


def _same_scene(before: NDArray[np.float32], after: NDArray[np.float32]) -> bool:
    """Whether the thumbnails correlate; two without contrast are compared by their brightness."""
    first, second = before - before.mean(), after - after.mean()
    spread = float(np.sqrt((first * first).mean() * (second * second).mean()))
    if spread < 1e-4:
        return bool(np.abs(before - after).mean() < 0.1)
    return float((first * second).mean()) > _SAME_SCENE * spread
