"""Bilinear upsampling of probabilities from the working size to the image's own size, before the class is chosen.

Each pixel gets the class of the largest probability after interpolation, so that outlines are smooth, without steps.
Between four pixels of one class every weighted mean has that class as well. Probabilities are therefore interpolated
only where the four differ: 3 % of a street scene's pixels, with the same result as interpolating all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.inference.prediction import Planes, Prediction
from segnet.runtimes.base import argmax, softmax

__all__ = ["Upsampler", "upsample"]

_MIXED = 255  # no class has this number
_PIXELS_PER_PART = 1_000_000  # of the result, yielded together
_VALUES_PER_COPY = 4_000_000  # of the planes, copied together
_VALUES_PER_STEP = 4_000_000  # probabilities interpolated together


class Upsampler:
    """Resizes the planes of an image, given from top to bottom, and predicts from them.

    The center of pixel i lies at (i + 0.5) / length, as in PyTorch's ``interpolate`` with ``align_corners=False``;
    beyond the outermost centers the outermost pixel is repeated. There is no antialiasing.

    Args:
        working_size: (height, width) of the planes.
        size: (height, width) of the prediction.
        classes: number of planes that are probabilities; one more plane is the uncertainty.
        confidence: whether the prediction has a confidence.
        logits: whether the planes are logits instead, without an uncertainty and for a prediction without a confidence.
            Probabilities are then computed only where they are interpolated.
    """

    def __init__(
        self,
        working_size: tuple[int, int],
        size: tuple[int, int],
        *,
        classes: int,
        confidence: bool,
        logits: bool = False,
    ) -> None:
        self._logits = logits
        self._working_size, self._size = working_size, size
        self._classes, self._confidence = classes, confidence
        self._down, self._across = (_neighbors(*lengths) for lengths in zip(working_size, size, strict=True))
        self._planes: Planes | None = None
        self._top = 0  # the first row in self._planes
        self._next = 0  # the first row of the result that was not yielded

    def add(self, planes: Planes) -> Iterator[Prediction]:
        """Add the next rows of the planes, and predict the rows that they complete.

        Args:
            planes: float32 (K, h, w).

        Yields:
            Consecutive rows of the prediction. Exhaust the iterator before more rows are added.
        """
        if self._working_size == self._size:
            yield self._predict(planes)
            return
        step = max(1, _VALUES_PER_COPY // (len(planes) * planes.shape[2]))
        for start in range(0, planes.shape[1], step):
            yield from self._add(planes[:, start : start + step])

    def _add(self, planes: Planes) -> Iterator[Prediction]:
        held = planes if self._planes is None else np.concatenate([self._planes, planes], axis=1)
        known = self._top + held.shape[1]
        stop = self._size[0] if known == self._working_size[0] else int(np.searchsorted(self._down.high, known))
        rows = _Rows(held, self._top, self._classes, logits=self._logits)
        step = max(1, _PIXELS_PER_PART // self._size[1])
        for start in range(self._next, stop, step):
            yield self._upsample(rows, slice(start, min(start + step, stop)))
        self._next = max(self._next, stop)
        wanted = known if self._next == self._size[0] else min(known, int(self._down.low[self._next]))
        self._planes, self._top = held[:, wanted - self._top :].copy(), wanted

    def _predict(self, planes: Planes) -> Prediction:
        probabilities = planes[: self._classes]
        return Prediction(
            argmax(probabilities[None])[0],
            probabilities.max(axis=0) if self._confidence else None,
            planes[-1].copy() if len(planes) > self._classes else None,
        )

    def _upsample(self, rows: _Rows, chosen: slice) -> Prediction:
        down, across = self._down.part(chosen, rows.top), self._across
        mask = rows.cells[down.low].take(across.low, axis=1)
        confidence = _interpolate(rows.best, down, across) if self._confidence else None
        uncertainty = None if rows.uncertainty is None else _interpolate(rows.uncertainty, down, across)
        y, x = divmod(np.flatnonzero(mask == _MIXED), self._size[1])
        step = max(1, _VALUES_PER_STEP // self._classes)
        for start in range(0, len(y), step):
            pixels = y[start : start + step], x[start : start + step]
            probabilities = rows.interpolate(down.part(pixels[0]), across.part(pixels[1]))
            mask[pixels] = probabilities.argmax(axis=1)
            if confidence is not None:
                confidence[pixels] = probabilities.max(axis=1)
        return Prediction(mask, confidence, uncertainty)


def upsample(planes: Planes, size: tuple[int, int]) -> Planes:
    """Interpolate all planes everywhere, as ``Upsampler`` does: float32 (K, h, w) to (K, *size)."""
    down, across = (_neighbors(*lengths) for lengths in zip(planes.shape[1:], size, strict=True))
    result = np.empty((len(planes), *size), dtype=np.float32)
    for plane, upsampled in zip(planes, result, strict=True):
        upsampled[...] = _interpolate(plane, down, across)
    return result


class _Neighbors(NamedTuple):
    """For each new pixel in one direction, the two old pixels that it lies between, and its distance from the first."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]

    def part(self, chosen: slice | NDArray[np.intp], top: int = 0) -> _Neighbors:
        """Those of some new pixels; old pixels are counted from ``top``."""
        return _Neighbors(self.low[chosen] - top, self.high[chosen] - top, self.share[chosen])


