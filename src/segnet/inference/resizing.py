"""A labeling at another size than its image was labeled at: probabilities are interpolated, then classes decided.

Each pixel gets the class of the largest probability after bilinear interpolation, so that outlines are lines and not
steps. Between four pixels of one class every weighted mean of them has that class too, so the probabilities are
interpolated only where the four differ: 3 % of a street scene's pixels, with the same result as all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.inference.prediction import Planes, Prediction, argmax

__all__ = ["Enlarger", "interpolated"]

_MIXED = 255  # no class has this number
_AT_ONCE = 1_000_000  # pixels that are handed out together
_HELD = 4_000_000  # numbers of the planes that are copied together
_INTERPOLATED = 4_000_000  # probabilities that are interpolated together


class Enlarger:
    """Takes the planes of an image from top to bottom, and gives its labeling at another size.

    The middle of pixel i lies at (i + 0.5) / length, as in PyTorch's ``interpolate`` with ``align_corners=False``;
    beyond the outermost middles the outermost pixel counts. What becomes smaller is not smoothed before.

    Args:
        inside: (height, width) of the planes.
        size: (height, width) of the labeling.
        classes: how many of the planes are probabilities; one more after them is the uncertainty.
        confidence: whether to give it.
    """

    def __init__(self, inside: tuple[int, int], size: tuple[int, int], *, classes: int, confidence: bool) -> None:
        self._inside, self._size = inside, size
        self._classes, self._confidence = classes, confidence
        self._down, self._across = (_places(part, full) for part, full in zip(inside, size, strict=True))
        self._planes: Planes | None = None
        self._top = 0  # the first row that is held
        self._next = 0  # the first row that was not handed out

    def add(self, planes: Planes) -> Iterator[Prediction]:
        """The rows of the labeling that can be told now that these are known, in parts.

        Args:
            planes: the next rows, float32 (K, h, w). What this gives must be read to its end before more are added.
        """
        if self._inside == self._size:
            yield self._decided(planes)
            return
        step = max(1, _HELD // (len(planes) * planes.shape[2]))
        for start in range(0, planes.shape[1], step):
            yield from self._add(planes[:, start : start + step])

    def _add(self, planes: Planes) -> Iterator[Prediction]:
        held = planes if self._planes is None else np.concatenate([self._planes, planes], axis=1)
        known = self._top + held.shape[1]
        stop = self._size[0] if known == self._inside[0] else int(np.searchsorted(self._down.high, known))
        rows = _Rows(held, self._top, self._classes)
        step = max(1, _AT_ONCE // self._size[1])
        for start in range(self._next, stop, step):
            yield self._enlarged(rows, slice(start, min(start + step, stop)))
        self._next = max(self._next, stop)
        wanted = known if self._next == self._size[0] else min(known, int(self._down.low[self._next]))
        self._planes, self._top = held[:, wanted - self._top :].copy(), wanted

    def _decided(self, planes: Planes) -> Prediction:
        probabilities = planes[: self._classes]
        return Prediction(
            argmax(probabilities[None])[0],
            probabilities.max(axis=0) if self._confidence else None,
            planes[-1].copy() if len(planes) > self._classes else None,
        )

    def _enlarged(self, rows: _Rows, chosen: slice) -> Prediction:
        down, across = self._down.part(chosen, rows.top), self._across
        mask = rows.cells[down.low].take(across.low, axis=1)
        confidence = _interpolated(rows.best, down, across) if self._confidence else None
        uncertainty = None if rows.uncertainty is None else _interpolated(rows.uncertainty, down, across)
        y, x = np.nonzero(mask == _MIXED)
        step = max(1, _INTERPOLATED // self._classes)
        for start in range(0, len(y), step):
            place = y[start : start + step], x[start : start + step]
            probabilities = rows.interpolated(down.part(place[0]), across.part(place[1]))
            mask[place] = probabilities.argmax(axis=1)
            if confidence is not None:
                confidence[place] = probabilities.max(axis=1)
        return Prediction(mask, confidence, uncertainty)


def interpolated(planes: Planes, size: tuple[int, int]) -> Planes:
    """All planes at another size, float32 (K, h, w) to (K, *size): what ``Enlarger`` decides by, everywhere."""
    down, across = (_places(part, full) for part, full in zip(planes.shape[1:], size, strict=True))
    found = np.empty((len(planes), *size), dtype=np.float32)
    for plane, enlarged in zip(planes, found, strict=True):
        enlarged[...] = _interpolated(plane, down, across)
    return found


class _Places(NamedTuple):
    """Between which two pixels each new one lies in one direction, and how far from the first."""

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    share: NDArray[np.float32]

    def part(self, chosen: slice | NDArray[np.intp], top: int = 0) -> _Places:
        """Some of them, counted from pixel ``top``."""
        return _Places(self.low[chosen] - top, self.high[chosen] - top, self.share[chosen])


def _places(length: int, full: int) -> _Places:
    at = np.clip((np.arange(full) + 0.5) * (length / full) - 0.5, 0, length - 1)
    low = at.astype(np.intp)
    return _Places(low, np.minimum(low + 1, length - 1), (at - low).astype(np.float32))


class _Rows:
    """Rows before they are enlarged."""

    def __init__(self, planes: Planes, top: int, classes: int) -> None:
        self.top = top
        self.uncertainty = planes[-1] if len(planes) > classes else None
        probabilities = planes[:classes]
        self.best = probabilities.max(axis=0)
        self.cells = _cells(argmax(probabilities[None])[0])
        self._width = planes.shape[2]
        self._pixels = np.ascontiguousarray(probabilities.transpose(1, 2, 0)).reshape(-1, classes)

    def interpolated(self, down: _Places, across: _Places) -> NDArray[np.float32]:
        """Probabilities at some pixels, (pixels, classes)."""
        upper, lower = (self._of_row(row * self._width, across) for row in (down.low, down.high))
        return _between(upper, lower, down.share[:, None])

    def _of_row(self, row: NDArray[np.intp], across: _Places) -> NDArray[np.float32]:
        left, right = (self._pixels.take(row + column, axis=0) for column in (across.low, across.high))
        return _between(left, right, across.share[:, None])


def _cells(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The class that a pixel, its right and its lower neighbors and the one between them have, or _MIXED.

    The last row and column have none beyond them; ``Enlarger`` asks for those of the image's rim alone.
    """
    wide = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    here = wide[:-1, :-1]
    mixed = (here != wide[1:, :-1]) | (here != wide[:-1, 1:]) | (here != wide[1:, 1:])
    return np.where(mixed, np.uint8(_MIXED), mask)


def _interpolated(values: NDArray[np.float32], down: _Places, across: _Places) -> NDArray[np.float32]:
    """Bilinear, (h, w) to (H, W), in the order of ``_Rows.interpolated``, so that both are the same to the last bit."""
    wide = _between(values.take(across.low, axis=1), values.take(across.high, axis=1), across.share)
    return _between(wide.take(down.low, axis=0), wide.take(down.high, axis=0), down.share[:, None])


def _between(
    first: NDArray[np.float32], second: NDArray[np.float32], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """From the first, 0, to the second, 1; written over the second."""
    second -= first
    second *= share
    second += first
    return second
