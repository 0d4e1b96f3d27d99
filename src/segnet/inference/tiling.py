"""Large images in parts: tiles that overlap, blended into one labeling row by row.

An image is cut into tiles of one size, spread evenly, whose corners lie on multiples of 32 pixels: so a pooling window
is the same in its tile as in the whole image. Where tiles overlap their probabilities are averaged, each with the
weight of a Gaussian around its middle (as nnU-Net does, Isensee et al. 2021), so that no seam is seen. Rows are handed
out as soon as no further tile touches them; kept are the overlaps alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.inference.prediction import Planes

__all__ = ["Rows", "Span", "TileConfig", "blended", "fits", "spans", "tile_size"]

Decided = TypeVar("Decided")

_STEP = 32  # the largest total stride of the networks: five poolings
# Float32 maps of a network at full size: two of 64 channels are alive at a time, and a library may copy both.
_BYTES_PER_PIXEL = 1200
_BYTES_PER_CLASS = 16  # logits, their exponentials, probabilities, and the same times their weight
_BYTES_PER_BLENDED = 6  # the sum, and the part of it that waits for the next row of tiles
_SPREAD = 8  # of the Gaussian: its standard deviation is this fraction of the tile


@dataclass(frozen=True, kw_only=True)
class TileConfig:
    """How an image that does not fit into memory is cut into tiles.

    Attributes:
        tile: Longest side of a tile in pixels. Default: 0, the largest that fits --memory. Smaller tiles use less
            memory and run slower.
        overlap: Minimum overlap of neighboring tiles in pixels. Raise it if seams show in the masks.
        memory: Memory in gigabytes that the prediction of one image may take, besides the model. A larger image is cut
            into tiles. Lower it on small machines.
    """

    tile: int = 0
    overlap: int = 128
    memory: float = 2.0

    def __post_init__(self) -> None:
        least = 2 * self.overlap + 2 * _STEP
        if self.overlap < 0 or (self.tile != 0 and self.tile < least):
            raise ConfigError(
                f"tile={self.tile} with overlap={self.overlap} is not possible; give a tile of at least two overlaps "
                f"and {2 * _STEP} pixels, or 0, and an overlap of 0 or more"
            )
        if not 0 < self.memory < math.inf:
            raise ConfigError(f"memory={self.memory} is not possible; give gigabytes, 2 for instance")


class Span(NamedTuple):
    """Pixels from ``start`` to before ``stop`` in one direction."""

    start: int
    stop: int


class Rows(Protocol):
    """An image that is read from top to bottom."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        ...

    def read(self, rows: int) -> NDArray[np.uint8]:
        """The next so many rows: uint8 (rows, W, C)."""
        ...


def fits(height: int, width: int, planes: int, config: TileConfig, *, enlarged: float = 1.0) -> bool:
    """Whether an image of this size can be labeled in one piece; see ``tile_size``."""
    return enlarged * height * width * (_BYTES_PER_PIXEL + _BYTES_PER_CLASS * planes) <= config.memory * 1e9


def tile_size(width: int, planes: int, config: TileConfig, *, enlarged: float = 1.0) -> tuple[int, int]:
    """Longest height and width of a tile, in pixels, so that the memory is kept to.

    A third of it is for the tile, a third for the rows being blended, which are as wide as the image: tiles of
    wide images are low and wide. The rest is for drawing, and for the gaps between what is freed and what is wanted.

    Args:
        width: of the image, in pixels.
        planes: how many are blended.
        config: memory and overlap, or the tile itself.
        enlarged: how many times as many pixels a tile has when it is labeled.

    Raises:
        ConfigError: the memory is too little for the smallest tile.
    """
    if config.tile:
        return config.tile, config.tile
    third, per_pixel = config.memory * 1e9 / 3, enlarged * (_BYTES_PER_PIXEL + _BYTES_PER_CLASS * planes)
    height = min(math.isqrt(int(third / per_pixel)), int(third / (_BYTES_PER_BLENDED * planes * width)))
    least = 2 * config.overlap + 2 * _STEP
    if height < least:
        raise ConfigError(
            f"memory={config.memory:g} GB is too little for an image {width} pixels wide: rows of {height} pixels are "
            f"possible, and overlap={config.overlap} wants {least}; give more memory, less overlap or a smaller scale"
        )
    return height // _STEP * _STEP, int(third / per_pixel / height) // _STEP * _STEP


