"""Sliding-window inference: overlapping tiles of a large image, blended into one prediction from top to bottom.

An image is cut into evenly spaced tiles of one size. Their corners lie on multiples of 32 pixels, so that a pooling
window is the same in the tile as in the whole image. Where tiles overlap, their probabilities are averaged with
Gaussian weights around each tile's center (as in nnU-Net, Isensee et al. 2021), so that no seam is visible. Rows are
yielded as soon as no further tile touches them; only the overlaps stay in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels
from segnet.errors import ConfigError
from segnet.inference.prediction import Planes
from segnet.system.field_types import check_types

__all__ = [
    "ArrayRows", "Rows", "Span", "TileConfig", "Tiles", "blend_tiles", "cut", "cut_exactly", "fits", "spans",
    "tile_size",
]  # fmt: skip

Result = TypeVar("Result")

_STEP = 32  # the largest total stride of the networks: five poolings
# Float32 feature maps at full size: two of 64 channels are alive at a time, and a library may copy both.
_BYTES_PER_PIXEL = 1200
_BYTES_PER_CLASS = 16  # logits, their exponentials, probabilities, and their product with the weights
_BYTES_PER_BLENDED = 6  # the weighted sum, and its rows that overlap the next tiles
_SPREAD = 8  # standard deviations of the Gaussian per tile length


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
        check_types(self)
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

    def read(self, rows: int) -> Pixels:
        """The next so many rows: (rows, W, C)."""
        ...


class ArrayRows(Rows):
    """An image in memory."""

    def __init__(self, image: Pixels) -> None:
        self._image = image
        self._next = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self._image.shape[0], self._image.shape[1]

    def read(self, rows: int) -> Pixels:
        """The next so many rows: (rows, W, C)."""
        self._next += rows
        return self._image[self._next - rows : self._next]


Tiles = tuple[list[Span], list[Span]]
"""The tiles of an image, vertically and horizontally."""


def cut(height: int, width: int, planes: int, config: TileConfig, *, enlarged: float = 1.0) -> Tiles | None:
    """Cut an image of this height and width; None if it can be segmented in one piece.

    Args:
        height, width: of the image, in pixels.
        planes, config, enlarged: see ``tile_size``.

    Raises:
        ConfigError: the memory is too little for the smallest tile.
    """
    if fits(height, width, planes, config, enlarged=enlarged):
        return None
    down, across = tile_size(width, planes, config, enlarged=enlarged)
    return spans(height, tile=down, overlap=config.overlap), spans(width, tile=across, overlap=config.overlap)


def cut_exactly(height: int, width: int, size: tuple[int, int], config: TileConfig) -> Tiles | None:
    """Cut an image for a model of a fixed input size; None if it has that size, or is too small, which is refused.

    Args:
        height, width: of the image, in pixels.
        size: (height, width) of each tile.
        config: its overlap counts, up to a quarter of the tile.
    """
    if (height, width) == size or height < size[0] or width < size[1]:
        return None
    overlap = min(config.overlap, min(size) // 4)
    down, across = (
        spans(length, tile=tile, overlap=overlap, exact=True)
        for length, tile in zip((height, width), size, strict=True)
    )
    return down, across


def fits(height: int, width: int, planes: int, config: TileConfig, *, enlarged: float = 1.0) -> bool:
    """Whether an image of this height and width can be segmented in one piece; see ``tile_size``."""
    if config.tile:
        return max(height, width) <= config.tile
    return enlarged * height * width * (_BYTES_PER_PIXEL + _BYTES_PER_CLASS * planes) <= config.memory * 1e9


def tile_size(width: int, planes: int, config: TileConfig, *, enlarged: float = 1.0) -> tuple[int, int]:
    """Largest (height, width) of a tile, in pixels, that fits the memory.

    A third of the memory is for the tile, and a third for the rows being blended, which are as wide as the image; so
    tiles of wide images are low and wide. The rest is for drawing, and for fragmentation.

    Args:
        width: of the image, in pixels.
        planes: number of planes that are blended.
        config: memory and overlap, or the tile itself.
        enlarged: pixels of the largest copy of a tile that test-time augmentation makes, per pixel of the tile.

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
            f"memory={config.memory:g} GB is too little for an image {width} pixels wide: tiles of {height} "
            f"rows fit, and overlap={config.overlap} needs {least}; give more memory, less overlap or a smaller scale"
        )
    return height // _STEP * _STEP, int(third / per_pixel / height) // _STEP * _STEP


