"""Does a mask lie on its image? Boundaries of masks are judged by the edges of the image below them.

The edges are gradients of the gray image, divided by their local mean, with mean 0 and standard deviation 1. The fit of
a mask is their mean over the mask's boundary: about 0 for a mask of anything else, 0.4 to 1.4 for CamVid's own masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Alignment", "align"]

_SIDE = 240  # the longest side is reduced to about this many pixels
_FEWEST_BOUNDARY_PIXELS = 60  # below, chance decides
_LOCAL = 16  # side of the places whose mean gradient is divided by
_FLOOR = 2.0  # gray values: gradients below are noise
_REACH = 12  # largest shift that is looked for, in reduced pixels

Map = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How well the boundaries of a mask lie on the edges of its image.

    Attributes:
        fit: mean edge strength on the boundaries, in standard deviations.
        best: the same at the best shift.
        shift_xy: the best shift of the mask in pixels of the image.
        flips: the same if the mask is flipped horizontally, vertically and both ways.
    """

    fit: float
    best: float
    shift_xy: tuple[int, int]
    flips: tuple[float, float, float]


def align(gray: NDArray[np.uint8], mask: NDArray[np.integer[Any]]) -> Alignment | None:
    """Compare a mask with its image.

    Args:
        gray: the image, uint8 (H, W).
        mask: class indices or any values, (H, W).

    Returns:
        None for images too small, or masks with too little boundary, to say anything.
    """
    step = max(1, round(max(gray.shape) / _SIDE))
    boundary = _boundaries(mask[step // 2 :: step, step // 2 :: step])
    edges = _edges(gray, step)
    height, width = (min(one, other) for one, other in zip(boundary.shape, edges.shape, strict=True))
    boundary, edges = boundary[:height, :width], edges[:height, :width]
    count = float(boundary.sum())
    if count < _FEWEST_BOUNDARY_PIXELS or min(height, width) <= 2 * _REACH or not edges.any():
        return None
    surface = _shifted_fits(edges, boundary, count)
    best = np.unravel_index(int(surface.argmax()), surface.shape)
    flips = [float((edges * flipped).sum()) / count for flipped in _flips(boundary)]
    return Alignment(
        fit=float(surface[_REACH, _REACH]),
        best=float(surface[best]),
        shift_xy=(step * int(best[1] - _REACH), step * int(best[0] - _REACH)),
        flips=(flips[0], flips[1], flips[2]),
    )


def _flips(boundary: Map) -> tuple[Map, Map, Map]:
    return boundary[:, ::-1], boundary[::-1], boundary[::-1, ::-1]


def _boundaries(mask: NDArray[np.integer[Any]]) -> Map:
    """1 where the value differs from that to the left or above."""
    found = np.zeros(mask.shape, dtype=np.float32)
    found[:, 1:] = mask[:, 1:] != mask[:, :-1]
    np.maximum(found[1:], mask[1:] != mask[:-1], out=found[1:])
    return found


def _edges(gray: NDArray[np.uint8], step: int) -> Map:
    reduced = np.asarray(Image.fromarray(gray).reduce(step), dtype=np.float32)
    gradient = np.zeros_like(reduced)
    gradient[:, 1:] = np.abs(np.diff(reduced, axis=1))
    np.maximum(gradient[1:], np.abs(np.diff(reduced, axis=0)), out=gradient[1:])
    image = Image.fromarray(gradient)
    near = image.reduce(_LOCAL).resize(image.size, Image.Resampling.BILINEAR)
    strength = np.sqrt(gradient / (np.asarray(near) + _FLOOR))
    edges: Map = (strength - strength.mean()) / max(float(strength.std()), 1e-6)
    return edges


def _shifted_fits(edges: Map, boundary: Map, count: float) -> Map:
    """The fit at every shift of up to ``_REACH`` pixels, the mask moving down and right: (25, 25), no shift central."""
    spectrum = np.fft.rfft2(edges) * np.conj(np.fft.rfft2(boundary))
    fits = np.fft.irfft2(spectrum, s=edges.shape) / count
    rolled = np.roll(fits, (_REACH, _REACH), axis=(0, 1))
    return rolled[: 2 * _REACH + 1, : 2 * _REACH + 1].astype(np.float32)
