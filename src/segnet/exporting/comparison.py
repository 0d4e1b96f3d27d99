"""Comparison of an exported file, run in its own runtime, with PyTorch in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segnet.data.synthetic.scenes import render_scene
from segnet.errors import ModelError
from segnet.media.images.reading import read_image
from segnet.media.images.resizing import resize_image
from segnet.runtimes.base import FileRuntime, ImageBatch, argmax

__all__ = [
    "NOISE",
    "Comparison",
    "Tolerance",
    "compare",
    "compare_arrays",
    "compare_noise",
    "images",
    "require_close",
    "total_agreement",
]

NOISE = "noise"

_SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "street.jpg"
_TINY = ((1, 1, 1), (1, 1, 7), (1, 6, 1))
_NOISE = ((2, 33, 47), (1, 64, 48))
_SCENE = (117, 163)


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Largest accepted difference of a file from PyTorch in float32.

    If two maxima of a pooling window are equal except for rounding, the file may pick the other one, and the value
    moves by one pixel. Flat images have many such windows. Therefore numbers are compared on noise only, by quantiles,
    and on other noise where that has such a window; on images, classes are compared.

    Attributes:
        agreement: smallest share of pixels with the same class, over all images.
        median, p999: largest median and 99.9 % quantile of the absolute difference on noise, as a share of PyTorch's
            largest magnitude.
        repeat, excess, spread: replace the fields above for files that draw samples: how far the agreement may be below
            that of two PyTorch runs, the largest ``Comparison.excess``, and the largest factor between
            ``Comparison.spread`` and 1.
    """

    agreement: float = 0.999
    median: float = 1e-4
    p999: float = 0.02
    repeat: float = 0.05
    excess: float = 2.0
    spread: float = 1.35


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Difference of a file from PyTorch on one image batch.

    Attributes:
        image: name of the image.
        shape: (N, C, H, W).
        pixels: number of compared pixels.
        agreement: share of the pixels with the same class.
        largest, mean, median, p999: absolute difference of the outputs: maximum, mean, median and 99.9 % quantile; None
            for masks.
        scale: the largest magnitude of PyTorch's output; None for masks.
        repeat: share of the pixels with the same class in two PyTorch runs; only for files that draw samples.
        excess: squared distance of the mean from PyTorch's mean, divided by its expectation, so about 1; only for files
            that draw samples and are no masks.
        spread: uncertainty of the file divided by PyTorch's, so about 1; only for files that draw samples.
    """

    image: str
    shape: tuple[int, ...]
    pixels: int
    agreement: float
    largest: float | None = None
    mean: float | None = None
    median: float | None = None
    p999: float | None = None
    scale: float | None = None
    repeat: float | None = None
    excess: float | None = None
    spread: float | None = None

    def is_near(self, tolerance: Tolerance) -> bool:
        """Whether the numbers are within the tolerance. NaN is not; masks, which have no numbers, are."""
        if self.median is None or self.p999 is None or self.scale is None:
            return True
        return self.median <= tolerance.median * self.scale and self.p999 <= tolerance.p999 * self.scale

    def is_likely(self, tolerance: Tolerance) -> bool:
        """Whether the samples have PyTorch's distribution. NaN does not; a file without samples does."""
        if self.spread is None:
            return True
        near = 1 / tolerance.spread <= self.spread <= tolerance.spread
        return near and (self.excess is None or self.excess <= tolerance.excess)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def images(size: tuple[int, int] | None, channels: int, *, tiny: bool = True) -> Iterator[tuple[str, ImageBatch]]:
    """Batches to compare on: noise, the packaged street scene, and a synthetic scene.

    Args:
        size: (H, W) of all images; None: several sizes, some of them odd.
        channels: number of channels.
        tiny: whether some images have a side of one pixel. Upsampled, such images would be flat.
    """
    generator = np.random.default_rng(0)
    shapes = [(1, *size)] if size else [*(_TINY if tiny else ()), *_NOISE]
    for number, height, width in shapes:
        yield NOISE, generator.random((number, channels, height, width), dtype=np.float32)
    yield "street scene", _as_batch(read_image(_SAMPLE), size, channels)
    yield "synthetic scene", _as_batch(render_scene(1, size=_SCENE)[0], size, channels)


def _as_batch(pixels: NDArray[np.uint8], size: tuple[int, int] | None, channels: int) -> ImageBatch:
    resized = pixels if size is None else resize_image(pixels, size)
    image = np.asarray(resized, dtype=np.float32).transpose(2, 0, 1) / 255
    return np.ascontiguousarray(np.resize(image, (channels, *image.shape[1:]))[None])


def compare(runtime: FileRuntime, network: nn.Module, name: str, image: ImageBatch) -> Comparison:
    """Run one batch through the file, and through the network in PyTorch.

    Raises:
        ModelError: the output has another shape.
    """
    with torch.no_grad():
        expected: NDArray[Any] = network(torch.from_numpy(image)).numpy()
    return compare_arrays(runtime.output(image), expected, name, image.shape)


