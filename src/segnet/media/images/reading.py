"""Reads image files into memory; ``strips`` reads images larger than memory.

Images are RGB or gray in 0..255, as a viewer shows them. Masks are class indices, as they are stored.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from segnet.errors import ConfigError, DataError, one_line
from segnet.media.images.decoding import DAMAGE, apply_orientation, decode, mend_wide_planes

__all__ = ["WHITE_IS_ZERO", "load_pixels", "pixels_of", "read_image", "unknown_range", "values_of", "warn_of_few_bits"]

log = logging.getLogger("segnet")

WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF file whose largest value is black."""

_SIGNED = 2  # sample format of TIFF
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose gray of 16 bits Pillow gives as int32

_FEW_BITS = 14  # of 16; cameras and scanners with 10, 12 or 14 bits often store them without scaling
_FEW_LEVELS = 16  # of 256
_warned: set[int] = set()


def read_image(path: Path, *, channels: int = 3) -> NDArray[np.uint8]:
    """The image as a viewer shows it: uint8 (H, W, channels), RGB for 3 channels, gray (ITU-R 601 luma) for 1.

    The EXIF orientation is applied; of an animation the first frame is read. Alpha is dropped, not blended. 16-bit
    gray is divided by 257, so that 65535 becomes 255; floating-point gray must lie in [0, 1]. CMYK and YCbCr are
    converted without color profiles.

    Raises:
        DataError: the file is missing, not an image, damaged, larger than ``MAX_PIXELS``, or holds signed integers or
            integers of 32 bits, whose range is not known.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    decoded = decode(path)
    pixels = _convert(_to_eight_bits(decoded.image, str(path)), channels, str(path))
    gray = decoded.image.mode.startswith("I")
    if gray or decoded.halved:
        largest = int(pixels.max())
        if gray:
            _warn_of_few_levels(path, int(pixels.min()), largest)
        warn_of_few_bits(path, largest)
    return pixels


def warn_of_few_bits(path: Path, largest: int) -> None:
    """Warn, once for each number of bits, of 16-bit pixels whose upper bits are all zero.

    Args:
        path: of the image.
        largest: of its values, after they were scaled from 65535 to 255.
    """
    bits = -2 * (-max(0, largest * 257 - 128).bit_length() // 2)  # 12 for values up to 4095
    if 0 < bits <= _FEW_BITS and bits not in _warned:
        _warned.add(bits)
        log.warning(
            "segnet: %s is dark: its pixels have 16 bits, and the largest value is one of %d bits; multiply the values "
            "by %d if they are %d-bit data (further such images are not named)",
            path, bits, 2 ** (16 - bits), bits,
        )  # fmt: skip


def _warn_of_few_levels(path: Path, least: int, largest: int) -> None:
    """Warn once of bright 16-bit pixels of which hardly any gray values are left in 8 bits, as of thermal cameras."""
    if largest >= 1 << (_FEW_BITS - 8) and 0 < largest - least < _FEW_LEVELS and _FEW_LEVELS not in _warned:
        _warned.add(_FEW_LEVELS)
        log.warning(
            "segnet: %s has little contrast: of its 16-bit values, %d gray levels of 256 are left; to keep them, read "
            "it as a band, with channels: [0] and value_range: [lowest, highest] in data.yaml (further such images are "
            "not named)", path, largest - least + 1,
        )  # fmt: skip


def pixels_of(image: Image.Image, *, channels: int = 3, name: str = "the image") -> NDArray[np.uint8]:
    """The pixels of a Pillow image as ``read_image`` reads those of a file: uint8 (H, W, channels), upright.

    Args:
        image: of any mode; is not changed.
        channels: 3 (RGB) or 1 (gray).
        name: of the image, for errors.

    Raises:
        DataError: it is damaged or closed, holds values outside the range of its mode or without a known range, or
            colors that cannot be converted.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    load_pixels(image, name)
    converted = _to_eight_bits(apply_orientation(image), name)
    return _convert(image.copy() if converted is image else converted, channels, name)


def load_pixels(image: Image.Image, name: str) -> None:
    """Decode the pixels of a Pillow image, if they are not decoded yet.

    Raises:
        DataError: it is damaged or closed.
    """
    mend_wide_planes(image)
    try:
        if isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is None:
            raise ValueError("its file was closed before its pixels were read")
        image.load()
    except DAMAGE as error:
        path = getattr(image, "filename", "")
        raise DataError(
            f"{name}{f' ({path})' if path else ''} cannot be decoded ({one_line(error)}); expected a Pillow image that "
            "is whole and open; open it again, or copy or download its file again"
        ) from error


def values_of(image: Image.Image) -> NDArray[Any]:
    """The values of a Pillow image, in the type of its file; of 16-bit gray in TIFF white is 65535, not 0.

    Pillow itself inverts gray of 8 bits where white is 0, and does not invert gray of 16 bits. It gives all integers
    of more bits, and those with a sign, as int32.
    """
    values: NDArray[Any] = np.asarray(image)
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return values
    tags = image.tag_v2
    if image.mode == "I;16" and tags.get(Tag.PhotometricInterpretation) == WHITE_IS_ZERO:
        return ~values
    if image.mode == "I":
        kind = "int" if tags.get(Tag.SampleFormat, (1,))[0] == _SIGNED else "uint"
        return values.astype(f"{kind}{tags[Tag.BitsPerSample][0]}")
    return values


def unknown_range(values: NDArray[Any], name: str) -> DataError:
    """The error of integers whose type has no range, such as int32: their values do not say which one is white."""
    return DataError(
        f"{name} holds {values.dtype} from {values.min()} to {values.max()}, a type whose range is not known; expected "
        "uint8, uint16, or floating numbers from 0 to 1; convert it to one of these, or, if it has bands, state "
        "value_range: [lowest, highest] in data.yaml"
    )


def _require_known(channels: int) -> None:
    if channels not in (1, 3):
        raise ConfigError(f"images cannot be read with {channels} channels; use 3 (RGB) or 1 (gray)")


def _convert(image: Image.Image, channels: int, name: str) -> NDArray[np.uint8]:
    """RGB or gray of an image in 8 bits; removes the transparent color from ``image.info``."""
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    mode = "RGB" if channels == 3 else "L"
    try:
        pixels = np.array(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise DataError(
            f"{name} holds {image.mode} colors, which cannot be converted to {mode}; save it as RGB"
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _to_eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Pixels of 16 bits or more scaled to 0..255; every other image unchanged."""
    if not image.mode.startswith(("I", "F")):
        return image
    values, top = values_of(image), 1 if image.mode == "F" else 65535
    if image.mode == "I" and image.format not in _SIXTEEN_BITS:
        raise unknown_range(values, name)
    if not (values.min() >= 0 and values.max() <= top):  # true for NaN
        raise DataError(
            f"{name} holds values from {values.min():g} to {values.max():g}; "
            f"expected 0 to {top} for pixels of the kind {image.mode!r}; save it with 8 bits per channel"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
