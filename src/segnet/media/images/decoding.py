"""Opens image files by Pillow and decodes them, without its limit of pixels and with what it gets wrong mended.

``Image.open(formats=...)`` of Pillow is not used: it warns of more than ``Image.MAX_IMAGE_PIXELS`` (89 million), and
refuses twice as many. This limit is one variable of the whole process, so a library cannot raise it for its own calls.
``ImageFile.Parser`` calls ``Image.open``. The factories that Pillow's formats register check no limit.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError
from PIL.ExifTags import Base as Tag

from segnet.errors import DataError
from segnet.media.images.png_texts import without_large_texts

__all__ = [
    "DAMAGE", "MAX_PIXELS", "SEPARATE", "YCBCR", "Decoded", "apply_orientation", "decode", "decoder_of", "gray_range",
    "identify", "identify_with_large_texts", "is_page", "mend_wide_planes", "open_regular", "orientation_of",
    "read_pages",
]  # fmt: skip

MAX_PIXELS = 500_000_000
"""Larger images are refused by their header: decoding one takes 2 GB of memory and more."""

DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, RuntimeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow's decoders raise on damaged files (by experiment)."""

# Of the 40 that Pillow reads; others start a program (EPS: Ghostscript) or take minutes for a damaged file (DDS).
# JPEG covers MPO. TGA is last, since it has no signature.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000", "TGA")

YCBCR, SEPARATE = 6, 2
"""In TIFF: photometric interpretation as luma and chroma, and planar configuration of channels in planes."""
_SMALLER, _TRANSPARENCY = 1, 4  # bits of TIFF's NewSubfileType

# Bytes that these formats, and compressions of TIFF, make out of one at most, of 8 pixels each. Those without a bound
# of their own, such as packbits, make fewer than Deflate. LZMA: 14 choices of 0.022 bits repeat 273 bytes; Zstandard: a
# block of 4 bytes stands for 128 KiB (RFC 8878).
_DEFLATE, _LZMA, _ZSTD = 1032, 7100, 32768
_MOST_BYTES_PER_BYTE = dict.fromkeys(
    ("PNG", "BMP", "DIB", "GIF", "JPEG", "PPM", "TGA", "raw", "packbits", "jpeg", "tiff_lzw", "tiff_deflate",
     "tiff_adobe_deflate"), _DEFLATE,
) | {"lzma": _LZMA, "zstd": _ZSTD}  # fmt: skip

# Pillow's names of signed integers and floating numbers, little- or big-endian -> in the machine's byte order.
_NATIVE = {
    "I;16S": "I;16NS", "I;16BS": "I;16NS", "I;32S": "I;32NS", "I;32BS": "I;32NS", "F;32F": "F;32NF", "F;32BF": "F;32NF",
}  # fmt: skip

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Decoded(NamedTuple):
    """A decoded, upright image.

    Attributes:
        image: in the mode to which Pillow decodes it.
        format: as Pillow names it.
        maximum: the largest gray value the file can hold, which Pillow stretches to 255 or 65535; 0: not stretched.
        halved: whether Pillow kept only the upper 8 of 16 bits.
    """

    image: Image.Image
    format: str
    maximum: int
    halved: bool


def read_pages(path: Path) -> list[Image.Image]:
    """The pages of a TIFF file, without smaller copies; raises ``DataError`` as ``read_image``."""
    try:
        with open_regular(path) as file:
            image = identify(file)
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            numbers = [number for number in range(image.n_frames) if is_page(image, number)]
    except (UnidentifiedImageError, *DAMAGE):
        numbers = []  # decoding says what is wrong
    return [decode(path, page=number).image for number in numbers or [0]]


def decode(path: Path, *, page: int = 0) -> Decoded:
    """All pixels of an image file, of TIFF those of one page; raises ``DataError`` as ``read_image``."""
    try:
        with open_regular(path) as file:
            return _load(file, page)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(
            f"{path} is too large ({error}); at most {MAX_PIXELS:,} pixels are read at once; scale it down, or save it "
            "as RGB in PNG, JPEG or TIFF and let 'segnet predict' read it in strips, which needs the extra 'large' and "
            "does not go with --records, --save coco or --save polygons"
        ) from error
    except UnidentifiedImageError as error:
        if not path.stat().st_size:
            raise DataError(f"{path} is empty (0 bytes); expected an image; copy or download it again") from error
        raise DataError(
            f"{path} is not an image that can be read, whatever its name says; "
            f"expected {', '.join(_FORMATS)}; convert it to PNG"
        ) from error
    except DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); copy or download it again") from error


