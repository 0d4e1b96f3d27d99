"""Reads image files into memory; ``strips`` reads images larger than memory.

Images are RGB or gray in 0..255, as a viewer shows them. Masks are class indices, as they are stored.

``Image.open(formats=...)`` of Pillow is not used: it warns of more than ``Image.MAX_IMAGE_PIXELS`` (89 million), and
refuses twice as many. This limit is one variable of the whole process, so a library cannot raise it for its own calls.
``ImageFile.Parser`` calls ``Image.open``. The factories that Pillow's formats register check no limit.
"""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from segnet.errors import ConfigError, DataError, one_line
from segnet.media.images.png_texts import without_large_texts

__all__ = [
    "MAX_PIXELS", "WHITE_IS_ZERO", "Decoded", "Header",
    "count_images", "decode", "load_pixels", "pixels_of", "read_header", "read_image", "read_orientation", "read_pages",
    "read_size", "unknown_range", "values_of", "warn_of_few_bits",
]  # fmt: skip

MAX_PIXELS = 500_000_000
"""Larger images are refused by their header: decoding one takes 2 GB of memory and more."""

log = logging.getLogger("segnet")

# Of the 40 that Pillow reads; others start a program (EPS: Ghostscript) or take minutes for a damaged file (DDS).
# JPEG covers MPO. TGA is last, since it has no signature.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF", "JPEG2000", "TGA")

WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF file whose largest value is black."""

_SUBFILE_TYPE, _SMALLER, _TRANSPARENCY = 254, 1, 4  # a tag of TIFF, and what it says of an image
_BITS, _PHOTOMETRIC, _PLANAR, _SEPARATE = 258, 262, 284, 2
_SAMPLE_FORMAT, _SIGNED = 339, 2
_SIXTEEN_BITS = ("PNG", "PPM")  # formats whose gray of 16 bits Pillow gives as int32

_FEW_BITS = 14  # of 16; cameras and scanners with 10, 12 or 14 bits often store them without scaling
_warned: set[int] = set()

# What Pillow's decoders raise on damaged files (by experiment).
# Deflate makes at most 1032 bytes out of one, of 8 pixels each; these formats and TIFF's compressions make fewer.
_PIXELS_PER_BYTE = 8 * 1032
_BOUNDED = frozenset(
    ("PNG", "BMP", "DIB", "GIF", "JPEG", "PPM", "TGA", "raw", "packbits", "tiff_lzw", "tiff_adobe_deflate")
)
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError, RuntimeError,
    struct.error, zlib.error,
)  # fmt: skip

_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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
    if decoded.halved or decoded.image.mode.startswith("I"):
        warn_of_few_bits(path, int(pixels.max()))
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
    converted = _to_eight_bits(_apply_orientation(image), name)
    return _convert(image.copy() if converted is image else converted, channels, name)


def load_pixels(image: Image.Image, name: str) -> None:
    """Decode the pixels of a Pillow image, if they are not decoded yet.

    Raises:
        DataError: it is damaged or closed.
    """
    _mend_wide_planes(image)
    try:
        if isinstance(image, ImageFile.ImageFile) and image.tile and image.fp is None:
            raise ValueError("its file was closed before its pixels were read")
        image.load()
    except _DAMAGE as error:
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
    if image.mode == "I;16" and tags.get(_PHOTOMETRIC) == WHITE_IS_ZERO:
        return ~values
    if image.mode == "I":
        kind = "int" if tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED else "uint"
        return values.astype(f"{kind}{tags[_BITS][0]}")
    return values


def unknown_range(values: NDArray[Any], name: str) -> DataError:
    """The error of integers whose type has no range, such as int32: their values do not say which one is white."""
    return DataError(
        f"{name} holds {values.dtype} from {values.min()} to {values.max()}, a type whose range is not known; expected "
        "uint8, uint16, or floating numbers from 0 to 1; convert it to one of these, or, if it has bands, state "
        "value_range: [lowest, highest] in data.yaml"
    )


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        format: as Pillow names it: PNG, JPEG, TIFF, ...
        size: (H, W) as stored, before the EXIF orientation is applied.
        mode: kind of the pixels, as Pillow names it: RGB, L, CMYK, ...
        orientation: by EXIF or XMP, 1 (upright) to 8.
        tags: of a TIFF file by their numbers; empty for other formats.
        bits: of each channel: 8 for 8 and fewer, 16 for more.
    """

    format: str
    size: tuple[int, int]
    mode: str
    orientation: int = 1
    tags: Mapping[int, Any] = MappingProxyType({})
    bits: int = 8


def read_header(path: Path) -> Header | None:
    """Format, size and mode of an image file; None if it is no image or does not exist."""
    try:
        with _open_regular(path) as file:
            _mend_wide_planes(image := _identify_png_too(file))
            size, tags = (image.height, image.width), dict(getattr(image, "tag_v2", {}))
            halved = _gray_range(*_decoder(image))[1]
            bits = 16 if halved or image.mode.startswith("I") else 8
            return Header(image.format or "", size, image.mode, _orientation_of(image), tags, bits)
    except (DataError, *_DAMAGE):
        return None


def read_size(path: Path) -> tuple[int, int] | None:
    """(H, W) of an image file as ``read_image`` gives it, upright, by its header alone; None if it is no image.

    Much quicker than ``read_header`` for PNG, whose pixels that decodes to find an orientation behind them.
    """
    try:
        with _open_regular(path) as file:
            image = _identify_png_too(file)
            turned = _orientation_by_header(image) > 4 and image.format != "TIFF"  # whose size Pillow turns itself
            return (image.width, image.height) if turned else (image.height, image.width)
    except (DataError, *_DAMAGE):
        return None


