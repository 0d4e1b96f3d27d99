"""Reads mask files: class indices as they are stored, or colors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from segnet.errors import DataError
from segnet.media.images.arrays import classes_of_planes, is_whole, load_array, mask_of_array, require_class_values
from segnet.media.images.decoding import Decoded, decode, read_pages
from segnet.media.images.headers import count_images
from segnet.media.images.reading import WHITE_IS_ZERO, values_of
from segnet.media.images.stored import needs_stored, read_stored

__all__ = ["MASK_FORMATS", "Encoding", "RawMask", "read_mask", "read_mask_file"]

Encoding = Literal["auto", "numbers", "colors"]
"""What the pixels of a mask file are: class indices, or colors; ``auto`` decides by the kind of the file."""

MASK_FORMATS = frozenset(("PNG", "TIFF", "BMP", "GIF", "PPM", "TGA"))
"""Lossless formats, which keep class indices."""


def read_mask(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The class indices as they are stored: uint8 (H, W), or uint16 from a file with 16 bits per pixel.

    These are the indices of a palette file (not its colors), or the values of a gray one, not stretched to 0..255
    where they have fewer bits, and not inverted in TIFF where white is 0, but for black and white of one bit. Numbers
    of other types, as in a TIFF of int64, count by their value; tifffile reads those that Pillow cannot. A color file
    with equal channels counts as gray. Alpha is dropped. The pages of a TIFF file are planes of 0 and 1, one for each
    class (one-hot).

    Raises:
        DataError: as ``read_image``, or the file holds colors, fractions, or numbers below 0 or above 65535, or is of a
            lossy format such as JPEG.
        MissingPackageError: tifffile is needed and not installed.
    """
    return read_mask_file(path, encoding="numbers").values


class RawMask(NamedTuple):
    """The content of a mask file.

    Attributes:
        values: class indices, uint8 or uint16 (H, W), or colors, uint8 (H, W, 3).
        palette: the colors of the indices 0, 1, ..., uint8 (N, 3), if the file has a palette.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None


def read_mask_file(path: Path, *, encoding: Encoding = "auto") -> RawMask:
    """The class indices or the colors of a mask file from any program.

    With ``auto``, a file in color (RGB, with alpha or without) holds colors, and a gray or palette file class
    indices, whatever the values are.

    Raises:
        DataError: as ``read_mask``, or colors are requested from a file with more than 8 bits per channel.
    """
    if path.suffix.lower() == ".npy":
        return RawMask(mask_of_array(load_array(path), path))
    if needs_stored(path):  # such as a TIFF of int64
        return RawMask(mask_of_array(read_stored(path), path))
    decoded = _decode_lossless(path)
    image = decoded.image
    if decoded.format == "TIFF" and count_images(path) > 1:
        return RawMask(classes_of_planes(_read_pages(path), path))
    if encoding == "numbers" or (encoding == "auto" and image.mode not in ("RGB", "RGBA")):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3) if image.mode == "P" else None
        return RawMask(_class_indices(decoded, path), palette)
    if decoded.halved or image.mode[0] in "IF":
        raise DataError(f"{path} has more than 8 bits a channel; expected colors of 8 bits; save it as 8-bit RGB")
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    return RawMask(np.array(image.convert("RGB")))


def _read_pages(path: Path) -> NDArray[Any]:
    """The pages of a TIFF file without previews: (pages, H, W).

    Raises:
        DataError: they are damaged, of different sizes, or in color.
    """
    pages = [_stored_values(page) for page in read_pages(path)]
    try:
        stack = np.stack(pages)
    except ValueError as error:
        raise DataError(f"{path}: its pages are no planes of one size ({error}); save the mask as one page") from error
    if stack.ndim > 3:
        raise DataError(
            f"{path}: its pages are in color; expected planes of 0 and 1, or one page; save the mask as PNG"
        )
    return stack


def _decode_lossless(path: Path) -> Decoded:
    decoded = decode(path)
    if decoded.format not in MASK_FORMATS or decoded.image.info.get("compression") in ("jpeg", "webp"):
        raise DataError(
            f"{path} is a {decoded.format} file, which may change class numbers while compressing; "
            "expected a mask as PNG, TIFF, BMP, GIF, PGM or TGA; save the original mask as PNG"
        )
    return decoded


def _class_indices(decoded: Decoded, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    mode, values = decoded.image.mode, _stored_values(decoded.image)
    if mode in ("1", "L", "P"):
        return _unstretch(values, decoded.maximum, 255).astype(np.uint8)
    if mode == "F" and is_whole(values):
        return mask_of_array(values, path)
    if mode.startswith("I"):
        require_class_values(values_of(decoded.image), path)
        return _unstretch(values, decoded.maximum, 65535).astype(np.uint16)
    if mode == "LA" or (mode in ("RGB", "RGBA") and not decoded.halved and _is_gray(values)):
        return np.ascontiguousarray(values[:, :, 0])
    raise DataError(
        f"{path} is not a mask: its pixels are of the kind {mode!r} (colors or fractions); expected "
        "one class index per pixel, as a gray or palette PNG; convert the colors to class indices first"
    )


def _stored_values(image: Image.Image) -> NDArray[Any]:
    """The pixels as an array; Pillow inverts gray of 2 to 8 bits in TIFF where white is 0."""
    values: NDArray[Any] = np.array(image)
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    return ~values if image.mode == "L" and tags.get(Tag.PhotometricInterpretation) == WHITE_IS_ZERO else values


def _unstretch(values: NDArray[Any], maximum: int, stretched: int) -> NDArray[Any]:
    """Undo Pillow's scaling of 0..maximum to 0..stretched."""
    return np.rint(values * (maximum / stretched)) if maximum else values


def _is_gray(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
