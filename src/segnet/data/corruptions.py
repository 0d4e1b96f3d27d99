"""What cameras and weather do to images, to measure how much of a model's score is left.

The idea is Hendrycks and Dietterich's ("Benchmarking neural network robustness to common corruptions and
perturbations", 2019); the strengths here are ours, one for each, so that a table stays short.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from io import BytesIO

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from segnet.bands import Channels, RGBImage, describe_channels
from segnet.errors import ConfigError

__all__ = ["CORRUPTIONS", "check_corruption", "corrupt"]

_GAMMA = 2.2  # of the displays that images are made for; light is the value to this power


def corrupt(image: RGBImage, name: str, *, key: str = "") -> RGBImage:
    """A corrupted copy of an image; the same image, name and key give the same copy on any machine.

    Args:
        image: uint8 (H, W, 3), RGB.
        name: one of ``CORRUPTIONS``.
        key: what the random numbers depend on, such as the image's name.

    Returns:
        uint8 (H, W, 3); of half or twice the height and width from ``"half"`` and ``"double"``.

    Raises:
        ConfigError: there is no such corruption, or the image is not in color.
    """
    check_corruption(name)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ConfigError(f"corruptions are for RGB images of shape (H, W, 3), not {image.shape}")
    return CORRUPTIONS[name](image, np.random.default_rng(zlib.crc32(key.encode())))


def check_corruption(name: str, channels: Channels = 3) -> None:
    """Raise a ConfigError if there is no such corruption, or not of images that are read so."""
    if name not in CORRUPTIONS:
        raise ConfigError(f"there is no corruption {name!r}; known are {', '.join(CORRUPTIONS)}")
    if channels != 3:
        raise ConfigError(f"corruptions are for RGB images, and these are read as {describe_channels(channels)}")


def _gray(image: RGBImage, rng: Generator) -> RGBImage:
    """Luminance alone, by ITU-R 601."""
    return np.array(Image.fromarray(image).convert("L").convert("RGB"))


def _night(image: RGBImage, rng: Generator) -> RGBImage:
    """A twelfth of the light, and the noise of a sensor that has only so much of it."""
    light = (image / 255.0) ** _GAMMA / 12
    shot_and_read = np.sqrt(light / 4000 + 0.001**2)
    return _bytes(np.clip(light + shot_and_read * rng.standard_normal(image.shape), 0, None) ** (1 / _GAMMA))


def _rain(image: RGBImage, rng: Generator) -> RGBImage:
    """Bright slanting streaks, one for every 500 pixels, and a tenth of haze."""
    height, width = image.shape[:2]
    layer = Image.new("L", (width, height))
    draw = ImageDraw.Draw(layer)
    slant = rng.uniform(-0.3, 0.3)
    for _ in range(height * width // 500):
        x, y = rng.uniform(-0.1, 1.1) * width, rng.uniform(-0.1, 1.0) * height
        length = height * rng.uniform(0.03, 0.08)
        draw.line([(x, y), (x + slant * length, y + length)], fill=int(rng.uniform(80, 200)))
    streaks = np.asarray(layer.filter(ImageFilter.GaussianBlur(0.5)))[..., None] / 255.0
    hazy = 0.9 * image / 255.0 + 0.1 * 0.75
    return _bytes(hazy + (1 - hazy) * streaks)


def _blur(image: RGBImage, rng: Generator) -> RGBImage:
    """Out of focus: Gaussian, standard deviation 2 pixels."""
    return np.array(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2)))


def _noise(image: RGBImage, rng: Generator) -> RGBImage:
    """Gaussian, standard deviation 0.08 of white."""
    return _bytes(image / 255.0 + 0.08 * rng.standard_normal(image.shape))


def _jpeg(image: RGBImage, rng: Generator) -> RGBImage:
    """JPEG of quality 30, colors at half resolution."""
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30, subsampling="4:2:0")
    return np.array(Image.open(file))


def _half(image: RGBImage, rng: Generator) -> RGBImage:
    return _resized(image, 0.5)


def _double(image: RGBImage, rng: Generator) -> RGBImage:
    return _resized(image, 2.0)


# Rows of a robustness table, in its order.
CORRUPTIONS: Mapping[str, Callable[[RGBImage, Generator], RGBImage]] = {
    "gray": _gray,
    "night": _night,
    "rain": _rain,
    "blur": _blur,
    "noise": _noise,
    "jpeg": _jpeg,
    "half": _half,
    "double": _double,
}


def _resized(image: RGBImage, factor: float) -> RGBImage:
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def _bytes(image: NDArray[np.float64]) -> RGBImage:
    return (image.clip(0, 1) * 255).round().astype(np.uint8)
