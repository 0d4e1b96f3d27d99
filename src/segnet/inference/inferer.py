"""Inference on images at their working size: together as a batch, or one by one in tiles; then upsampled.

MONAI has inferers, too: ``SimpleInferer`` for one piece, ``SlidingWindowInferer`` for tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels
from segnet.inference.prediction import Planes, Prediction, SegmentedRows, concatenate_rows, planes_of
from segnet.inference.tiling import ArrayRows, Rows, Span, TileConfig, Tiles, blend_tiles, cut, cut_exactly, fits
from segnet.inference.upsampling import Upsampler
from segnet.metrics.uncertainty import Measure
from segnet.runtimes.base import ImageBatch, Output, Runtime
from segnet.system.stages import stage

__all__ = ["Inferer", "as_batch"]

Size = tuple[int, int]

_PIXELS_PER_BATCH = 400_000  # larger batches are no faster on a CPU: benchmarks/results/batches.json
_MOST_PER_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Inferer:
    """A model with all that decides how images pass through it.

    Attributes:
        runtime: the model.
        confidence: whether predictions have a confidence.
        measure: of their uncertainty; None: they have none.
        tiles: how to cut images that would take too much memory; None: never.
        largest_copy: pixels of the largest copy that test-time augmentation makes of an image, per pixel of it.
    """

    runtime: Runtime
    confidence: bool
    measure: Measure | None
    tiles: TileConfig | None
    largest_copy: float

    def predict(self, images: Sequence[Pixels], sizes: Sequence[Size]) -> list[Prediction]:
        """Predict images of one working size: together, or if they are cut into tiles one by one.

        Args:
            images: (h, w, C), as ``Predictor.resize_pixels`` returns them.
            sizes: (height, width) of each prediction.

        Raises:
            ConfigError: the memory is too little for the smallest tile.
        """
        working_size = _size(images[0])
        for _ in images:
            self.runtime.start_image(working_size)
        if tiles := self._cut(*working_size):
            return [self._predict_in_tiles(*pair, tiles) for pair in zip(images, sizes, strict=True)]
        return self._predict_whole(images, sizes)

    def predict_planes(self, image: Pixels) -> Planes:
        """Predict the probabilities of one image, and its uncertainty if there is one: float32 (K, h, w).

        Raises:
            ConfigError: the memory is too little for the smallest tile.
        """
        self.runtime.start_image(_size(image))
        tiles = self._cut(*_size(image))
        if tiles is None:
            return self._planes_of_one(image)
        parts = [part for *_, part in blend_tiles(ArrayRows(image), self._planes_of_one, np.copy, *tiles)]
        return np.concatenate(parts, axis=1)

    def predict_rows(self, rows: Rows, size: Size) -> Iterator[SegmentedRows]:
        """Predict an image that is read from top to bottom.

        Args:
            rows: the image at its working size.
            size: (height, width) of the prediction.

        Yields:
            Consecutive rows of the prediction.

        Raises:
            ConfigError: the memory is too little for the smallest tile.
        """
        height, width = rows.size
        self.runtime.start_image(rows.size)
        tiles = self._cut(height, width) or ([Span(0, height)], [Span(0, width)])
        return self._predict_tiles(rows, size, tiles)

    def batch_size(self, height: int, width: int) -> int:
        """How many images of this working size run together."""
        if self.runtime.info.batch is not None or self.needs_tiles(height, width):
            return self.runtime.info.batch or 1
        most = min(_MOST_PER_BATCH, _PIXELS_PER_BATCH // (height * width))
        return next((count for count in range(most, 1, -1) if not self.needs_tiles(height * count, width)), 1)

    def needs_tiles(self, height: int, width: int) -> bool:
        """Whether an image of this working size is cut into tiles, or would have to be but cannot."""
        if self.tiles is None or self.runtime.info.size is not None:
            return self._cut(height, width) is not None
        return not fits(height, width, self._blended_planes, self.tiles, enlarged=self.largest_copy)

    def _cut(self, height: int, width: int) -> Tiles | None:
        """The tiles of an image of this working size; None: one piece."""
        if self.tiles is None:
            return None
        if (fixed := self.runtime.info.size) is not None:
            return cut_exactly(height, width, fixed, self.tiles)
        return cut(height, width, self._blended_planes, self.tiles, enlarged=self.largest_copy)

    @property
    def _blended_planes(self) -> int:
        return self._classes + (self.measure is not None)

    @property
    def _classes(self) -> int:
        return self.runtime.info.labels.classes

    def _predict_in_tiles(self, image: Pixels, size: Size, tiles: Tiles) -> Prediction:
        return concatenate_rows([rows.prediction for rows in self._predict_tiles(ArrayRows(image), size, tiles)])

    def _predict_tiles(self, rows: Rows, size: Size, tiles: Tiles) -> Iterator[SegmentedRows]:
        upsampler, top = self._upsampler(rows.size, size), 0
        for _, image, predictions in blend_tiles(rows, self._planes_of_one, upsampler.add, *tiles):
            for prediction in predictions:
                yield SegmentedRows(top, image if size == rows.size else None, prediction)
                top += len(prediction.mask)

    def _predict_whole(self, images: Sequence[Pixels], sizes: Sequence[Size]) -> list[Prediction]:
        with stage("network"):
            batch = np.concatenate([as_batch(image) for image in images]) if len(images) > 1 else as_batch(images[0])
        working_size = _size(images[0])
        if all(size == working_size for size in sizes):
            with stage("network"):
                output = self.runtime.run(batch, probabilities=self.confidence, measure=self.measure)
            return [self._prediction(output, number) for number in range(len(images))]
        logits = self._logits(batch)
        planes = self._planes(batch) if logits is None else list(logits)
        with stage("upsample"):
            upsamplers = [self._upsampler(working_size, size, logits=logits is not None) for size in sizes]
            return [
                concatenate_rows(list(upsampler.add(part))) for upsampler, part in zip(upsamplers, planes, strict=True)
            ]

    def _upsampler(self, working_size: Size, size: Size, *, logits: bool = False) -> Upsampler:
        return Upsampler(working_size, size, classes=self._classes, confidence=self.confidence, logits=logits)

    def _logits(self, batch: ImageBatch) -> NDArray[np.float32] | None:
        """Logits of a batch if no probability but those of the pixels between classes is needed."""
        if self.confidence or self.measure is not None:
            return None
        with stage("network"):
            return self.runtime.logits_of(batch)

    def _prediction(self, output: Output, number: int) -> Prediction:
        """The prediction of one image of a batch, at its working size."""
        probabilities = output.probabilities if self.confidence else None
        confidence = None if probabilities is None else probabilities[number].max(axis=0)
        uncertainty = None if output.uncertainty is None else output.uncertainty[number]
        return Prediction(output.mask[number], confidence, uncertainty)

    def _planes_of_one(self, image: Pixels) -> Planes:
        """Planes of an image or tile, at the working size."""
        return self._planes(as_batch(image))[0]

    def _planes(self, batch: ImageBatch) -> list[Planes]:
        """Planes of each image of a batch, at the working size."""
        with stage("network"):
            output = self.runtime.run(batch, probabilities=self.runtime.gives_probabilities, measure=self.measure)
        return planes_of(output, self._classes)


def as_batch(image: Pixels) -> ImageBatch:
    """An image as a batch: (H, W, C) to float32 (1, C, H, W) in [0, 1]; channels stay innermost in memory."""
    if image.dtype == np.float32:
        return image.astype(np.float32, copy=False).transpose(2, 0, 1)[None]
    scaled: NDArray[np.float32] = np.divide(image, np.float32(255), dtype=np.float32)
    return scaled.transpose(2, 0, 1)[None]


def _size(image: Pixels) -> Size:
    return image.shape[0], image.shape[1]
