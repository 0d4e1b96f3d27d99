"""The only reader of image files that are held in memory; ``rows`` reads those that are not.

Images are RGB (or gray) in 0..255 as a viewer shows them, masks are class numbers as they are stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.errors import ConfigError, DataError
from segnet.media.images.decoding import Decoded, decode, upright

__all__ = ["Encoding", "RawMask", "pixels_of", "read_image", "read_mask", "read_mask_file"]

Encoding = Literal["auto", "numbers", "colors"]
"""What the pixels of a label map are: class numbers, or colors; ``auto`` goes by the kind of the file."""

# Formats that give back the numbers that were put in.
_MASK_FORMATS = frozenset(("PNG", "TIFF", "BMP", "GIF", "PPM", "TGA"))


def read_image(path: Path, *, channels: int = 3) -> NDArray[np.uint8]:
    """The image as a viewer shows it: uint8 (H, W, channels), RGB for 3 channels, gray (ITU-R 601 luma) for 1.

    Turned upright by its EXIF orientation; the first frame of an animation. Alpha is dropped, not blended: the stored
    colors below it count. 16-bit gray is divided by 257, so that 65535 becomes 255; floating-point gray must
    lie in [0, 1]. CMYK and YCbCr are converted without color profiles.

    Raises:
        DataError: the file is missing, not an image, damaged, or larger than ``MAX_PIXELS``.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    return _converted(decode(path).image, channels, str(path))


def pixels_of(image: Image.Image, *, channels: int = 3, name: str = "the image") -> NDArray[np.uint8]:
    """The pixels of Pillow's image as ``read_image`` gives those of a file: uint8 (H, W, channels), upright.

    Args:
        image: of any mode; stays as it is.
        channels: 3 (RGB) or 1 (gray).
        name: of the image, for errors.

    Raises:
        DataError: it holds values outside the range of its mode, or colors that cannot be converted.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    image.load()
    turned = upright(image)
    return _converted(image.copy() if turned is image else turned, channels, name)


def read_mask(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The class numbers as they are stored: uint8 (H, W), or uint16 from a file with 16 bits per pixel.

    The indices of a palette file (not its colors), or the values of a gray one, not stretched to 0..255 where they
    have fewer bits. A color file whose channels are all equal counts as gray. Alpha is dropped.

    Raises:
        DataError: as ``read_image``, or the file holds colors or fractions, or is of a lossy format such as JPEG.
    """
    return _numbers(_lossless(path), path)


class RawMask(NamedTuple):
    """What the file of a label map holds.

    Attributes:
        values: class numbers, uint8 or uint16 (H, W), or colors, uint8 (H, W, 3).
        palette: the colors of the numbers 0, 1, ..., uint8 (N, 3), if the file has some.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None


def read_mask_file(path: Path, *, encoding: Encoding = "auto") -> RawMask:
    """The class numbers of a label map that any program wrote, or its colors.

    With ``auto``, a file in color (RGB, with alpha or without) holds colors, and a gray or palette file numbers,
    whatever the values are.

    Raises:
        DataError: as ``read_mask``, or colors are wanted of a file with more than 8 bits a channel.
    """
    decoded = _lossless(path)
    image = decoded.image
    if encoding == "numbers" or (encoding == "auto" and image.mode not in ("RGB", "RGBA")):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3) if image.mode == "P" else None
        return RawMask(_numbers(decoded, path), palette)
    if decoded.halved or image.mode[0] in "IF":
        raise DataError(f"{path} has more than 8 bits a channel; expected colors of 8 bits; save it as 8-bit RGB")
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    return RawMask(np.array(image.convert("RGB")))


def _lossless(path: Path) -> Decoded:
    decoded = decode(path)
    if decoded.format not in _MASK_FORMATS or decoded.image.info.get("compression") in ("jpeg", "webp"):
        raise DataError(
            f"{path} is a {decoded.format} file, which may change class numbers while compressing; "
            "expected a mask as PNG, TIFF, BMP, GIF, PGM or TGA; save the original mask as PNG"
        )
    return decoded


def _numbers(decoded: Decoded, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    mode, values = decoded.image.mode, np.array(decoded.image)
    if mode in ("1", "L", "P"):
        return _unstretched(values, decoded.maximum, 255).astype(np.uint8)
    if mode.startswith("I") and values.min() >= 0 and values.max() <= 65535:
        return _unstretched(values, decoded.maximum, 65535).astype(np.uint16)
    if mode == "LA" or (mode in ("RGB", "RGBA") and not decoded.halved and _is_gray(values)):
        return np.ascontiguousarray(values[:, :, 0])
    raise DataError(
        f"{path} is not a mask: its pixels are of the kind {mode!r} (colors, fractions or large numbers); expected "
        "one class number per pixel, as a gray or palette PNG; turn the colors into class numbers first"
    )


def _require_known(channels: int) -> None:
    if channels not in (1, 3):
        raise ConfigError(f"images cannot be read with {channels} channels; use 3 (RGB) or 1 (gray)")


def _converted(image: Image.Image, channels: int, name: str) -> NDArray[np.uint8]:
    """RGB or gray in 8 bits; takes the note of a transparent color out of ``image``."""
    image = _eight_bits(image, name)
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    mode = "RGB" if channels == 3 else "L"
    try:
        pixels = np.array(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise DataError(
            f"{name} holds {image.mode} colors, which cannot be turned to {mode}; save it as RGB"
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Pixels of 16 bits or more, brought to 0..255; every other image unchanged."""
    if not image.mode.startswith(("I", "F")):
        return image
    top = 1 if image.mode == "F" else 65535
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= top):  # NaN comes here too.
        raise DataError(
            f"{name} holds values from {values.min():g} to {values.max():g}; "
            f"expected 0 to {top} for pixels of the kind {image.mode!r}; save it with 8 bits per channel"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


def _unstretched(values: NDArray[Any], maximum: int, stretched: int) -> NDArray[Any]:
    """Undo Pillow's scaling of 0..maximum to 0..stretched."""
    return np.rint(values * (maximum / stretched)) if maximum else values


def _is_gray(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)
