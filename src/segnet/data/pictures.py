"""The only reader and writer of picture files.

Images are RGB (or grey) in 0..255 as a viewer shows them, masks are class numbers as they are stored.
"""

from __future__ import annotations

import glob
import io
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, PngImagePlugin, TiffImagePlugin, UnidentifiedImageError

from segnet.errors import ConfigError, DataError, OutputError
from segnet.files import replacing
from segnet.labels import Labels

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "Encoding",
    "Header",
    "LabelMap",
    "described_values",
    "find_images",
    "images_below",
    "pixels_of",
    "read_header",
    "read_image",
    "read_label_map",
    "read_mask",
    "stored_values",
    "write_image",
    "write_mask",
    "write_values",
]

MAX_PIXELS = 500_000_000
"""Larger pictures are refused by their header: decoding one would take 2 GB of memory and more."""

IMAGE_SUFFIXES = frozenset(
    (
        ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpeg", ".jpg", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm",
        ".tga", ".tif", ".tiff", ".webp",
    )
)  # fmt: skip
"""The endings by which pictures are found in folders; ``read_image`` itself looks inside the file, not at its name."""

Encoding = Literal["auto", "numbers", "colors"]
"""What the pixels of a label map are: class numbers, or colours; ``auto`` goes by the kind of the file."""

_WRITERS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 1}),  # a quarter of level 6's time, 8 % more bytes
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".webp": ("WEBP", {"quality": 92}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}

# Formats that give back the numbers that were put in.
_MASK_FORMATS = frozenset(("PNG", "TIFF", "BMP", "GIF", "PPM", "TGA"))

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


def find_images(source: str | Path) -> list[tuple[Path, Path]]:
    """Expand a picture, a folder or a glob into pairs of a path and its place under the source.

    A folder is searched with all folders in it, linked ones too, for files whose suffix is in ``IMAGE_SUFFIXES``; what
    starts with a dot is left out. A glob may hold ``**``, and its place begins at the first wildcard. The pairs
    are sorted by place: ``("in/a/1.png", "a/1.png")`` for the folder ``in``.

    Raises:
        DataError: nothing is there, no picture is in it, or a folder in it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        found = images_below(path)
    elif path.exists():
        return [(path, Path(path.name))]
    elif not glob.has_magic(str(source)):
        raise DataError(f"{path} does not exist; expected a picture, a folder or a glob; check the path")
    else:
        root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
        # Not Path.glob: it finds hidden files too.
        matches = (Path(match) for match in glob.iglob(str(source), recursive=True))  # noqa: PTH207
        found = [(file, file.relative_to(root)) for file in matches if file.is_file()]
    pictures = _pictures_among(found)
    if not pictures:
        kinds = " ".join(sorted(IMAGE_SUFFIXES))
        raise DataError(f"no picture was found in {source}; looked for files ending in {kinds}; check the path")
    return pictures


def images_below(folder: Path) -> list[tuple[Path, Path]]:
    """As ``find_images`` of a folder, but a folder without pictures is an empty list.

    Raises:
        DataError: a folder cannot be read.
    """
    return _pictures_among([(file, file.relative_to(folder)) for file in _walk(folder)])


def read_image(path: Path, *, channels: int = 3) -> NDArray[np.uint8]:
    """The picture as a viewer shows it: uint8 (H, W, channels), RGB for 3 channels, grey (ITU-R 601 luma) for 1.

    Turned upright by its EXIF orientation; the first frame of an animation. Alpha is dropped, not blended: the stored
    colours below it count. 16-bit grey is divided by 257, so that 65535 becomes 255; floating-point grey must
    lie in [0, 1]. CMYK and YCbCr are converted without colour profiles.

    Raises:
        DataError: the file is missing, not a picture, damaged, or larger than ``MAX_PIXELS``.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    return _converted(_decode(path).image, channels, str(path))


def pixels_of(image: Image.Image, *, channels: int = 3, name: str = "the image") -> NDArray[np.uint8]:
    """The pixels of Pillow's image as ``read_image`` gives those of a file: uint8 (H, W, channels), upright.

    Args:
        image: of any mode; stays as it is.
        channels: 3 (RGB) or 1 (grey).
        name: of the image, for errors.

    Raises:
        DataError: it holds values outside the range of its mode, or colours that cannot be converted.
        ConfigError: ``channels`` is neither 1 nor 3.
    """
    _require_known(channels)
    image.load()
    turned = _upright(image)
    return _converted(image.copy() if turned is image else turned, channels, name)


