"""Perceptual hashes of images: equal or nearly so for images that look alike.

The hash is dHash: of an image of 9x8 gray pixels, whether each is brighter than its right neighbor, 64 bits
(N. Krawetz, 2013). Dark or flat images have few differences, so images count as alike only if their 8x8 thumbnails
are, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Look", "closest_alike", "differences", "look_at", "nearest_differences"]

Look = tuple[int, str]
"""dHash, 64 bits, and the 64 gray values of the thumbnail as hexadecimal digits."""

_BITS = 64
# How far images that look alike may differ, in bits of the hash and in gray values of the thumbnail on average.
_MOST_BITS, _MOST_GRAY = 6, 3.0  # frames of CamVid 1/15 s apart differ by 3 and 1.6 (medians)
_CHUNK = 512  # images compared with all others at once
_BIT_COUNT = np.array([bin(value).count("1") for value in range(1 << 16)], dtype=np.uint8)


def look_at(gray: NDArray[np.uint8]) -> Look:
    """The look of a gray image, uint8 (H, W)."""
    image = Image.fromarray(gray)
    small = np.asarray(image.resize((9, 8), Image.Resampling.BOX))
    bits = np.packbits(small[:, :-1] > small[:, 1:])
    thumbnail = np.asarray(image.resize((8, 8), Image.Resampling.BOX))
    return int.from_bytes(bits.tobytes(), "big"), thumbnail.tobytes().hex()


def closest_alike(looks: Sequence[Look], among: Sequence[Look], *, before: bool = False) -> NDArray[np.int64]:
    """For each image the index of the one that looks most alike; -1 if none looks alike.

    Args:
        looks: of the images.
        among: of those to compare with.
        before: whether ``among`` is ``looks``, and each image is compared with those before it only.
    """
    hashes, thumbnails = _arrays(looks)
    other_hashes, other_thumbnails = _arrays(among)
    means, other_means = thumbnails.mean(axis=1), other_thumbnails.mean(axis=1)
    found = np.full(len(looks), -1, dtype=np.int64)
    for start in range(0, len(looks) if len(among) else 0, _CHUNK):
        rows = slice(start, start + _CHUNK)
        distances = _distances(hashes[rows], other_hashes)
        distances[np.abs(means[rows, None] - other_means) > _MOST_GRAY] = _BITS + 1
        if before:
            distances[np.arange(len(among)) >= np.arange(len(looks))[rows, None]] = _BITS + 1
        closest = distances.argmin(axis=1)
        near = np.take_along_axis(distances, closest[:, None], axis=1)[:, 0] <= _MOST_BITS
        near &= np.abs(thumbnails[rows] - other_thumbnails[closest]).mean(axis=1) <= _MOST_GRAY
        found[rows] = np.where(near, closest, -1)
    return found


def differences(looks: Sequence[Look], others: Sequence[Look]) -> NDArray[np.float64]:
    """By how many gray values the thumbnails of two images differ on average, pair by pair: float64 (pairs,)."""
    difference: NDArray[np.float64] = np.abs(_arrays(looks)[1] - _arrays(others)[1]).mean(axis=1)
    return difference


def nearest_differences(looks: Sequence[Look], among: Sequence[Look]) -> NDArray[np.float64]:
    """For each image the smallest of its ``differences`` from those of ``among``, at least one: float64 (images,)."""
    _, mine = _arrays(looks)
    _, theirs = _arrays(among)
    return np.array([np.abs(theirs - thumbnail).mean(axis=1).min() for thumbnail in mine])


def _arrays(looks: Sequence[Look]) -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
    hashes = np.array([look[0] for look in looks], dtype=np.uint64)
    thumbnails = np.frombuffer(bytes.fromhex("".join(look[1] for look in looks)), dtype=np.uint8)
    return hashes, thumbnails.reshape(-1, _BITS).astype(np.int16)


def _distances(one: NDArray[np.uint64], other: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Number of differing bits, (len(one), len(other)); NumPy counts bits itself from version 2 on only."""
    words = (one[:, None] ^ other[None, :]).view(np.uint16)
    counts: NDArray[np.uint8] = _BIT_COUNT[words].reshape(len(one), len(other), 4).sum(axis=2, dtype=np.uint8)
    return counts