def open_regular(path: Path) -> BinaryIO:
    """A file, opened for reading; opening a pipe would wait forever.

    Raises:
        DataError: there is no such file, it is of another kind, or it may not be read.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise DataError(f"{path} is a pipe or a device; expected an image; give the path of a file")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist; expected an image; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected an image; give the path of a file") from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read; give yourself the permission to read it") from error
    except OSError as error:  # such as a loop of links
        raise DataError(f"{path} cannot be opened ({error.strerror}); expected an image; check the path") from error


def _load(file: BinaryIO, page: int) -> Decoded:
    try:
        return _load_once(file, page)
    except ValueError:
        if (small := without_large_texts(file)) is None:
            raise
        return _load_once(small, page)


def _load_once(file: BinaryIO, page: int) -> Decoded:
    image = identify(file)
    if page:
        image.seek(page)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    _require_enough_bytes(image, file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _mend_luma_and_chroma(image)
        _mend_byte_order(image)
        mend_wide_planes(image)
        if image.mode == "CMYK" and _has_wide_planes(image):
            raise DataError(
                f"{file.name} has CMYK colors in separate planes of 16 bits, without compression; expected planes of "
                "RGB, or all colors in each pixel; save it as RGB"
            )
        # Allocated beforehand: otherwise Pillow checks its own limit once more for TIFF.
        image.im = Image.new(image.mode, image._tile_size).im
    decoded = Decoded(image, image.format or "", *gray_range(*decoder_of(image)))
    image.load()
    return decoded._replace(image=apply_orientation(image))


def _require_enough_bytes(image: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Refuse a damaged header before memory is allocated for the pixels that it claims."""
    form = str(image.info.get("compression", "")) if image.format == "TIFF" else image.format
    position, (width, height) = file.tell(), image.size
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    if (most := _MOST_BYTES_PER_BYTE.get(form or "")) and width * height > 8 * most * size:
        raise OSError(f"{width} x {height} pixels in {size} bytes")


def _mend_luma_and_chroma(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read uncompressed TIFF in YCbCr with three bytes per pixel; Pillow expects four, as libtiff returns."""
    codec, arguments = decoder_of(image)
    tags = image.tag_v2
    kind = tags.get(Tag.PhotometricInterpretation), tags.get(Tag.SamplesPerPixel)
    whole = tuple(tags.get(Tag.YCbCrSubSampling, ())) == (1, 1)
    if codec == "raw" and arguments[0] == "RGBX" and kind == (YCBCR, 3) and whole:
        image._mode = "YCbCr"
        image.tile = [tile._replace(args=("YCbCr", *arguments[1:])) for tile in image.tile]


def _mend_byte_order(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read numbers with a sign in the machine's byte order, as libtiff returns them; Pillow takes that of the file."""
    tiles: list[Any] = image.tile
    if decoder_of(image)[0] == "libtiff":
        image.tile = [tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in tiles]


def mend_wide_planes(image: Image.Image) -> None:
    """Read uncompressed TIFF in planes of 16 bits as such; Pillow takes each value for one byte."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode in ("RGB", "RGBA") and _has_wide_planes(image):
        order = "L" if image.tag_v2.prefix == b"II" else "B"
        tiles: list[Any] = image.tile
        image.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) if tile.args[0] in "RGBA" else tile
            for tile in tiles
        ]


def _has_wide_planes(image: TiffImagePlugin.TiffImageFile) -> bool:
    """Whether Pillow decodes a TIFF in planes of 16 bits by itself; libtiff decodes those that are compressed."""
    tags = image.tag_v2
    in_planes = tags.get(Tag.PlanarConfiguration) == SEPARATE
    return decoder_of(image)[0] == "raw" and in_planes and tags.get(Tag.BitsPerSample, (8,))[0] == 16


def identify_with_large_texts(file: BinaryIO) -> ImageFile.ImageFile:
    """As ``identify``, of PNG with large texts too."""
    try:
        return identify(file)
    except ValueError:
        if (small := without_large_texts(file)) is None:
            raise
        return identify(small)


def identify(file: BinaryIO) -> ImageFile.ImageFile:
    """``Image.open(formats=_FORMATS)`` without Pillow's pixel limit."""
    Image.preinit()  # the common formats
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)  # it also logs what it raises as an error
    start = file.read(16)
    for name in _FORMATS:
        if name not in Image.OPEN:
            Image.init()  # all formats, but AVIF only from Pillow 11.3 on
        factory, accept = Image.OPEN.get(name, (None, None))
        accepted = accept(start) if accept else True
        if factory is None or not accepted or isinstance(accepted, str):  # a text: what Pillow lacks to read it
            continue
        try:
            file.seek(0)
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # not of this format; Pillow's own loop catches the same errors
    raise UnidentifiedImageError("no format fits")


def decoder_of(image: ImageFile.ImageFile) -> tuple[str, Any]:
    """Name and arguments of Pillow's decoder."""
    return (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")


def gray_range(codec: str, arguments: Any) -> tuple[int, bool]:
    """Read from Pillow's decoder arguments how many gray values the file has, and whether colors have 16 bits."""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    if codec in ("ppm", "ppm_plain") and isinstance(arguments, tuple):  # not of black and white
        return int(arguments[1]), raw_mode == "RGB" and int(arguments[1]) > 255
    maximum = {"L;2": 3, "L;4": 15}.get(raw_mode[:3], 0)
    return maximum, ";16" in raw_mode and not raw_mode.startswith("I")


def is_page(image: TiffImagePlugin.TiffImageFile, number: int) -> bool:
    """Whether one of a TIFF file's images is a page, not a smaller copy or a mask of transparency."""
    image.seek(number)
    return not int(image.tag_v2.get(Tag.NewSubfileType, 0)) & (_SMALLER | _TRANSPARENCY)


def apply_orientation(image: Image.Image) -> Image.Image:
    """The image turned upright by its EXIF orientation; the argument itself if it is upright."""
    transpose = _TRANSPOSES.get(orientation_of(image))
    return image if transpose is None else image.transpose(transpose)


def orientation_of(image: Image.Image) -> int:
    """By EXIF or XMP, 1 (upright) to 8; of PNG this may decode the pixels."""
    try:
        orientation = int(image.getexif().get(Tag.Orientation, 1))
    except DAMAGE:
        return 1  # Viewers show an image with damaged EXIF as it is stored.
    return orientation if orientation in _TRANSPOSES else 1
