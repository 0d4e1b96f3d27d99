"""Image files as Pillow decodes them, and what is wrong with those that it cannot."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from segnet.errors import DataError

__all__ = ["MAX_PIXELS", "Decoded", "Header", "decode", "read_header", "upright"]

MAX_PIXELS = 500_000_000
"""Larger images are refused by their header: decoding one would take 2 GB of memory and more."""

# Of the 40 that Pillow knows; others start a program (EPS: Ghostscript) or take minutes for a damaged file (DDS).
# JPEG covers MPO. TGA is last, since it has no signature.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000", "TGA")

# What Pillow's decoders raise on damaged files (found by feeding them some).
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Header(NamedTuple):
    """What an image file says before its pixels.

    Attributes:
        format: as Pillow names it: PNG, JPEG, TIFF, ...
        size: (H, W) as it is stored, before it is turned upright.
        mode: the kind of its pixels, as Pillow names it: RGB, L, CMYK, ...
    """

    format: str
    size: tuple[int, int]
    mode: str


def read_header(path: Path) -> Header | None:
    """Format, size and kind of pixels of an image; None if it is no image, or is not there."""
    try:
        with path.open("rb") as file:
            image = _identify(file)
            return Header(image.format or "", (image.height, image.width), image.mode)
    except _DAMAGE:
        return None


class Decoded(NamedTuple):
    """An image with all its pixels, upright, and what its file says of them.

    Attributes:
        image: in whatever mode Pillow decodes it to.
        format: as Pillow names it.
        maximum: the largest gray value the file can hold, which Pillow stretches to 255 or 65535; 0: not stretched.
        halved: whether Pillow kept only the upper 8 of 16 bits.
    """

    image: Image.Image
    format: str
    maximum: int
    halved: bool


def decode(path: Path) -> Decoded:
    """All pixels of an image file.

    Raises:
        DataError: the file is missing, not an image, damaged, or larger than ``MAX_PIXELS``.
    """
    try:
        with path.open("rb") as file:
            return _load(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist; expected an image; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected an image; give the path of a file") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read; give yourself the permission to read it") from error
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large ({error}); at most {MAX_PIXELS:,} pixels are read at once; scale it down, or save it "
            "as RGB in PNG, JPEG or TIFF and let 'segnet predict' read it in parts, which needs the extra 'large' and "
            "does not go with --records, --save coco or --save polygons"
        ) from error
    except UnidentifiedImageError as error:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty (0 bytes); expected an image; copy or download it again") from error
        raise DataError(
            f"{path} is not an image that can be read, whatever its name says; "
            f"expected {', '.join(_FORMATS)}; convert it to PNG"
        ) from error
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); copy or download it again") from error


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; itself if it stands upright."""
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _load(file: BinaryIO) -> Decoded:
    image = _identify(file)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Memory given beforehand: otherwise Pillow holds TIFF once more against its own limit.
        image.im = Image.new(image.mode, image._tile_size).im
    codec, arguments = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")
    decoded = Decoded(image, image.format or "", *_gray_range(codec, arguments))
    image.load()
    return decoded._replace(image=upright(image))


def _identify(file: BinaryIO) -> ImageFile.ImageFile:
    """``Image.open`` without its pixel limit, which is one number for the whole process and half of it a warning."""
    Image.preinit()  # the common formats
    start = file.read(16)
    for name in _FORMATS:
        if name not in Image.OPEN:
            Image.init()  # all formats, but AVIF only from Pillow 11.3 on
        factory, accept = Image.OPEN.get(name, (None, None))
        fits = accept(start) if accept else True
        if factory is None or not fits or isinstance(fits, str):  # a text: what Pillow lacks to read it
            continue
        try:
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # Not of this format: how Pillow's own loop is told.
    raise UnidentifiedImageError("no format fits")


def _gray_range(codec: str, arguments: Any) -> tuple[int, bool]:
    """Read from Pillow's decoder arguments how many gray values the file has, and whether colors have 16 bits."""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    if codec in ("ppm", "ppm_plain"):
        return int(arguments[1]), False
    maximum = {"L;2": 3, "L;4": 15}.get(raw_mode[:3], 0)
    return maximum, ";16" in raw_mode and not raw_mode.startswith("I")


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return 1  # Viewers show an image with damaged EXIF as it is stored.
