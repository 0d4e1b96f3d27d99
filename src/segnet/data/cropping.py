"""Image and mask of one sample in another size: random crops, and letterboxing, both with the aspect kept.

What lies beyond the image is padded: the image with a color, the mask with the ignore index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels
from segnet.data.augment_config import AugmentConfig
from segnet.labels import IGNORE_INDEX
from segnet.media.images.resizing import resize_image, resize_mask

__all__ = ["RandomCrop", "letterbox"]

Pair = tuple[Pixels, NDArray[np.uint8]]
Padding = tuple[float, ...]
"""A value per channel, on the scale of the image; empty: black."""


class _Box(NamedTuple):
    """A rectangle in pixels of an image; parts of it may lie beyond the image."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True, kw_only=True)
class RandomCrop:
    """Cuts a random rectangle out of an image and its mask, and resizes it to one size.

    All images of a data set have the same range of scales, so that objects are as large as in prediction. It is given
    by the typical image: the rectangle covers a random share of its area. An image that is smaller than the rectangle
    is padded, at a random position; so is every image where the share is above 1.

    Attributes:
        size: (height, width) of the result.
        area: lowest and highest share of the typical image's area, possibly above 1.
        stretch: largest change of the aspect ratio, as a factor.
        typical: (height, width) of the typical image.
    """

    size: tuple[int, int]
    area: tuple[float, float]
    stretch: float
    typical: tuple[int, int]

    @classmethod
    def from_config(cls, config: AugmentConfig, typical: tuple[int, int]) -> RandomCrop | None:
        """The crop of a training run; None if it takes whole images."""
        if config.crop is None:
            return None
        return cls(size=config.crop, area=config.crop_area, stretch=config.crop_stretch, typical=typical)

    def __call__(
        self,
        image: Pixels,
        mask: NDArray[np.uint8],
        rng: np.random.Generator,
        *,
        scale: float = 1.0,
        padding: Padding = (),
    ) -> Pair:
        """Crop one sample.

        Args:
            image: uint8 or float32 (H, W, C).
            mask: uint8 (H, W).
            rng: decides the rectangle.
            scale: factor from the image's own size to that at which it is compared with the typical image.
            padding: of the image.

        Returns:
            (*size, C) of the image's type, and uint8 (*size).
        """
        box = self._draw((mask.shape[0], mask.shape[1]), scale, rng)
        return _resample(image, mask, box, self.size, padding)

    def _draw(self, size: tuple[int, int], scale: float, rng: np.random.Generator) -> _Box:
        share = rng.uniform(*self._shares())
        height, width = self._sides(share)
        height, width = height / scale, width / scale
        low, high = -math.log(self.stretch), math.log(self.stretch)
        # As far as the rectangle fits into the image; at least one of the two factors is 1 or less there.
        high_that_fits, low_that_fits = 2 * math.log(size[1] / width), 2 * math.log(height / size[0])
        if low_that_fits <= high_that_fits:
            low, high = (min(max(end, low_that_fits), high_that_fits) for end in (low, high))
        factor = math.sqrt(math.exp(rng.uniform(low, high)))
        height, width = height / factor, width * factor
        top, left = (
            rng.uniform(min(0.0, whole - part), max(0.0, whole - part))
            for whole, part in zip(size, (height, width), strict=True)
        )
        return _Box(top, left, height, width)

    def _shares(self) -> tuple[float, float]:
        """The range of shares; up to 1 a rectangle of the result's aspect ratio lies within the typical image."""
        height, width = self._sides(1.0)
        largest = min(self.typical[0] / height, self.typical[1] / width, 1.0) ** 2
        low, high = (min(share, largest * max(1.0, share)) for share in self.area)
        return low, high

    def _sides(self, share: float) -> tuple[float, float]:
        """Height and width of the rectangle without a change of its aspect ratio."""
        aspect = self.size[1] / self.size[0]
        area = share * self.typical[0] * self.typical[1]
        return math.sqrt(area / aspect), math.sqrt(area * aspect)


def letterbox(image: Pixels, mask: NDArray[np.uint8], size: tuple[int, int]) -> Pair:
    """Resize image and mask to the largest size that fits into ``size``, and pad both sides of what is left.

    Args:
        image: uint8 or float32 (H, W, C).
        mask: uint8 (H, W).
        size: (height, width) of the result.

    Returns:
        (*size, C) of the image's type, and uint8 (*size).
    """
    scale = min(size[0] / mask.shape[0], size[1] / mask.shape[1])
    height, width = size[0] / scale, size[1] / scale
    box = _Box((mask.shape[0] - height) / 2, (mask.shape[1] - width) / 2, height, width)
    return _resample(image, mask, box, size, ())


def _resample(image: Pixels, mask: NDArray[np.uint8], box: _Box, size: tuple[int, int], padding: Padding) -> Pair:
    """What lies in the box, resized to ``size``."""
    (rows, to_rows), (columns, to_columns) = (
        _spans(start, length, whole, new)
        for start, length, whole, new in zip(box[:2], box[2:], mask.shape, size, strict=True)
    )
    inside = (to_rows.stop - to_rows.start, to_columns.stop - to_columns.start)
    piece, classes = resize_image(image[rows, columns], inside), resize_mask(mask[rows, columns], inside)
    if inside == size:
        return piece, classes
    canvas = np.empty((*size, image.shape[2]), dtype=image.dtype)
    canvas[:] = padding or 0
    ignored = np.full(size, IGNORE_INDEX, dtype=np.uint8)
    canvas[to_rows, to_columns], ignored[to_rows, to_columns] = piece, classes
    return canvas, ignored


def _spans(start: float, length: float, whole: int, new: int) -> tuple[slice, slice]:
    """Pixels of the image that lie in the box, and where they come to lie, in one direction."""
    first, last = max(0.0, start), min(float(whole), start + length)
    low = min(round(first), whole - 1)
    share = new / length
    count = min(new, max(1, round((last - first) * share)))
    place = min(round((first - start) * share), new - count)
    return slice(low, max(low + 1, round(last))), slice(place, place + count)
