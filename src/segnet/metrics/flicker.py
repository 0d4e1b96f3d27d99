"""The flicker of a segmented video: the share of pixels whose class changes from frame to frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["FlickerMeter", "find_motion", "move"]

_REDUCED = 240  # pixels of the longer side that motion is searched at
_BLOCK = 8
_REACH = 6


class FlickerMeter:
    """Counts changes of class between frames that follow each other.

    Args:
        motion: also count them along the motion: against the mask before, moved as the image has moved. What still
            changes then is flicker, and what has come out from behind something else.
    """

    def __init__(self, *, motion: bool = False) -> None:
        self._motion = motion
        self._before: tuple[NDArray[np.uint8], NDArray[np.float32] | None] | None = None
        self._pairs = 0
        self._changed = self._changed_along = 0.0  # sums, so that hours take no more memory than seconds

    def add(self, image: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
        """Count one frame: uint8 (H, W, C) and (H, W). A frame of another size than the one before starts anew."""
        before, gray = self._before, _reduced(image) if self._motion else None
        self._before = mask, gray
        if before is None or before[0].shape != mask.shape:
            return
        self._pairs += 1
        self._changed += np.count_nonzero(before[0] != mask) / mask.size
        if gray is not None and before[1] is not None:
            moved = move(before[0], find_motion(before[1], gray), gray.shape)
            self._changed_along += float(np.mean(moved != mask))

    @property
    def share(self) -> float | None:
        """Mean share of pixels whose class changes; None of fewer than two frames."""
        return self._changed / self._pairs if self._pairs else None

    @property
    def share_along_motion(self) -> float | None:
        """The same against the mask before as the image has moved; None if it was not asked for."""
        return self._changed_along / self._pairs if self._pairs and self._motion else None


def find_motion(before: NDArray[np.float32], after: NDArray[np.float32]) -> NDArray[np.intp]:
    """Where each block of 8x8 pixels comes from, by the least sum of absolute differences.

    Args:
        before, after: gray images (H, W) of one size.

    Returns:
        Offsets (rows, columns, 2), down and right, of -6 to 6 pixels: block (r, c) of ``after`` looks like ``before``
        at its own place plus the offset. Blocks that lie partly outside are made whole with the border's pixels.
    """
    height, width = after.shape
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    below, right = rows * _BLOCK - height, columns * _BLOCK - width
    after = np.pad(after, ((0, below), (0, right)), mode="edge")
    before = np.pad(before, ((_REACH, _REACH + below), (_REACH, _REACH + right)), mode="edge")
    best = np.full((rows, columns), np.inf, dtype=np.float32)
    offsets = np.zeros((rows, columns, 2), dtype=np.intp)
    for down, aside in _OFFSETS:
        shifted = before[_REACH + down :, _REACH + aside :][: after.shape[0], : after.shape[1]]
        blocks = np.abs(after - shifted).reshape(rows, _BLOCK, columns, _BLOCK)
        cost = blocks.sum(axis=(1, 3))
        better = cost < best
        best[better], offsets[better] = cost[better], (down, aside)
    return offsets


# From the nearest to the farthest, so that of equal places the nearest is taken.
_OFFSETS = sorted(
    ((down, aside) for down in range(-_REACH, _REACH + 1) for aside in range(-_REACH, _REACH + 1)),
    key=lambda offset: offset[0] ** 2 + offset[1] ** 2,
)


def move(mask: NDArray[np.uint8], offsets: NDArray[np.intp], searched: tuple[int, ...]) -> NDArray[np.uint8]:
    """The mask as its blocks have moved; what would come from outside is taken from the border.

    Args:
        mask: (H, W).
        offsets: of ``find_motion``, at the size ``searched``.
        searched: (height, width) of the images that motion was found in.
    """
    (height, width), rows, columns = mask.shape, np.arange(mask.shape[0]), np.arange(mask.shape[1])
    down, aside = height / searched[0], width / searched[1]
    block = np.ix_((rows / down / _BLOCK).astype(np.intp), (columns / aside / _BLOCK).astype(np.intp))
    from_rows = rows[:, None] + np.rint(offsets[..., 0] * down).astype(np.intp)[block]
    from_columns = columns + np.rint(offsets[..., 1] * aside).astype(np.intp)[block]
    moved: NDArray[np.uint8] = mask[from_rows.clip(0, height - 1), from_columns.clip(0, width - 1)]
    return moved


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Gray, and averaged so that the longer side has at most 240 pixels: float32."""
    step = -(-max(image.shape[:2]) // _REDUCED)
    down, aside = (min(step, side) for side in image.shape[:2])
    height, width = image.shape[0] // down, image.shape[1] // aside
    cut = image[: height * down, : width * aside]
    gray: NDArray[np.float32] = cut.reshape(height, down, width, aside, -1).mean(axis=(1, 3, 4), dtype=np.float32)
    return gray
