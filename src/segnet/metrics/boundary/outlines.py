"""Outlines of all classes at once, and what lies near them: one bit per class and pixel.

An outline is what the authors' script traces (SegNet-Tutorial, Scripts/computeBFmeasure.m, with ``seg2bdry`` of the
Berkeley benchmark): the corners between pixels around which a class both is and is not. Lines are one corner wide, and
belong to the classes on both of their sides. The rim of the image is no outline.

What is near is found by an OR over a disc, exact for Euclidean distance. For the few pixels that a boundary may be off
this takes a 65th of the time of SciPy's distance transform per class (benchmarks/bench_boundary.py), which the tests
hold it against.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bits", "Mask", "bits_of", "blocks", "each_bit", "groups", "near_border", "outlines", "reach_of", "spread"]

Mask = NDArray[np.uint8]
"""Class of each pixel, (H, W); 255 is ignored."""

Bits = NDArray[np.unsignedinteger]
"""A set of classes per pixel or corner, (H, W)."""

_MOST = 64


def groups(values: range | list[int]) -> Iterator[range | list[int]]:
    """The values in as many parts as it takes for each to fit into the bits of one number."""
    for first in range(0, len(values), _MOST):
        yield values[first : first + _MOST]


def bits_of(mask: Mask, values: range | list[int]) -> Bits:
    """Bit k where the pixel holds ``values[k]``, 0 where it holds another; at most 64 values."""
    width = next(size for size in (8, 16, 32, 64) if len(values) <= size)
    table = np.zeros(256, dtype=f"uint{width}")
    table[values] = each_bit(table.dtype, len(values))
    return table[mask]


def each_bit(dtype: np.dtype[np.unsignedinteger], many: int) -> Bits:
    """The first ``many`` bits, each alone in a number: 1, 2, 4, ..."""
    return np.left_shift(1, np.arange(many, dtype=dtype), dtype=dtype)


def blocks(bits: Bits) -> tuple[Bits, Bits]:
    """OR and AND over the 2x2 pixels around each corner; corner (i, j) lies below and to the right of pixel (i, j).

    As with ``seg2bdry`` the lower and the right rim have corners too, with the two pixels that are there.
    """
    padded = np.pad(bits, ((0, 1), (0, 1)), mode="edge")
    upper, lower = padded[:-1], padded[1:]
    any_of_column, all_of_column = upper | lower, upper & lower
    return any_of_column[:, :-1] | any_of_column[:, 1:], all_of_column[:, :-1] & all_of_column[:, 1:]


def outlines(bits: Bits) -> Bits:
    """Of each class the corners around which it both is and is not."""
    somewhere, everywhere = blocks(bits)
    return somewhere & ~everywhere


def reach_of(radius: float) -> int:
    """The largest squared distance, a whole number, that lies within the radius."""
    return math.floor(radius * radius + 1e-9)  # 0.75 % of 240x320 is 3, or a little less in floating point


def spread(bits: Bits, radius: float) -> Bits:
    """OR over the disc: the classes that occur within the radius (Euclidean, inclusive) of each place."""
    height, width = bits.shape
    square = reach_of(radius)
    reach = math.isqrt(square)
    padded = np.pad(bits, reach)
    found = np.zeros_like(bits)
    row = np.zeros_like(padded[:, :width])  # of each row, all within ``right`` to the left and to the right
    for right in range(reach + 1):
        row |= padded[:, reach - right :][:, :width]
        row |= padded[:, reach + right :][:, :width]
        for down in range(reach + 1):
            if math.isqrt(square - down * down) == right:
                found |= row[reach - down :][:height]
                found |= row[reach + down :][:height]
    return found


def near_border(mask: Mask, radius: float) -> NDArray[np.bool_]:
    """Whether a pixel with another value, a class or 255, lies within the radius: (H, W).

    With a radius of r pixels a straight border is followed by r pixels on either side.
    """
    near = np.zeros(mask.shape, dtype=bool)
    present = np.flatnonzero(np.bincount(mask.ravel(), minlength=256)).tolist()
    for values in groups(present):
        bits = bits_of(mask, values)
        near |= (spread(bits, radius) & ~bits) != 0
    return near