def spans(length: int, *, tile: int, overlap: int, exact: bool = False) -> list[Span]:
    """Where tiles lie in one direction: few, evenly spread, the first at 0, the last ending at ``length``.

    Args:
        length: of the image in this direction.
        tile: longest tile allowed; the last may be up to 31 pixels longer.
        overlap: least number of pixels that neighbors share.
        exact: every tile has just the length ``tile``, for models that take one size; the last may then start at no
            multiple of 32.
    """
    if length <= tile:
        return [Span(0, length)]
    if exact:
        count = -(-(length - overlap) // (tile - overlap))
        return [Span(start, start + tile) for start in _even(length - tile, count, step=1)]
    # What rounding down to multiples of 32 moves apart, the tiles' length makes up for.
    count = -(-(length - overlap) // (tile // _STEP * _STEP - overlap - _STEP))
    side = -(-(length + (count - 1) * overlap) // (count * _STEP)) * _STEP + _STEP
    starts = sorted(set(_even(length - side, count, step=_STEP)))
    return [Span(start, min(start + side, length)) for start in starts[:-1]] + [Span(starts[-1], length)]


def _even(room: int, count: int, *, step: int) -> list[int]:
    return [number * room // max(count - 1, 1) // step * step for number in range(count)]


def blended(
    rows: Rows,
    label: Callable[[NDArray[np.uint8]], Planes],
    decide: Callable[[Planes], Decided],
    down: list[Span],
    across: list[Span],
) -> Iterator[tuple[int, NDArray[np.uint8], Decided]]:
    """Label tile by tile, and hand out finished rows from top to bottom.

    Args:
        rows: the image.
        label: gives the planes of a tile, uint8 (h, w, C) to float32 (K, h, w).
        decide: what to hand out of finished planes, float32 (K, h, W), which are then forgotten.
        down, across: of ``spans``, for the image's height and width.

    Yields:
        The number of the first of some rows, these rows of the image, and what ``decide`` gave.
    """
    image: NDArray[np.uint8] | None = None
    above: Planes | None = None
    shares_down, shares_across = _shares(down), _shares(across)
    for band, share in zip(_with_next(down), shares_down, strict=True):
        span, following = band
        have = 0 if image is None else len(image)
        new = rows.read(span.stop - span.start - have)
        image = new if image is None else np.concatenate([image, new])
        planes = _band(image, label, across, shares_across)
        planes *= share[:, None]
        if above is not None:
            planes[:, : above.shape[1]] += above
        done = following - span.start
        decided, above = decide(planes[:, :done]), planes[:, done:].copy()
        del planes  # before the next are made
        yield span.start, image[:done], decided
        image = image[done:]


def _band(
    image: NDArray[np.uint8],
    label: Callable[[NDArray[np.uint8]], Planes],
    across: list[Span],
    shares: list[Planes],
) -> Planes:
    """The planes of a row of tiles."""
    total: Planes | None = None
    for span, share in zip(across, shares, strict=True):
        planes = label(image[:, span.start : span.stop])
        if total is None:
            total = np.zeros((*planes.shape[:2], image.shape[1]), dtype=np.float32)
        total[:, :, span.start : span.stop] += planes * share
    assert total is not None
    return total


def _with_next(found: list[Span]) -> Iterator[tuple[Span, int]]:
    """Each span, and where its finished part ends: where the next begins."""
    yield from ((span, following.start) for span, following in pairwise(found))
    yield found[-1], found[-1].stop


def _shares(found: list[Span]) -> list[NDArray[np.float32]]:
    """The weight of each span's pixels; those of all spans that share a pixel sum to 1."""
    total = np.zeros(found[-1].stop)
    weights = [_gaussian(span.stop - span.start) for span in found]
    for span, weight in zip(found, weights, strict=True):
        total[span.start : span.stop] += weight
    return [
        (weight / total[span.start : span.stop]).astype(np.float32) for span, weight in zip(found, weights, strict=True)
    ]


def _gaussian(length: int) -> NDArray[Any]:
    places = (np.arange(length) - (length - 1) / 2) / (length / _SPREAD)
    weights: NDArray[Any] = np.exp(-0.5 * places**2)
    return weights
