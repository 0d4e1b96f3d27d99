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
    width = mask.shape[1]
    starts = np.ones(mask.shape, dtype=bool)
    np.not_equal(mask[:, 1:], mask[:, :-1], out=starts[:, 1:])
    first = np.flatnonzero(starts)
    lengths = np.diff(first, append=mask.size)
    touching = starts[1:] | starts[:-1]  # once for each pair of runs
    touching &= mask[1:] == mask[:-1]
    upper = np.flatnonzero(touching)
    run_of = np.cumsum(starts.ravel(), dtype=np.int32)
    roots = _join(len(lengths), run_of[upper] - 1, run_of[upper + width] - 1)
    areas = np.bincount(roots, weights=lengths)
    return areas[areas > 0].astype(np.int64)


def _join(count: int, one: NDArray[np.int32], other: NDArray[np.int32]) -> NDArray[np.int32]:
    """The smallest index that each of 0 .. count-1 is connected to by pairs of ``one`` and ``other``."""
    parent = np.arange(count, dtype=np.int32)
    while len(one):
        here, there = parent[one], parent[other]
        apart = here != there
        one, other, here, there = one[apart], other[apart], here[apart], there[apart]
        parent[np.maximum(here, there)[::-1]] = np.minimum(here, there)[::-1]
        while not np.array_equal(grand := parent[parent], parent):
            parent = grand
    return parent
