"""From a picture to its labelling."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from segnet.errors import ModelError, ShapeError
from segnet.labels import Labels
from segnet.runtimes.protocol import Image, Runtime, argmax, open_runtime
from segnet.uncertainty import Measure, choose_measure

Item = TypeVar("Item")
Read = TypeVar("Read")

__all__ = ["Prediction", "Predictor", "as_batch", "read_ahead"]


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        mask: uint8 (H, W), class of each pixel.
        confidence: float32 (H, W), probability of that class; None if it was not asked for.
        uncertainty: float32 (H, W), by the predictor's measure, 0 where nothing is unsure; None if it was not asked
            for.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.float32] | None = None
    uncertainty: NDArray[np.float32] | None = None


class Predictor:
    """A model ready to label pictures of any size.

    >>> predictor = Predictor.load("segnet_light")
    >>> predictor(image).mask.shape == image.shape[:2]
    True

    Args:
        runtime: what labels an image batch.
        confidence: whether to compute it too.
        uncertainty: whether to compute it too.
        measure: of uncertainty, see ``segnet.uncertainty``; None: the variance of samples, or without any the entropy.
        longest: pictures with a longer side, in pixels, are labelled at this size and the result enlarged to the
            picture's own by nearest neighbour; None labels every picture at its own size.

    Raises:
        ConfigError: the runtime cannot give this measure.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        longest: int | None = None,
    ) -> None:
        self.runtime = runtime
        self.labels: Labels = runtime.info.labels
        self.channels = runtime.info.channels
        self.confidence = confidence
        self.measure = choose_measure(measure, runtime.measures, model=runtime.info.name) if uncertainty else None
        self.longest = longest

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
        confidence: bool = False,
        uncertainty: bool = False,
        measure: Measure | None = None,
        longest: int | None = None,
    ) -> Self:
        """A predictor of a model file of any kind, or of a bundled model by its name; see ``open_runtime``.

        Raises:
            ModelError: no such model, or the file cannot be used.
            ConfigError: no such device or precision, or the model gives no samples or no such measure.
            MissingPackageError: the library that runs such files is not installed.
        """
        runtime = open_runtime(source, device=device, precision=precision, threads=threads, samples=samples, seed=seed)
        return cls(runtime, confidence=confidence, uncertainty=uncertainty, measure=measure, longest=longest)

    def __call__(self, image: NDArray[np.uint8]) -> Prediction:
        """Label one picture: uint8 (H, W, C), RGB.

        Raises:
            ShapeError: another dtype or number of channels.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != self.channels or not image.size:
            raise ShapeError(
                f"a picture of shape {image.shape} and type {image.dtype} was given; "
                f"this model wants uint8 (H, W, {self.channels})"
            )
        size = image.shape[:2]
        batch = as_batch(_at_most(image, self.longest))
        if self.measure is not None:
            return self._with_uncertainty(batch, self.measure, size)
        if not self.confidence:
            return Prediction(_enlarged(self.runtime.mask(batch)[0], size))
        probabilities = self.runtime.probabilities(batch)
        mask, confidence = argmax(probabilities)[0], probabilities.max(axis=1)[0]
        return Prediction(_enlarged(mask, size), _enlarged(confidence, size))

    def _with_uncertainty(self, batch: Image, measure: Measure, size: tuple[int, ...]) -> Prediction:
        found = self.runtime.estimate(batch, measure)
        confidence = None
        if self.confidence:
            if found.probabilities is None:
                raise ModelError(f"{self.runtime.info.name}: gives masks alone; export with --output probabilities")
            confidence = _enlarged(found.probabilities.max(axis=1)[0], size)
        return Prediction(_enlarged(found.mask[0], size), confidence, _enlarged(found.uncertainty[0], size))


def as_batch(image: NDArray[np.uint8]) -> Image:
    """uint8 (H, W, C) to float32 (1, C, H, W) in [0, 1]; channels stay innermost in memory."""
    scaled: NDArray[np.float32] = np.divide(image, np.float32(255), dtype=np.float32)
    return scaled.transpose(2, 0, 1)[None]


def _at_most(image: NDArray[np.uint8], longest: int | None) -> NDArray[np.uint8]:
    """The picture, reduced if a side is longer than ``longest``."""
    height, width = image.shape[:2]
    if longest is None or max(height, width) <= longest:
        return image
    scale = longest / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    planes = [Pillow.fromarray(image[..., c]).resize(size, Pillow.Resampling.BILINEAR) for c in range(image.shape[2])]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


def _enlarged(values: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """Nearest neighbour to (H, W); as it is if it has that size."""
    if values.shape == size:
        return values
    return np.asarray(Pillow.fromarray(values).resize((size[1], size[0]), Pillow.Resampling.NEAREST))


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Read], *, ahead: int = 4
) -> Iterator[tuple[Item, Future[Read]]]:
    """Items in order, each with its reading under way in a thread while the caller works on the one before.

    Args:
        items: what to read.
        read: called in a thread; what it raises comes out of the future's ``result()``.
        ahead: how many may be read and not yet taken; bounds the memory.
    """
    with ThreadPoolExecutor(max_workers=2) as pool:
        waiting: list[tuple[Item, Future[Read]]] = []
        for item in items:
            waiting.append((item, pool.submit(read, item)))
            if len(waiting) > ahead:
                yield waiting.pop(0)
        yield from waiting