def compare_arrays(output: NDArray[Any], expected: NDArray[Any], name: str, shape: tuple[int, ...]) -> Comparison:
    """Compare an output of a file with that of PyTorch.

    Args:
        output: of the file: whole numbers, such as a mask, or floating point numbers.
        expected: of PyTorch. Where it has channels, (N, 2 or more, ...), pixels agree if the largest is the same;
            without channels, if the numbers differ by less than a thousandth of the largest magnitude.
        name: of the images.
        shape: of the images.

    Raises:
        ModelError: the output has another shape.
    """
    if output.shape != expected.shape:
        raise ModelError(
            f"the exported file gives {output.shape} where PyTorch gives {expected.shape}; please report it"
        )
    is_whole = expected.dtype.kind != "f"
    if is_whole:
        same = output == expected
    elif expected.ndim >= 3 and expected.shape[1] >= 2:
        same = _largest(output) == _largest(expected)
    else:
        same = np.abs(output - expected) <= 1e-3 * np.abs(expected).max()
    return Comparison(
        image=name,
        shape=shape,
        pixels=same.size,
        agreement=float(same.mean()),
        **({} if is_whole else _differences(output, expected)),
    )


def _largest(values: NDArray[Any]) -> NDArray[Any]:
    return argmax(values) if values.shape[1] <= 256 else values.argmax(axis=1)


def _differences(output: NDArray[Any], expected: NDArray[Any]) -> dict[str, float]:
    difference = np.abs(output.astype(np.float64) - expected)
    return {
        "largest": float(difference.max()),
        "mean": float(difference.mean()),
        "median": float(np.median(difference)),
        "p999": float(np.quantile(difference, 0.999, method="lower")),
        "scale": float(np.abs(expected).max()),
    }


def compare_noise(check: Callable[[int], Sequence[Comparison]], tolerance: Tolerance | None) -> list[Comparison]:
    """Compare on noise; if the numbers are out of the tolerance, on two other draws of it, if both are within.

    One pair of equal maxima in a small map moves values of the whole image, also in PyTorch if its rounding changes. A
    wrong file is as wrong on the next noise.

    Args:
        check: compares each output on the noise of a draw: 0, 1 or 2.
        tolerance: of the numbers. None: they are not judged, and one draw is enough.
    """
    first = list(check(0))
    if tolerance is None or all(one.is_near(tolerance) for one in first):
        return first
    others = [*check(1), *check(2)]
    return others if all(one.is_near(tolerance) for one in others) else first


def require_close(comparisons: Sequence[Comparison], tolerance: Tolerance) -> None:
    """Refuse a file that is out of the tolerance.

    Raises:
        ModelError: the file is out of the tolerance; the message has the figures.
    """
    _require_finite(comparisons, tolerance)
    agreement, least = total_agreement(comparisons), tolerance.agreement
    if comparisons[0].repeat is not None:
        least = _share((one.repeat or 0.0, one.pixels) for one in comparisons) - tolerance.repeat
    if agreement < least:
        raise ModelError(
            f"the exported file does not give what PyTorch gives: {agreement:.4%} of the pixels have the same class, "
            f"at least {least:.2%} expected; nothing was written"
        )
    for one in comparisons:
        if not one.is_likely(tolerance):
            raise ModelError(
                f"the exported file does not give what PyTorch gives: on the {one.image} of shape {one.shape} its "
                f"samples spread {one.spread:.2f} times as far, and the square of the distance of their mean is "
                f"{one.excess or 0.0:.2f} times what chance explains; at most {tolerance.spread:g} (or one over it) "
                f"and {tolerance.excess:g} expected; nothing was written"
            )
        if one.image == NOISE and not one.is_near(tolerance):
            raise ModelError(
                f"the exported file does not give what PyTorch gives: on noise of shape {one.shape} half of the "
                f"numbers differ by up to {one.median:.2g} and 999 of 1000 by up to {one.p999:.2g}, the largest being "
                f"{one.scale:.2g}; shares of {tolerance.median:g} and {tolerance.p999:g} expected; nothing was written"
            )


def _require_finite(comparisons: Sequence[Comparison], tolerance: Tolerance) -> None:
    """Blame the network, not its file, for NaN and infinity of PyTorch."""
    for one in comparisons:
        if one.image == NOISE and not one.is_near(tolerance) and not math.isfinite(one.scale or 0.0):
            raise ModelError(
                f"in PyTorch the network gives NaN or infinity on noise of shape {one.shape}; check its weights, "
                "and the values that it takes; nothing was written"
            )


def total_agreement(comparisons: Sequence[Comparison]) -> float:
    """Share of all pixels with the same class."""
    return _share((one.agreement, one.pixels) for one in comparisons)


def _share(parts: Iterable[tuple[float, int]]) -> float:
    counts = [(share * pixels, pixels) for share, pixels in parts]
    return sum(count for count, _ in counts) / sum(pixels for _, pixels in counts)