def read_mask(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The class numbers as they are stored: uint8 (H, W), or uint16 from a file with 16 bits per pixel.

    The indices of a palette file (not its colours), or the values of a grey one, not stretched to 0..255 where they
    have fewer bits. A colour file whose channels are all equal counts as grey. Alpha is dropped.

    Raises:
        DataError: as ``read_image``, or the file holds colours or fractions, or is of a lossy format such as JPEG.
    """
    return _numbers(_lossless(path), path)


class Header(NamedTuple):
    """What a picture file says before its pixels.

    Attributes:
        format: as Pillow names it: PNG, JPEG, TIFF, ...
        size: (H, W) as it is stored, before it is turned upright.
        mode: the kind of its pixels, as Pillow names it: RGB, L, CMYK, ...
    """

    format: str
    size: tuple[int, int]
    mode: str


def read_header(path: Path) -> Header | None:
    """Format, size and kind of pixels of a picture; None if it is no picture, or is not there."""
    try:
        with path.open("rb") as file:
            image = _identify(file)
            return Header(image.format or "", (image.height, image.width), image.mode)
    except _DAMAGE:
        return None


class LabelMap(NamedTuple):
    """What the file of a label map holds.

    Attributes:
        values: class numbers, uint8 or uint16 (H, W), or colours, uint8 (H, W, 3).
        palette: the colours of the numbers 0, 1, ..., uint8 (N, 3), if the file has some.
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None


def read_label_map(path: Path, *, encoding: Encoding = "auto") -> LabelMap:
    """The class numbers of a label map that any program wrote, or its colours.

    With ``auto``, a file in colour (RGB, with alpha or without) holds colours, and a grey or palette file numbers,
    whatever the values are.

    Raises:
        DataError: as ``read_mask``, or colours are wanted of a file with more than 8 bits a channel.
    """
    decoded = _lossless(path)
    image = decoded.image
    if encoding == "numbers" or (encoding == "auto" and image.mode not in ("RGB", "RGBA")):
        palette = np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3) if image.mode == "P" else None
        return LabelMap(_numbers(decoded, path), palette)
    if decoded.halved or image.mode[0] in "IF":
        raise DataError(f"{path} has more than 8 bits a channel; expected colours of 8 bits; save it as 8-bit RGB")
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    return LabelMap(np.array(image.convert("RGB")))


def write_mask(path: Path, mask: NDArray[np.integer[Any]], labels: Labels) -> None:
    """Write a mask (H, W) of values 0..255 as a PNG that keeps the numbers and shows the colours of the labels.

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
    """Write uint8 (H, W, 3) RGB, (H, W, 1) or (H, W) grey in the format that the suffix names.

    JPEG and WebP are written with quality 92, the others without loss.

    Raises:
        OutputError: the suffix is unknown, or the file cannot be written; then nothing is left behind.
    """
    if path.suffix.lower() not in _WRITERS:
        raise OutputError(f"{path} cannot be written as a picture; give a name that ends in {' '.join(_WRITERS)}")
    _save(path, Image.fromarray(image[:, :, 0] if image.shape[2:] == (1,) else image))


def write_values(path: Path, values: NDArray[np.float32], largest: float, told: Mapping[str, str]) -> None:
    """Write numbers (H, W) from 0 to ``largest`` as a grey PNG of 16 bits, in which 65535 stands for ``largest``.

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


class _Decoded(NamedTuple):
    """A picture with all its pixels, upright, and what its file says of them."""

    image: Image.Image
    format: str
    maximum: int  # the largest grey value the file can hold, which Pillow stretches to 255 or 65535; 0: not stretched
    halved: bool  # Pillow kept only the upper 8 of 16 bits


