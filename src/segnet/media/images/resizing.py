"""The one rule of resizing: images and float planes bilinear, masks by nearest neighbor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.errors import ConfigError

__all__ = ["check_scales", "resize_image", "resize_mask", "resize_planes"]

Number = TypeVar("Number", bound=np.uint8 | np.float32)


def check_scales(name: str, scales: Sequence[float]) -> None:
    """Refuse factors by which no image can sensibly be resized.

    Args:
        name: Of the setting.
        scales: Its factors.

    Raises:
        ConfigError: There is none, or one is below 0.1 or above 10.
    """
    if not scales or not all(0.1 <= scale <= 10 for scale in scales):
        written = ",".join(f"{scale:g}" for scale in scales)
        raise ConfigError(f"{name}={written} is not possible; give numbers from 0.1 to 10, 0.75,1,1.25 for instance")


def resize_planes(planes: NDArray[Number], size: tuple[int, int]) -> NDArray[Number]:
    """Resize each plane by itself: bilinear, with antialiasing where it becomes smaller.

    Args:
        planes: uint8 or float32 (..., H, W).
        size: new (height, width).

    Returns:
        The same dtype, (..., *size); the argument itself if the size does not change.
    """
    if planes.shape[-2:] == size:
        return planes
    flat = planes.reshape(-1, *planes.shape[-2:])
    way = (size[1], size[0])
    resized = [np.asarray(Image.fromarray(plane).resize(way, Image.Resampling.BILINEAR)) for plane in flat]
    result: NDArray[Number] = np.stack(resized).reshape(*planes.shape[:-2], *size)
    return result


def resize_image(image: NDArray[Number], size: tuple[int, int]) -> NDArray[Number]:
    """Resize an image, uint8 or float32 (H, W, C), to (*size, C) as ``resize_planes`` does; channels stay innermost."""
    if image.shape[:2] == size:
        return image
    if image.dtype == np.uint8 and image.shape[2] == 3:  # the same values, without taking the channels apart
        resized: NDArray[Number] = np.array(
            Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
        )
        return resized
    return np.ascontiguousarray(np.moveaxis(resize_planes(np.moveaxis(image, 2, 0), size), 0, 2))


def resize_mask(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a mask, uint8 (H, W), to ``size`` by nearest neighbor: each new pixel has the class at its center."""
    if mask.shape == size:
        return mask
    rows, columns = (
        ((2 * np.arange(new) + 1) * old // (2 * new)).astype(np.intp) for old, new in zip(mask.shape, size, strict=True)
    )
    resized: NDArray[np.uint8] = mask[rows[:, None], columns]
    return resized