def spans(length: int, *, tile: int, overlap: int, exact: bool = False) -> list[Span]:
    """Positions of tiles in one direction: as few as possible, evenly spaced, from 0 to ``length``.

    Args:
        length: of the image in this direction, in pixels.
        tile: largest length of a tile, rounded down to a multiple of 32; the last may be up to 31 pixels longer.
        overlap: least overlap of neighbors, in pixels.
        exact: every tile has exactly the length ``tile``, for models with a fixed input size; tiles may then start
            anywhere, not only at multiples of 32.
    """
    if length <= tile:
        return [Span(0, length)]
    if exact:
        count = -(-(length - overlap) // (tile - overlap))
        return [Span(start, start + tile) for start in _even(length - tile, count, step=1)]
    # In multiples of 32; the last tile takes the rest.
    whole, overlap = length // _STEP * _STEP, -(-overlap // _STEP) * _STEP
    count = -(-(whole - overlap) // (tile // _STEP * _STEP - overlap))
    side = -(-(whole + (count - 1) * overlap) // (count * _STEP)) * _STEP
    starts = _even(whole - side, count, step=_STEP)
    return [Span(start, start + side) for start in starts[:-1]] + [Span(starts[-1], length)]


def _even(room: int, count: int, *, step: int) -> list[int]:
    return [number * room // max(count - 1, 1) // step * step for number in range(count)]


def blend_tiles(
    rows: Rows,
    predict: Callable[[Pixels], Planes],
    finish: Callable[[Planes], Result],
    down: list[Span],
    across: list[Span],
) -> Iterator[tuple[int, Pixels, Result]]:
    """Predict tile by tile, and yield finished rows from top to bottom.

    Args:
        rows: the image.
        predict: planes of a tile, (h, w, C) to float32 (K, h, w).
        finish: result of finished planes, float32 (K, h, W), which are then released.
        down, across: ``spans`` of the image's height and width.

    Yields:
        The number of the first row, these rows of the image, and the result of ``finish``.
    """
    image: Pixels | None = None
    overlap: Planes | None = None
    weights_down, weights_across = _weights(down), _weights(across)
    for (span, stop), weights in zip(_finished_parts(down), weights_down, strict=True):
        known = 0 if image is None else len(image)
        new = rows.read(span.stop - span.start - known)
        image = new if image is None else np.concatenate([image, new])
        planes = _predict_row(image, predict, across, weights_across)
        planes *= weights[:, None]
        if overlap is not None:
            planes[:, : overlap.shape[1]] += overlap
        done = stop - span.start
        result, overlap = finish(planes[:, :done]), planes[:, done:].copy()
        del planes  # before the next ones are allocated
        yield span.start, image[:done], result
        image = image[done:]


def _predict_row(
    image: Pixels,
    predict: Callable[[Pixels], Planes],
    across: list[Span],
    weights_across: list[NDArray[np.float32]],
) -> Planes:
    """The blended planes of one row of tiles."""
    total: Planes | None = None
    for span, weights in zip(across, weights_across, strict=True):
        planes = predict(image[:, span.start : span.stop])
        if total is None:
            total = np.zeros((*planes.shape[:2], image.shape[1]), dtype=np.float32)
        total[:, :, span.start : span.stop] += planes * weights
    assert total is not None
    return total


def _finished_parts(tiles: list[Span]) -> Iterator[tuple[Span, int]]:
    """Each span, and where its finished part ends: at the start of the next span."""
    yield from ((span, following.start) for span, following in pairwise(tiles))
    yield tiles[-1], tiles[-1].stop


def _weights(tiles: list[Span]) -> list[NDArray[np.float32]]:
    """The weight of each tile's pixels; the weights of all tiles that share a pixel sum to 1."""
    total = np.zeros(tiles[-1].stop)
    gaussians = [_gaussian(span.stop - span.start) for span in tiles]
    for span, gaussian in zip(tiles, gaussians, strict=True):
        total[span.start : span.stop] += gaussian
    return [
        (gaussian / total[span.start : span.stop]).astype(np.float32)
        for span, gaussian in zip(tiles, gaussians, strict=True)
    ]


def _gaussian(length: int) -> NDArray[Any]:
    distances = (np.arange(length) - (length - 1) / 2) / (length / _SPREAD)
    gaussian: NDArray[Any] = np.exp(-0.5 * distances**2)
    return gaussian