def _decode(path: Path) -> _Decoded:
    """Open and read the file, and say what is wrong with it."""
    try:
        with path.open("rb") as file:
            return _load(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{path} does not exist; expected a picture; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder; expected a picture; give the path of a file") from error
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
            raise DataError(f"{path} is empty (0 bytes); expected a picture; copy or download it again") from error
        raise DataError(
            f"{path} is not a picture that can be read, whatever its name says; "
            f"expected {', '.join(_FORMATS)}; convert it to PNG"
        ) from error
    except _DAMAGE as error:
        raise DataError(f"{path} is damaged ({error}); copy or download it again") from error


def _lossless(path: Path) -> _Decoded:
    decoded = _decode(path)
    if decoded.format not in _MASK_FORMATS or decoded.image.info.get("compression") in ("jpeg", "webp"):
        raise DataError(
            f"{path} is a {decoded.format} file, which may change class numbers while compressing; "
            "expected a mask as PNG, TIFF, BMP, GIF, PGM or TGA; save the original mask as PNG"
        )
    return decoded


def _numbers(decoded: _Decoded, path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    mode, values = decoded.image.mode, np.array(decoded.image)
    if mode in ("1", "L", "P"):
        return _unstretched(values, decoded.maximum, 255).astype(np.uint8)
    if mode.startswith("I") and values.min() >= 0 and values.max() <= 65535:
        return _unstretched(values, decoded.maximum, 65535).astype(np.uint16)
    if mode == "LA" or (mode in ("RGB", "RGBA") and not decoded.halved and _is_grey(values)):
        return np.ascontiguousarray(values[:, :, 0])
    raise DataError(
        f"{path} is not a mask: its pixels are of the kind {mode!r} (colours, fractions or large numbers); expected "
        "one class number per pixel, as a grey or palette PNG; turn the colours into class numbers first"
    )


def _load(file: BinaryIO) -> _Decoded:
    image = _identify(file)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width} x {height} pixels")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Memory given beforehand: otherwise Pillow holds TIFF once more against its own limit.
        image.im = Image.new(image.mode, image._tile_size).im
    codec, arguments = (image.tile[0][0], image.tile[0][3]) if image.tile else ("", "")
    decoded = _Decoded(image, image.format or "", *_grey_range(codec, arguments))
    image.load()
    return decoded._replace(image=_upright(image))


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


def _grey_range(codec: str, arguments: Any) -> tuple[int, bool]:
    """Read from Pillow's decoder arguments how many grey values the file has, and whether colours have 16 bits."""
    raw_mode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    if codec in ("ppm", "ppm_plain"):
        return int(arguments[1]), False
    maximum = {"L;2": 3, "L;4": 15}.get(raw_mode[:3], 0)
    return maximum, ";16" in raw_mode and not raw_mode.startswith("I")


def _upright(image: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGE:
        return 1  # Viewers show a picture with damaged EXIF as it is stored.


def _require_known(channels: int) -> None:
    if channels not in (1, 3):
        raise ConfigError(f"pictures cannot be read with {channels} channels; use 3 (RGB) or 1 (grey)")


def _converted(image: Image.Image, channels: int, name: str) -> NDArray[np.uint8]:
    """RGB or grey in 8 bits; takes the note of a transparent colour out of ``image``."""
    image = _eight_bits(image, name)
    image.info.pop("transparency", None)  # Pillow warns where a conversion drops it.
    mode = "RGB" if channels == 3 else "L"
    try:
        pixels = np.array(image if image.mode == mode else image.convert(mode))
    except ValueError as error:
        raise DataError(
            f"{name} holds {image.mode} colours, which cannot be turned to {mode}; save it as RGB"
        ) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Pixels of 16 bits or more, brought to 0..255; every other picture unchanged."""
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


def _is_grey(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)


def _pictures_among(found: list[tuple[Path, Path]]) -> list[tuple[Path, Path]]:
    pictures = [(file, place) for file, place in found if file.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(pictures, key=lambda pair: pair[1])


def _walk(folder: Path) -> Iterator[Path]:
    """The files below the folder, hidden ones left out, each folder entered once and rather not by a link."""
    entered, waiting = set(), [folder]
    for start in waiting:  # It grows: links wait until all real folders were entered.
        for here, folders, files in os.walk(start, onerror=_refuse):
            real = os.path.realpath(here)
            folders[:] = [] if real in entered else sorted(name for name in folders if not name.startswith("."))
            waiting += [Path(here, name) for name in folders if Path(here, name).is_symlink()]
            if real not in entered:
                yield from (Path(here, name) for name in files if not name.startswith("."))
            entered.add(real)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename} cannot be searched for pictures ({error.strerror}); give yourself the permission to read it"
    ) from error
