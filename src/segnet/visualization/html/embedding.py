"""Images inside a page: resized, and as addresses that hold the image itself."""

from __future__ import annotations

import io
from base64 import b64encode

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["address", "nearest", "smooth"]


def smooth(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The image, (H, W) or (H, W, 3), at another size; each new pixel is the mean of those it covers."""
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX))


def nearest(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask, uint8 (H, W), at another size; each pixel keeps one of its values."""
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))


def address(image: Image.Image, kind: str, **options: int) -> str:
    """The image itself as an address; ``kind`` and ``options`` are those of Pillow's writer."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"
