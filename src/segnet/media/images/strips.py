"""Reads images larger than memory in strips, from top to bottom.

libvips reads them, through pyvips. Pillow, which reads and writes all others, holds the whole image in memory.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.ExifTags import Base as Tag

from segnet.errors import DataError, MissingPackageError
from segnet.media.images.decoding import SEPARATE, YCBCR
from segnet.media.images.headers import Header, read_header
from segnet.media.images.reading import warn_of_few_bits

if TYPE_CHECKING:
    from pyvips import Image

__all__ = ["ImageRows", "readable_in_strips"]

_FORMATS = frozenset(("PNG", "JPEG", "TIFF"))

# libvips converts other modes differently from Pillow: CMYK by a profile, fractions and 32 bits to black and white.
_MODES = frozenset(("1", "L", "P", "LA", "RGB", "RGBA", "I;16"))

_LONGEST_SIDE = 10_000_000  # VIPS_MAX_COORD

# Values of tags of TIFF.
_JPEG, _ASSOCIATED_ALPHA = 7, 1
_COMPRESSIONS = frozenset(
    (1, 2, 3, 4, 5, _JPEG, 8, 32773, 32946, 50001)
)  # not LZMA and Zstandard, which few builds have


def readable_in_strips(header: Header) -> bool:
    """Whether ``ImageRows`` reads such an image in little memory, with the pixels of ``read_image``; needs pyvips."""
    return header.format in _FORMATS and _has_same_pixels(header) and find_spec("pyvips") is not None


def _has_same_pixels(header: Header) -> bool:
    """Whether libvips and Pillow convert the pixels alike (by experiment; a test tries all that can be written)."""
    if header.mode not in _MODES:
        return False
    if header.format != "TIFF":
        return True
    tags = header.tags
    photometric, compression = tags.get(Tag.PhotometricInterpretation, 0), tags.get(Tag.Compression, 1)
    return (
        compression in _COMPRESSIONS
        and (photometric != YCBCR or compression == _JPEG)  # else libvips shows them as if they were RGB
        and _ASSOCIATED_ALPHA not in tags.get(Tag.ExtraSamples, ())
        and not (header.mode == "1" and tags.get(Tag.PlanarConfiguration) == SEPARATE)
        and not (header.mode == "I;16" and tags.get(Tag.BitsPerSample) != (16,))
        and max(tags.get(Tag.ColorMap, (256,))) > 255  # else libvips takes the colors for 8-bit values
    )


class ImageRows:
    """An image file that is read from top to bottom, with memory for a few rows at a time.

    Upright, RGB or gray in 8 bits, and without alpha, as ``read_image`` reads it. Files stored in another order, such
    as progressive JPEG or rotated images, take memory for the whole image.

    Args:
        path: PNG, JPEG, TIFF or another format that libvips reads.
        channels: 3 (RGB) or 1 (gray).
        size: (H, W) to which the image is resized, bilinear with antialiasing; None: its own size.

    Raises:
        DataError: the file is missing, not an image, or damaged, or its mode, such as CMYK, would not give the pixels
            of ``read_image``.
        MissingPackageError: pyvips or libvips is not installed.
    """

    def __init__(self, path: Path, *, channels: int = 3, size: tuple[int, int] | None = None) -> None:
        self.path = path
        self._image: Any = _open_image(path, size)
        self._has_16_bits = (header := read_header(path)) is not None and header.bits == 16
        self._largest = 0
        self._region: Any = None  # caches the rows that were read last
        self._channels = channels
        self._next = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self._image.height, self._image.width

    def read(self, rows: int) -> NDArray[np.uint8]:
        """The next ``rows`` rows: uint8 (rows, W, channels).

        Raises:
            DataError: the file is damaged there.
        """
        from pyvips import Error, Region

        try:
            if self._region is None:
                self._region = Region.new(self._image)
            data = self._region.fetch(0, self._next, self._image.width, rows)
        except Error as error:
            raise _damage_error(self.path, error) from error
        self._next += rows
        image = np.frombuffer(data, dtype=np.uint8).reshape(rows, self._image.width, 3)
        self._largest = max(self._largest, int(image.max()))
        if self._has_16_bits and self._next == self._image.height:
            warn_of_few_bits(self.path, self._largest)
        return image if self._channels == 3 else _to_gray(image)


def _to_gray(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """ITU-R 601 luma as Pillow computes it."""
    sums = np.dot(image, np.array([19595, 38470, 7471], dtype=np.uint32)) + 0x8000
    gray: NDArray[np.uint8] = (sums >> 16).astype(np.uint8)[..., None]
    return gray


def _open_image(path: Path, size: tuple[int, int] | None) -> Any:
    pyvips = _import_pyvips()
    if not path.is_file():
        raise DataError(f"{path} does not exist; expected an image; check the path")
    header = read_header(path)
    if header is not None:
        _require_readable(path, header)
    try:
        # libvips keeps what it opened by the name of the file, also when another file has that name by now.
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="error", revalidate=True)
        image = _turn(image, header.orientation) if header is not None else image.autorot()
        if header is not None and header.mode == "I;16":  # libvips would divide by 256
            image = image.linear(1 / 257, 0.5).cast("uchar").copy(interpretation="b-w")
        image = image.colourspace("srgb")[:3].cast("uchar")
        return image if size in (None, (image.height, image.width)) else _resize(image, *size)
    except pyvips.Error as error:
        raise _damage_error(path, error) from error


def _require_readable(path: Path, header: Header) -> None:
    if not _has_same_pixels(header):
        raise DataError(
            f"{path} holds pixels of the kind {header.mode!r}, in a form that cannot be read in strips; "
            f"expected one of {', '.join(sorted(_MODES))}; save it as RGB"
        )
    if max(header.size) > _LONGEST_SIDE:
        raise DataError(
            f"{path} is too large ({header.size[1]} x {header.size[0]} pixels); a side of at most {_LONGEST_SIDE:,} "
            "pixels can be read in strips; cut it into several images"
        )


def _turn(image: Image, orientation: int) -> Any:
    """Upright by the orientation that Pillow reads, which libvips does not look for in XMP."""
    turned = {3: image.rot180, 5: image.rot90, 6: image.rot90, 7: image.rot270, 8: image.rot270}
    image = turned[orientation]() if orientation in turned else image
    if orientation in (2, 5, 7):
        return image.fliphor()
    return image.flipver() if orientation == 4 else image


def _import_pyvips() -> ModuleType:
    logging.getLogger("pyvips").setLevel(logging.ERROR)  # libvips also warns of damage that it raises as an error
    try:
        import pyvips
    except ImportError as error:
        raise MissingPackageError.of("pyvips", "large") from error
    except OSError as error:  # pyvips is installed without the library
        raise MissingPackageError.of("libvips", "large") from error
    module: ModuleType = pyvips
    return module


def _resize(image: Image, height: int, width: int) -> Any:
    """Bilinear, with pixels as areas: their centers are aligned, not their corners."""
    from pyvips import Interpolate

    down, across = height / image.height, width / image.width
    if down <= 1 and across <= 1:
        return image.resize(across, vscale=down, kernel="linear")
    return image.affine(
        (across, 0, 0, down),
        interpolate=Interpolate.new("bilinear"),
        odx=(across - 1) / 2,
        ody=(down - 1) / 2,
        oarea=(0, 0, width, height),
        extend="copy",
    )


def _damage_error(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())
    return DataError(f"{path} cannot be read in strips ({reason}); copy or download it again, or convert it to PNG")
