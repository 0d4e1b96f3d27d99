"""Label islands: connected parts of a mask, and those of a few pixels, as slips of the brush and JPEG leave them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TINY", "component_areas"]

TINY = 4
"""Components of at most so many pixels are islands."""


def component_areas(mask: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Areas in pixels of the 4-connected components of equal value, (components,), in no order.

    Runs of equal pixels in a row are joined with those that they touch in the next row.
    """
    height, width = mask.shape
    starts = np.ones(mask.shape, dtype=bool)
    starts[:, 1:] = mask[:, 1:] != mask[:, :-1]
    run_of = (np.cumsum(starts.ravel()) - 1).reshape(height, width)
    lengths = np.bincount(run_of.ravel())
    touching = mask[1:] == mask[:-1]
    touching &= starts[1:] | starts[:-1]  # once for each pair of runs
    upper, lower = run_of[:-1][touching], run_of[1:][touching]
    roots = _join(len(lengths), upper, lower)
    return np.bincount(roots, weights=lengths)[np.unique(roots)].astype(np.int64)


def _join(count: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The smallest index that each of 0 .. count-1 is connected to by pairs of ``one`` and ``other``."""
    parent = np.arange(count)
    while len(one):
        low, high = np.minimum(parent[one], parent[other]), np.maximum(parent[one], parent[other])
        apart = low != high
        one, other, low, high = one[apart], other[apart], low[apart], high[apart]
        parent[high[::-1]] = low[::-1]
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
    return parent