def _neighbors(length: int, new_length: int) -> _Neighbors:
    at = np.clip((np.arange(new_length) + 0.5) * (length / new_length) - 0.5, 0, length - 1)
    low = at.astype(np.intp)
    return _Neighbors(low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32))


class _Rows:
    """Rows before upsampling."""

    def __init__(self, planes: Planes, top: int, classes: int, *, logits: bool) -> None:
        self.top = top
        self.uncertainty = planes[-1] if len(planes) > classes else None
        self._probabilities = planes[:classes]
        self.cells = _cells(argmax(self._probabilities[None])[0])
        self._width = planes.shape[2]
        # The classes of a pixel lie together, but only of pixels that are interpolated: the number of each among them.
        places = np.flatnonzero(_corners(self.cells == _MIXED))
        self._numbers = np.empty(self.cells.size, dtype=np.intp)
        self._numbers[places] = np.arange(len(places))
        pixels = self._probabilities.reshape(classes, -1).take(places, axis=1)
        self._pixels = np.ascontiguousarray((softmax(pixels[None])[0] if logits else pixels).T)

    @property
    def best(self) -> NDArray[np.float32]:
        """The largest probability of each pixel."""
        best: NDArray[np.float32] = self._probabilities.max(axis=0)
        return best

    def interpolate(self, down: _Neighbors, across: _Neighbors) -> NDArray[np.float32]:
        """Probabilities at some pixels of mixed cells: float32 (pixels, classes)."""
        upper, lower = (self._interpolate_row(row * self._width, across) for row in (down.low, down.high))
        return _lerp(upper, lower, down.share[:, None])

    def _interpolate_row(self, row: NDArray[np.intp], across: _Neighbors) -> NDArray[np.float32]:
        left, right = (
            self._pixels.take(self._numbers.take(row + column), axis=0) for column in (across.low, across.high)
        )
        return _lerp(left, right, across.share[:, None])


def _cells(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class that a pixel shares with its right, lower and lower right neighbors; _MIXED if they differ.

    The last row and column are repeated; ``Upsampler`` uses theirs only at the border of the image.
    """
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = wide[:-1, :-1]
    mixed = (here != wide[1:, :-1]) | (here != wide[:-1, 1:]) | (here != wide[1:, 1:])
    return np.where(mixed, np.uint8(_MIXED), mask)


def _corners(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels that some cells lie between: each cell's own, the right, the lower and the lower right one."""
    wide = np.pad(cells, ((1, 0), (1, 0)))
    corners: NDArray[np.bool_] = wide[1:, 1:] | wide[:-1, 1:] | wide[1:, :-1] | wide[:-1, :-1]
    return corners


def _interpolate(values: NDArray[np.float32], down: _Neighbors, across: _Neighbors) -> NDArray[np.float32]:
    """Bilinear, (h, w) to (H, W), in the order of ``_Rows.interpolate``, so that both agree to the last bit."""
    wide = _lerp(values.take(across.low, axis=1), values.take(across.high, axis=1), across.share)
    return _lerp(wide.take(down.low, axis=0), wide.take(down.high, axis=0), down.share[:, None])


def _lerp(first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    """Linear interpolation from the first (0) to the second (1), which is overwritten."""
    second -= first
    second *= share
    second += first
    return second