def read_orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8, by its header alone; 1 if it has none or is no image.

    Images and masks are both turned by theirs. In PNG it is found before the pixels, where Pillow and others write it.
    """
    try:
        with path.open("rb") as file:
            return _orientation_by_header(_identify(file))
    except _DAMAGE:
        return 1


def _orientation_by_header(image: Image.Image) -> int:
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Pillow would decode the pixels to look behind them.
    return _orientation_of(image)


def count_images(path: Path) -> int:
    """The number of pages of a TIFF file or frames of an animation, without smaller copies and previews; 0 if no image.

    ``read_image`` reads the first.
    """
    try:
        with _open_regular(path) as file:
            image = _identify_png_too(file)
            count = (
                getattr(image, "n_frames", 1) if image.format != "MPO" else 1
            )  # of MPO the rest belongs to the first
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                return sum(_is_page(image, number) for number in range(count))
            return count
    except (DataError, *_DAMAGE):
        return 0


def _is_page(image: TiffImagePlugin.TiffImageFile, number: int) -> bool:
    image.seek(number)
    return not int(image.tag_v2.get(_SUBFILE_TYPE, 0)) & (_SMALLER | _TRANSPARENCY)


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
        with _open_regular(path) as file:
            image = _identify(file)
            assert isinstance(image, TiffImagePlugin.TiffImageFile)
            numbers = [number for number in range(image.n_frames) if _is_page(image, number)]
    except (UnidentifiedImageError, *_DAMAGE):
        numbers = []  # decoding says what is wrong
    return [decode(path, page=number).image for number in numbers or [0]]


def decode(path: Path, *, page: int = 0) -> Decoded:
    """All pixels of an image file, of TIFF those of one page; raises ``DataError`` as ``read_image``."""
    try:
        with _open_regular(path) as file:
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
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); copy or download it again") from error


def _open_regular(path: Path) -> BinaryIO:
    """A file, opened for reading; opening a pipe would wait forever."""
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
    image = _identify(file)
    if page:
        image.seek(page)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    _require_enough_bytes(image, file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _mend_luma_and_chroma(image)
        _mend_wide_planes(image)
        if image.mode == "CMYK" and _has_wide_planes(image):
            raise DataError(
                f"{file.name} has CMYK colors in separate planes of 16 bits, without compression; expected planes of "
                "RGB, or all colors in each pixel; save it as RGB"
            )
        # Allocated beforehand: otherwise Pillow checks its own limit once more for TIFF.
        image.im = Image.new(image.mode, image._tile_size).im
    decoded = Decoded(image, image.format or "", *_gray_range(*_decoder(image)))
    image.load()
    return decoded._replace(image=_apply_orientation(image))


def _require_enough_bytes(image: ImageFile.ImageFile, file: BinaryIO) -> None:
    """Refuse a damaged header before memory is allocated for the pixels that it claims."""
    form = str(image.info.get("compression", "")) if image.format == "TIFF" else image.format
    position, (width, height) = file.tell(), image.size
    size = file.seek(0, os.SEEK_END)
    file.seek(position)
    if form in _BOUNDED and width * height > _PIXELS_PER_BYTE * size:
        raise OSError(f"{width} x {height} pixels in {size} bytes")


def _mend_luma_and_chroma(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read uncompressed TIFF in YCbCr with three bytes per pixel; Pillow expects four, as libtiff returns."""
    codec, arguments = _decoder(image)
    tags = image.tag_v2
    kind = (tags.get(262), tags.get(277), tuple(tags.get(530, ())))
    if codec == "raw" and arguments[0] == "RGBX" and kind == (6, 3, (1, 1)):  # YCbCr, three samples, not subsampled
        image._mode = "YCbCr"
        image.tile = [tile._replace(args=("YCbCr", *arguments[1:])) for tile in image.tile]


def _mend_wide_planes(image: Image.Image) -> None:
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
    return _decoder(image)[0] == "raw" and tags.get(_PLANAR) == _SEPARATE and tags.get(_BITS, (8,))[0] == 16


def _identify_png_too(file: BinaryIO) -> ImageFile.ImageFile:
    """As ``_identify``, of PNG with large texts too."""
    try:
        return _identify(file)
    except ValueError:
        if (small := without_large_texts(file)) is None:
            raise
        return _identify(small)


def _identify(file: BinaryIO) -> ImageFile.ImageFile:
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


def _decoder(image: ImageFile.ImageFile) -> tuple[str, Any]:
    """Name and arguments of Pillow's decoder."""
    return (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")


def _gray_range(codec: str, arguments: Any) -> tuple[int, bool]:
    """Read from Pillow's decoder arguments how many gray values the file has, and whether colors have 16 bits."""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    if codec in ("ppm", "ppm_plain") and isinstance(arguments, tuple):  # not of black and white
        return int(arguments[1]), raw_mode == "RGB" and int(arguments[1]) > 255
    maximum = {"L;2": 3, "L;4": 15}.get(raw_mode[:3], 0)
    return maximum, ";16" in raw_mode and not raw_mode.startswith("I")


def _apply_orientation(image: Image.Image) -> Image.Image:
    """The image turned upright by its EXIF orientation; the argument itself if it is upright."""
    transpose = _TRANSPOSES.get(_orientation_of(image))
    return image if transpose is None else image.transpose(transpose)


def _orientation_of(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return 1  # Viewers show an image with damaged EXIF as it is stored.
    return orientation if orientation in _TRANSPOSES else 1


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
