"""Tiny files of which the tests of layouts make data sets: images of 2x3 pixels, and one mask for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.data.layouts import Source

MASK = np.array([[0, 1, 1], [255, 0, 1]], dtype=np.uint8)  # what every data set here must give for its first image


def save(path: Path, pixels: Sequence[object] | NDArray[np.generic], mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def photo(path: Path) -> Path:
    return save(path, np.zeros((2, 3, 3)))


def colored(first: tuple[int, ...], second: tuple[int, ...], ignored: tuple[int, ...]) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), dtype=np.uint8)
    table[0], table[1], table[255] = first, second, ignored
    return table[MASK]


def masks_of(source: Source, split: str = "train") -> NDArray[np.generic]:
    mask = source.dataset(split)[0]["mask"]
    assert not isinstance(mask, str)
    return mask.numpy()


def numbered(values: tuple[int, int, int]) -> NDArray[np.uint8]:
    table = np.zeros(256, dtype=np.uint8)
    table[0], table[1], table[255] = values
    return table[MASK]
