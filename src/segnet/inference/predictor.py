"""From an image to its labeling."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segnet.errors import ConfigError, ModelError, ShapeError
from segnet.inference.prediction import Planes, Prediction, SegmentedFrame, SegmentedRows, argmax, joined
from segnet.inference.resizing import Enlarger, interpolated
from segnet.inference.tiling import Rows, Span, TileConfig, blended, fits, spans, tile_size
from segnet.inference.tta import TTAConfig, averaged
from segnet.labels import ClassTable
from segnet.metrics.uncertainty import Measure, choose_measure
from segnet.runtimes.protocol import Image, Runtime, open_runtime
from segnet.runtimes.verification import Verification, Verify, apply_verification, verify

if TYPE_CHECKING:
    from segnet.media.video.settings import VideoConfig

__all__ = ["Predictor", "as_batch"]


class Settings(TypedDict, total=False):
    """What a ``Predictor`` takes besides its runtime; see there."""

    confidence: bool
    uncertainty: bool
    measure: Measure | None
    longest: int | Literal["model"] | None
    scale: float | None
    tiles: TileConfig | None
    average: TTAConfig


class Predictor:
    """A model ready to label images of any size.

    >>> predictor = Predictor.load("segnet_light")
    >>> predictor(image).mask.shape == image.shape[:2]
    True

    Args:
        runtime: what labels an image batch.
        confidence: whether to compute it too.
        uncertainty: whether to compute it too.
        measure: of uncertainty, see ``segnet.metrics.uncertainty``; None: the variance of samples, or without any the
            entropy.
        longest: images with a longer side, in pixels, are labeled at this size, and the probabilities enlarged to
            the image's own before the class is decided; "model": the longer side of the images that the model
            learned from, or 1024 if it does not say that; None labels every image at its own size.
        scale: label each image at this multiple of its size instead, whatever ``longest`` says.
        tiles: how to cut what would take too much memory; None: label everything in one piece.
        average: whether to take the mean over the mirrored image and other sizes.

    Raises:
        ConfigError: the runtime cannot give this measure or these views, the scale is outside 0.001..16, or the longer
            side is below 1.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        longest: int | Literal["model"] | None = None,
        scale: float | None = None,
        tiles: TileConfig | None = TileConfig(),  # noqa: B008
        average: TTAConfig = TTAConfig(),  # noqa: B008
    ) -> None:
        self.runtime = averaged(runtime, average)
        self._model = runtime
        self.labels: ClassTable = runtime.info.labels
        self.channels = runtime.info.channels
        self.confidence = confidence
        self.measure = choose_measure(measure, self.runtime.measures, model=runtime.info.name) if uncertainty else None
        self.longest = runtime.info.longest if longest == "model" else longest
        if self.longest is not None and self.longest < 1:
            raise ConfigError(f"longest={longest} is not possible; give pixels; for any size --longest 0, or None")
        if scale is not None and not 0.001 <= scale <= 16:
            raise ConfigError(f"scale={scale} is not possible; give a number from 0.001 to 16, 1 for the own size")
        self.scale = scale
        self.tiles = tiles
        self._enlarged = max(1.0, *average.tta_scales) ** 2

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
        **settings: Unpack[Settings],
    ) -> Self:
        """A predictor of a model file of any kind, or of a bundled model by its name; see ``open_runtime``.

        Args:
            source, device, precision, threads, samples, seed: of ``open_runtime``.
            verify: whether to compare the predictions of an exported file on reference images with those at its
                export: ``first_use`` of an INT8 file on this machine, a difference being a warning; ``always``, a
                difference being an error; or ``never``.
            **settings: of the class.

        Raises:
            ModelError: no such model, the file cannot be used, or it fails the verification.
            ConfigError: no such device or precision, or the model gives no samples or no such measure or views.
            MissingPackageError: the library that runs such files is not installed.
        """
        runtime = open_runtime(source, device=device, precision=precision, threads=threads, samples=samples, seed=seed)
        apply_verification(runtime, verify)
        return cls(runtime, **settings)

    def verify(self) -> Verification:
        """Compare the classes that an exported file predicts here with those that it predicted at its export.

        It runs on three packaged reference images, whatever the predictor's own settings are.

        Raises:
            ModelError: fewer than 99.9 % of the pixels have the same class, or the file keeps no predictions.
        """
        return verify(self._model)

    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """Label one image: uint8 (H, W, C), RGB.

        Raises:
            ShapeError: another dtype or number of channels.
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        inside, size = self._inside(image), (image.shape[0], image.shape[1])
        if self.in_tiles(*size):
            parts = [rows.prediction for rows in self.predict_rows(_ArrayRows(inside), size)]
        elif inside is image:
            return self._whole(image)
        else:
            parts = list(self._enlarger(inside.shape[:2], size).add(self._planes(inside)))
        return joined(parts)

    def predict_planes(self, image: NDArray[np.uint8]) -> Planes:
        """What a prediction is decided by, at the image's own size, all of it held at once.

        Args:
            image: uint8 (H, W, C), RGB.

        Returns:
            The probability of each class, and after them the uncertainty if it was asked for: float32 (K, H, W).

        Raises:
            ShapeError: another dtype or number of channels.
            ConfigError: the image cannot be cut into tiles that fit into the memory.
        """
        inside = self._inside(image)
        cut = self._cut(*inside.shape[:2])
        if cut is None:
            planes = self._planes(inside)
        else:
            parts = [part for *_, part in blended(_ArrayRows(inside), self._planes, np.copy, *cut)]
            planes = np.concatenate(parts, axis=1)
        return planes if inside is image else interpolated(planes, image.shape[:2])

    def predict_rows(self, rows: Rows, size: tuple[int, int] | None = None) -> Iterator[SegmentedRows]:
        """Label an image that is read from top to bottom, without ever holding the whole of it.

        Args:
            rows: the image, of ``channels`` channels; it is labeled at its own size.
            size: (height, width) of the labeling; None: of the image.

        Raises:
            ConfigError: it cannot be cut into tiles that fit into the memory.
        """
        height, width = rows.size
        self.runtime.next_image()
        enlarger = self._enlarger(rows.size, size or rows.size)
        down, across = self._cut(height, width) or ([Span(0, height)], [Span(0, width)])
        top = 0
        for _, image, predictions in blended(rows, self._planes, enlarger.add, down, across):
            for prediction in predictions:
                yield SegmentedRows(top, image if size in (None, rows.size) else None, prediction)
                top += len(prediction.mask)

    def _enlarger(self, inside: tuple[int, int], size: tuple[int, int]) -> Enlarger:
        return Enlarger(inside, size, classes=self.labels.classes, confidence=self.confidence)

    def working_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) at which an image of this size is labeled."""
        scale = self.scale
        if scale is None:
            scale = 1.0 if self.longest is None else min(1.0, self.longest / max(height, width))
            if (size := self.runtime.info.size) is not None:  # no smaller than a file takes that takes one size
                scale = min(1.0, max(scale, size[0] / height, size[1] / width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def in_tiles(self, height: int, width: int) -> bool:
        """Whether an image of this size is cut into tiles."""
        return self._cut(*self.working_size(height, width)) is not None

    def _inside(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image at the size at which it is labeled."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or not image.size:
            raise ShapeError(
                f"an image of shape {image.shape} and type {image.dtype} was given; "
                f"this model wants uint8 (H, W, {self.channels})"
            )
        self.runtime.next_image()
        return _resized(image, self.working_size(image.shape[0], image.shape[1]))

    def _cut(self, height: int, width: int) -> tuple[list[Span], list[Span]] | None:
        """The tiles down and across; None: the image is labeled in one piece."""
        if self.tiles is None:
            return None
        info, tiles = self.runtime.info, self.tiles
        if info.size is not None:
            if (height, width) == info.size or height < info.size[0] or width < info.size[1]:
                return None  # the runtime says what is wrong with an image that is too small
            down, across = info.size
            tiles = replace(tiles, tile=0, overlap=min(tiles.overlap, min(info.size) // 4))
        else:
            planes = self.labels.classes + (self.measure is not None)
            if not tiles.tile and fits(height, width, planes, tiles, enlarged=self._enlarged):
                return None
            down, across = tile_size(width, planes, tiles, enlarged=self._enlarged)
        exact = info.size is not None
        found = [
            spans(length, tile=tile, overlap=tiles.overlap, exact=exact)
            for length, tile in ((height, down), (width, across))
        ]
        return found[0], found[1]

    def _whole(self, image: NDArray[np.uint8]) -> Prediction:
        """An image in one piece, at its own size."""
        batch = as_batch(image)
        if self.measure is None and not self.confidence:
            return Prediction(self.runtime.mask(batch)[0])
        if self.measure is None:
            probabilities = self.runtime.probabilities(batch)
            return Prediction(argmax(probabilities)[0], probabilities.max(axis=1)[0])
        found = self.runtime.estimate(batch, self.measure)
        confidence = None
        if self.confidence:
            if found.probabilities is None:
                raise ModelError(f"{self.runtime.info.name}: gives masks alone; export with --output probabilities")
            confidence = found.probabilities.max(axis=1)[0]
        return Prediction(found.mask[0], confidence, found.uncertainty[0])

    def _planes(self, image: NDArray[np.uint8]) -> Planes:
        """What is blended of a tile: the probabilities of the classes, and the uncertainty if it was asked for.

        Of a model that gives masks alone, 1 stands for its class and 0 for all others.
        """
        batch = as_batch(image)
        if self.runtime.info.output == "mask" and not self.confidence:
            if self.measure is None:
                return _votes(self.runtime.mask(batch)[0], self.labels.classes)
            found = self.runtime.estimate(batch, self.measure)
            return np.concatenate([_votes(found.mask[0], self.labels.classes), found.uncertainty])
        if self.measure is None:
            planes: Planes = self.runtime.probabilities(batch)[0]
            return planes
        found = self.runtime.estimate(batch, self.measure)
        probabilities = self.runtime.probabilities(batch) if found.probabilities is None else found.probabilities
        return np.concatenate([probabilities[0], found.uncertainty])

    def stream(
        self,
        source: str | Path | int | Iterable[NDArray[np.uint8] | Pillow.Image],
        *,
        order: Literal["rgb", "bgr"] = "rgb",
        config: VideoConfig | None = None,
    ) -> Generator[SegmentedFrame]:
        """Label images, the frames of a video, or those that a program has, as they are asked for.

        ``segnet.stream`` with this predictor; see there.
        """
        from segnet.inference.stream import stream

        return stream(self, source, order=order, config=config)


class _ArrayRows(Rows):
    """An image that is in memory."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._image = image
        self._next = 0

    @property
    def size(self) -> tuple[int, int]:
        return self._image.shape[0], self._image.shape[1]

    def read(self, rows: int) -> NDArray[np.uint8]:
        self._next += rows
        return self._image[self._next - rows : self._next]


def _votes(mask: NDArray[np.uint8], classes: int) -> Planes:
    votes: Planes = (mask == np.arange(classes, dtype=np.uint8)[:, None, None]).astype(np.float32)
    return votes


def as_batch(image: NDArray[np.uint8]) -> Image:
    """uint8 (H, W, C) to float32 (1, C, H, W) in [0, 1]; channels stay innermost in memory."""
    scaled: NDArray[np.float32] = np.divide(image, np.float32(255), dtype=np.float32)
    return scaled.transpose(2, 0, 1)[None]


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Bilinear, and smoothed where it becomes smaller, to (H, W)."""
    if image.shape[:2] == size:
        return image
    way = (size[1], size[0])
    planes = [Pillow.fromarray(image[..., c]).resize(way, Pillow.Resampling.BILINEAR) for c in range(image.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)
