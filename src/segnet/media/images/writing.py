"""The only writer of image files that are held in memory; ``png`` writes those that are not."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from segnet.errors import DataError, OutputError
from segnet.labels import ClassTable
from segnet.system.files import replacing

__all__ = ["described_values", "stored_values", "write_image", "write_mask", "write_values"]

_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 1}),  # a quarter of level 6's time, 8 % more bytes
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".webp": ("WEBP", {"quality": 92}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}


def write_mask(path: Path, mask: NDArray[np.integer[Any]], labels: ClassTable) -> None:
    """Write a mask (H, W) of values 0..255 as a PNG that keeps the numbers and shows the colors of the labels.

    Raises:
        DataError: the mask is not two-dimensional, or holds a value outside 0..255.
        OutputError: the name does not end in .png, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} cannot hold a mask; masks are written as PNG, so give a name that ends in .png")
    if mask.ndim != 2 or (mask.size and not 0 <= int(mask.min()) <= int(mask.max()) <= 255):
        raise DataError(
            f"a mask of shape {mask.shape} with values from {mask.min()} to {mask.max()} cannot be written to {path}; "
            "expected (H, W) with values from 0 to 255"
        )
    image = Image.fromarray(mask.astype(np.uint8))
    image.putpalette(labels.palette().tobytes())
    _save(path, image)


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) RGB, (H, W, 1) or (H, W) gray in the format that the suffix names.

    JPEG and WebP are written with quality 92, the others without loss.

    Raises:
        OutputError: the suffix is unknown, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() not in _WRITERS:
        raise OutputError(f"{path} cannot be written as an image; give a name that ends in {' '.join(_WRITERS)}")
    _save(path, Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image))


def write_values(path: Path, values: NDArray[np.float32], largest: float, told: Mapping[str, str]) -> None:
    """Write numbers (H, W) from 0 to ``largest`` as a gray PNG of 16 bits, in which 65535 stands for ``largest``.

    Args:
        path: ending in .png.
        values: rounded to a 65535th of ``largest``; beyond the range they become its ends.
        largest: above 0.
        told: keys and words that the file says of itself (PNG's text chunks), and how to read the values.

    Raises:
        OutputError: the name does not end in .png, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} cannot hold values of 16 bits; give a name that ends in .png")
    about = PngImagePlugin.PngInfo()
    for key, words in described_values(largest, told).items():
        about.add_text(key, words)
    _save(path, Image.fromarray(stored_values(values, largest)), pnginfo=about)


def stored_values(values: NDArray[np.float32], largest: float) -> NDArray[np.uint16]:
    """Numbers from 0 to ``largest`` as ``write_values`` stores them; beyond the range they become its ends."""
    stored: NDArray[np.uint16] = np.rint(np.clip(values / largest, 0, 1) * 65535).astype(np.uint16)
    return stored


def described_values(largest: float, told: Mapping[str, str]) -> dict[str, str]:
    """What a file of such numbers says of itself: ``told``, and how to read them."""
    return {**told, "largest": f"{largest:.9g}", "value": "stored / 65535 * largest"}


def _save(path: Path, image: Image.Image, **more: Any) -> None:
    name, options = _WRITERS[path.suffix.lower()]
    encoded = io.BytesIO()  # Pillow's own writing to a file hides the reason of a failure.
    image.save(encoded, format=name, **options, **more)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getbuffer())
