"""Writes image files from memory; ``png`` writes images larger than memory row by row."""

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

__all__ = [
    "WRITABLE_IMAGE_SUFFIXES", "encode_image", "encode_mask", "encode_values", "value_metadata", "write_image",
    "write_mask", "write_values",
]  # fmt: skip

_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 1}),  # a quarter of level 6's time, 8 % more bytes
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".webp": ("WEBP", {"quality": 92}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}

_LARGEST_SIDES = {"JPEG": 65_500, "WEBP": 16_383}  # in pixels, of libjpeg and libwebp; the other formats hold any

WRITABLE_IMAGE_SUFFIXES = frozenset(_WRITERS)
"""Suffixes of images that ``write_image`` writes."""


def write_mask(path: Path, mask: NDArray[np.integer[Any]], labels: ClassTable) -> None:
    """Write a mask (H, W) of class indices as a palette PNG of the labels' values, in their colors.

    Indices of no class, such as 255, are written as they are.

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
    _write(path, encode_mask(mask, labels))


def encode_mask(mask: NDArray[np.integer[Any]], labels: ClassTable) -> bytes:
    """The file that ``write_mask`` writes, for a mask (H, W) with values from 0 to 255."""
    image = Image.fromarray(labels.to_file_values(mask))
    image.putpalette(labels.file_palette().tobytes())
    return _encode(image, ".png")


def write_image(path: Path, image: NDArray[np.uint8]) -> None:
    """Write uint8 (H, W, 3) RGB, (H, W, 1) or (H, W) gray in the format that the suffix names.

    JPEG and WebP are written with quality 92, the others without loss.

    Raises:
        DataError: a side of the image is longer than the format allows.
        OutputError: the suffix is unknown, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() not in _WRITERS:
        raise OutputError(f"{path} cannot be written as an image; give a name that ends in {' '.join(_WRITERS)}")
    _write(path, encode_image(image, path.suffix.lower(), name=str(path)))


def encode_image(image: NDArray[np.uint8], suffix: str, *, name: str = "the image") -> bytes:
    """The file that ``write_image`` writes.

    Args:
        image: uint8 (H, W, 3) RGB, (H, W, 1) or (H, W) gray.
        suffix: of ``WRITABLE_IMAGE_SUFFIXES``.
        name: of the image, for errors.

    Raises:
        DataError: a side of the image is longer than the format allows: JPEG 65,500 pixels, WebP 16,383.
    """
    format_name, (height, width) = _WRITERS[suffix][0], image.shape[:2]
    if max(height, width) > (most := _LARGEST_SIDES.get(format_name, max(height, width))):
        raise DataError(
            f"{name} has {width} x {height} pixels, and {format_name} holds at most {most:,} on a side; write it as PNG"
        )
    return _encode(Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image), suffix)


def write_values(path: Path, values: NDArray[np.float32], largest: float, metadata: Mapping[str, str]) -> None:
    """Write values, float32 (H, W), from 0 to ``largest`` as a 16-bit gray PNG, in which 65535 stands for ``largest``.

    Args:
        path: ending in .png.
        values: rounded to a 65535th of ``largest``; clipped to the range.
        largest: above 0.
        metadata: keys and texts of PNG text chunks; how to decode the values is added.

    Raises:
        OutputError: the name does not end in .png, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() != ".png":
        raise OutputError(f"{path} cannot hold values of 16 bits; give a name that ends in .png")
    chunks = PngImagePlugin.PngInfo()
    for key, text in value_metadata(largest, metadata).items():
        chunks.add_text(key, text)
    _write(path, _encode(Image.fromarray(encode_values(values, largest)), ".png", pnginfo=chunks))


def encode_values(values: NDArray[np.float32], largest: float) -> NDArray[np.uint16]:
    """Values from 0 to ``largest`` as ``write_values`` stores them: uint16 of the same shape, clipped to the range."""
    encoded: NDArray[np.uint16] = np.rint(np.clip(values / largest, 0, 1) * 65535).astype(np.uint16)
    return encoded


def value_metadata(largest: float, metadata: Mapping[str, str]) -> dict[str, str]:
    """The text chunks of a file of values: ``metadata``, and how to decode the values."""
    return {**metadata, "largest": f"{largest:.9g}", "value": "stored / 65535 * largest"}


def _encode(image: Image.Image, suffix: str, **extra: Any) -> bytes:
    format_name, options = _WRITERS[suffix]
    encoded = io.BytesIO()
    image.save(encoded, format=format_name, **options, **extra)
    return encoded.getvalue()


def _write(path: Path, encoded: bytes) -> None:
    """Write a file that was encoded in memory; Pillow's own writing to a file hides the reason of a failure."""
    with replacing(path) as temporary:
        temporary.write_bytes(encoded)
