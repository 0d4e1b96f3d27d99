"""From an image to its segmentation: resize, run the model in one piece or in tiles, and upsample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ShapeError
from segnet.inference.prediction import Planes, Prediction, SegmentedRows, concatenate_rows
from segnet.inference.tiling import Rows, Span, TileConfig, blend_tiles, fits, spans, tile_size
from segnet.inference.tta import TTAConfig, with_tta
from segnet.inference.upsampling import Upsampler, upsample
from segnet.inference.working_size import ResizePolicy
from segnet.labels import ClassTable
from segnet.media.images.resizing import resize_image
from segnet.metrics.uncertainty import Measure, choose_measure
from segnet.runtimes.base import Image, Runtime
from segnet.runtimes.load import open_runtime
from segnet.runtimes.verification import Verification, Verify, apply_verification, verify

__all__ = ["Predictor", "as_batch"]


class Predictor:
    """A model that segments images of any size.

    >>> predictor = Predictor.load("segnet_light")
    >>> predictor(image).mask.shape == image.shape[:2]
    True

    Args:
        runtime: the model.
        confidence: whether predictions have a confidence.
        uncertainty: whether predictions have an uncertainty.
        measure: of the uncertainty, see ``segnet.metrics.uncertainty``; None: variance if the model draws samples,
            else entropy.
        max_size: longest side in pixels at which images are segmented; larger ones are downscaled, and their
            probabilities upsampled to the image's size before the class is chosen. "model": the longest side of the
            training images, or 1024 if the model file has none; a model that was trained with ``--resize`` resizes
            every image as its training did. None: every image at its own size.
        image_scale: segment each image at this multiple of its own size instead, whatever ``max_size`` is.
        tiles: how to cut images that would take too much memory; None: segment every image in one piece.
        tta: test-time augmentation: average over mirrored and resized copies of the image.

    Attributes:
        labels: the class table.
        channels: of the images: 3 (RGB) or 1 (gray).
        resize: ``max_size`` and ``image_scale`` as one policy.

    Raises:
        ConfigError: the model cannot compute this measure or augmentation, or a size is out of range.
        ModelError: confidence or augmentation is requested, and the model outputs class indices only.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        max_size: int | Literal["model"] | None = "model",
        image_scale: float | None = None,
        tiles: TileConfig | None = TileConfig(),  # noqa: B008
        tta: TTAConfig = TTAConfig(),  # noqa: B008
    ) -> None:
        runtime.require(probabilities=confidence)
        self.runtime = runtime if tta == TTAConfig() else with_tta(runtime, tta)
        self._model = runtime
        self.labels: ClassTable = runtime.info.labels
        self.channels = runtime.info.channels
        self.confidence = confidence
        self.measure = choose_measure(measure, self.runtime.measures, model=runtime.name) if uncertainty else None
        self.resize = ResizePolicy.of_model(runtime.info, max_size=max_size, image_scale=image_scale)
        self.tiles = tiles
        self._largest_copy = max(1.0, *tta.tta_scales) ** 2  # pixels of the largest augmented copy, per pixel

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        precision: str = "float32",
        threads: int = 0,
        samples: int = 0,
        seed: int = 0,
        verify: Verify = "first_use",
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        max_size: int | Literal["model"] | None = "model",
        image_scale: float | None = None,
        tiles: TileConfig | None = TileConfig(),  # noqa: B008
        tta: TTAConfig = TTAConfig(),  # noqa: B008
    ) -> Self:
        """Load a predictor from a model file of any format, or from a bundled model by its name.

        Args:
            source, device, precision, threads, samples, seed: see ``open_runtime``.
            verify: compare the predictions of an exported file on reference images with those at its export:
                ``first_use`` of an INT8 file on this machine (a difference is a warning), ``always`` (a difference is
                an error) or ``never``.
            confidence, uncertainty, measure, max_size, image_scale, tiles, tta: see the class.

        Raises:
            ModelError: the model does not exist, the file cannot be used or fails the verification, or it outputs class
                indices only, and confidence or augmentation is requested.
            ConfigError: the device, precision, samples, measure, augmentation or a size is not possible.
            MissingPackageError: the library that runs such files is not installed.
        """
        runtime = open_runtime(source, device=device, precision=precision, threads=threads, samples=samples, seed=seed)
        apply_verification(runtime, verify)
        return cls(
            runtime,
            confidence=confidence,
            uncertainty=uncertainty,
            measure=measure,
            max_size=max_size,
            image_scale=image_scale,
            tiles=tiles,
            tta=tta,
        )

    def verify(self) -> Verification:
        """Compare the classes that an exported file predicts here with those that it predicted at its export.

        It runs on three packaged reference images, whatever the predictor's own settings are.

        Raises:
            ModelError: fewer than 99.9 % of the pixels have the same class, or the file keeps no predictions.
        """
        return verify(self._model)

    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """Segment one image.

        Args:
            image: uint8 (H, W, C), RGB or gray.

        Returns:
            The prediction at the image's own size.

        Raises:
            ShapeError: another dtype or number of channels.
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        size, image = self._start(image)
        working_size = (image.shape[0], image.shape[1])
        tiles = self._cut(*working_size)
        if tiles is None and working_size == size:
            return replace(self._predict_whole(image), working_size=working_size)
        if tiles is None:
            parts = list(self._upsampler(working_size, size).add(self._predict_planes(image)))
        else:
            parts = [rows.prediction for rows in self._predict_tiles(_ArrayRows(image), size, tiles)]
        return concatenate_rows(parts, working_size=working_size)

    def predict_planes(self, image: NDArray[np.uint8]) -> Planes:
        """Predict the probabilities of one image, held in memory as a whole.

        Args:
            image: uint8 (H, W, C), RGB or gray.

        Returns:
            float32 (K, H, W) at the image's own size: the probability of each class, followed by the uncertainty if
            it was requested. If the model outputs class indices only, the probability of its class is 1.

        Raises:
            ShapeError: another dtype or number of channels.
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        size, image = self._start(image)
        tiles = self._cut(*image.shape[:2])
        if tiles is None:
            planes = self._predict_planes(image)
        else:
            bands = [band for *_, band in blend_tiles(_ArrayRows(image), self._predict_planes, np.copy, *tiles)]
            planes = np.concatenate(bands, axis=1)
        return planes if image.shape[:2] == size else upsample(planes, size)

    def predict_rows(self, rows: Rows, size: tuple[int, int] | None = None) -> Iterator[SegmentedRows]:
        """Segment an image that is read from top to bottom and never held as a whole.

        Args:
            rows: the image with ``channels`` channels, at its working size.
            size: (height, width) of the prediction; None: the same size.

        Yields:
            Consecutive rows of the prediction.

        Raises:
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        height, width = rows.size
        self.runtime.start_image()
        tiles = self._cut(height, width) or ([Span(0, height)], [Span(0, width)])
        return self._predict_tiles(rows, size or rows.size, tiles)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this height and width is segmented."""
        return self.resize.working_size(height, width)

    def needs_tiles(self, height: int, width: int) -> bool:
        """Whether an image of this working size is cut into tiles."""
        return self._cut(height, width) is not None

    def _start(self, image: NDArray[np.uint8]) -> tuple[tuple[int, int], NDArray[np.uint8]]:
        """The image's own size, and the image at its working size."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or not image.size:
            raise ShapeError(
                f"an image of shape {image.shape} and type {image.dtype} was given; "
                f"this model takes uint8 (H, W, {self.channels})"
            )
        self.runtime.start_image()
        size = (image.shape[0], image.shape[1])
        working_size = self.working_size(*size)
        return size, image if working_size == size else resize_image(image, working_size)

    def _cut(self, height: int, width: int) -> tuple[list[Span], list[Span]] | None:
        """The tiles of an image of this working size, vertically and horizontally; None: one piece."""
        if self.tiles is None:
            return None
        fixed, tiles = self.runtime.info.size, self.tiles
        if fixed is not None:
            if (height, width) == fixed or height < fixed[0] or width < fixed[1]:
                return None  # the runtime refuses an image that is too small
            down, across = fixed
            tiles = replace(tiles, tile=0, overlap=min(tiles.overlap, min(fixed) // 4))
        else:
            planes = self.labels.classes + (self.measure is not None)
            if not tiles.tile and fits(height, width, planes, tiles, enlarged=self._largest_copy):
                return None
            down, across = tile_size(width, planes, tiles, enlarged=self._largest_copy)
        exact = fixed is not None
        return (
            spans(height, tile=down, overlap=tiles.overlap, exact=exact),
            spans(width, tile=across, overlap=tiles.overlap, exact=exact),
        )

    def _upsampler(self, working_size: tuple[int, int], size: tuple[int, int]) -> Upsampler:
        return Upsampler(working_size, size, classes=self.labels.classes, confidence=self.confidence)

    def _predict_tiles(
        self, rows: Rows, size: tuple[int, int], tiles: tuple[list[Span], list[Span]]
    ) -> Iterator[SegmentedRows]:
        upsampler, top = self._upsampler(rows.size, size), 0
        for _, image, predictions in blend_tiles(rows, self._predict_planes, upsampler.add, *tiles):
            for prediction in predictions:
                yield SegmentedRows(top, image if size == rows.size else None, prediction)
                top += len(prediction.mask)

    def _predict_whole(self, image: NDArray[np.uint8]) -> Prediction:
        """Prediction in one piece, at the working size."""
        output = self.runtime.run(as_batch(image), probabilities=self.confidence, measure=self.measure)
        return Prediction(
            output.mask[0],
            output.probabilities[0].max(axis=0) if self.confidence and output.probabilities is not None else None,
            None if output.uncertainty is None else output.uncertainty[0],
        )

    def _predict_planes(self, image: NDArray[np.uint8]) -> Planes:
        """Planes of an image or tile, at the working size."""
        batch, probable = as_batch(image), self.runtime.gives_probabilities
        output = self.runtime.run(batch, probabilities=probable, measure=self.measure)
        if output.probabilities is None:
            planes = _one_hot(output.mask[0], self.labels.classes)
        else:
            planes = output.probabilities[0]
        return planes if output.uncertainty is None else np.concatenate([planes, output.uncertainty])


class _ArrayRows(Rows):
    """An image in memory."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        self._next = 0

    @property
    def size(self) -> tuple[int, int]:
        return self._image.shape[0], self._image.shape[1]

    def read(self, rows: int) -> NDArray[np.uint8]:
        self._next += rows
        return self._image[self._next - rows : self._next]


def _one_hot(mask: NDArray[np.uint8], classes: int) -> Planes:
    planes: Planes = (mask == np.arange(classes, dtype=np.uint8)[:, None, None]).astype(np.float32)
    return planes


def as_batch(image: NDArray[np.uint8]) -> Image:
    """An image as a batch: uint8 (H, W, C) to float32 (1, C, H, W) in [0, 1]; channels stay innermost in memory."""
    scaled: NDArray[np.float32] = np.divide(image, np.float32(255), dtype=np.float32)
    return scaled.transpose(2, 0, 1)[None]
