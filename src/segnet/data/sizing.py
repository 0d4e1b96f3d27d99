"""Sizes in which a data set is trained where the user gives none: resizing, crop and batch.

``segnet train`` decides by these rules, and ``segnet check`` prints what it would decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, TypeVar

__all__ = [
    "LEAST_SIDE", "MOST_HEADERS", "Size", "TypicalSize",
    "choose_batch", "choose_crop", "choose_resize", "describe_sizes", "scale_size", "spread",
]  # fmt: skip

Size = tuple[int, int]
"""(height, width) in pixels."""

Item = TypeVar("Item")

MOST_HEADERS = 300
"""Images whose size is looked at, evenly spread."""

LEAST_SIDE = 96
"""Of a crop, in pixels: smaller ones show too little of a scene."""

_GRID = 16  # sides of crops are multiples of it
_SMALLEST = 48  # of a crop; five poolings leave four values per channel, so that batch norm has a variance
_CROP_PIXELS = {False: 240 * 320, True: 480 * 480}  # on a CPU, on a GPU
_LONGEST_SIDE = {False: 640, True: 1280}  # of an image; larger ones are resized
_CROP_SHARE = 2 / 3  # of the image's height and width
_BATCH = {False: 4, True: 16}
_STEPS_PER_EPOCH = 4  # at least, with few images


class TypicalSize(NamedTuple):
    """The sizes of images in a few words.

    Attributes:
        size: median (height, width).
        one_size: whether all have this size.
        both_orientations: whether there are wide and tall images.
    """

    size: Size
    one_size: bool
    both_orientations: bool


def describe_sizes(sizes: Sequence[Size]) -> TypicalSize:
    """The typical size of images, of which there is one at least."""
    heights, widths = zip(*sizes, strict=True)
    both = any(h > w for h, w in sizes) and any(w > h for h, w in sizes)
    return TypicalSize((int(median(heights)), int(median(widths))), len(set(sizes)) == 1, both)


def choose_resize(size: Size, *, both_orientations: bool, gpu: bool) -> Size | None:
    """The size to which training images are resized; None if theirs is not too large to learn from."""
    limit = _LONGEST_SIDE[gpu]
    if max(size) <= limit:
        return None
    return (limit, limit) if both_orientations else scale_size(size, limit / max(size))


def choose_crop(size: Size, *, square: bool, gpu: bool, cheap: bool = False) -> tuple[Size, float]:
    """The crop of images of this size, and its share of their sides.

    Args:
        size: of the images.
        square: whether the crop is one, since images are wide and tall.
        gpu: whether a GPU computes.
        cheap: whether half of the usual pixels must do.
    """
    height, width = (round(math.sqrt(math.prod(size))),) * 2 if square else size
    most = _CROP_PIXELS[gpu] / (2 if cheap else 1)
    share = min(_CROP_SHARE, math.sqrt(most / (height * width)))
    share = max(share, min(1.0, LEAST_SIDE / min(height, width)))
    crop = scale_size((height, width), share)
    return (max(_SMALLEST, crop[0]), max(_SMALLEST, crop[1])), share


def choose_batch(images: int, *, gpu: bool) -> int:
    """Images per step: as many as the machine computes at once, or fewer if an epoch had less than four steps."""
    return max(1, min(_BATCH[gpu], images // _STEPS_PER_EPOCH))


def scale_size(size: Size, factor: float) -> Size:
    """The size times a factor, in multiples of 16 pixels, 16 at least."""
    height, width = (max(_GRID, round(side * factor / _GRID) * _GRID) for side in size)
    return height, width


def spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of the items, evenly spread."""
    return items[:: max(1, -(-len(items) // most))]
