"""Reads the bands of image files as they are stored: .npy arrays, TIFF of any number of bands, and all other images.

Pillow reads images of one, three and four bands of 8 bits, and of one band of more. TIFF files beyond that are read by
tifffile, the extra ``tiff``.
"""

from __future__ import annotations

import logging
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from segnet.bands import Bands, Channels, Pixels, stored_bands
from segnet.errors import DataError, describe_count
from segnet.media.images.arrays import load_array
from segnet.media.images.decoding import Decoded, decode, read_pages
from segnet.media.images.headers import Header, read_header, read_size
from segnet.media.images.reading import WHITE_IS_ZERO, pixels_of, read_image, unknown_range, values_of
from segnet.system.packages import importing

__all__ = [
    "as_array", "needs_stored", "read_pixels", "read_pixels_size", "read_shown", "read_stored", "select_bands",
    "stretch_bands", "take_bands",
]  # fmt: skip

log = logging.getLogger("segnet")

_TIFF_SUFFIXES = frozenset((".tif", ".tiff"))
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PLAIN_MODES = {"1": "L", "PA": "RGBA"} | dict.fromkeys(("P", "CMYK", "YCbCr", "LAB", "HSV"), "RGB")
_VIEWED = (1, 3, 4)  # bands of gray and color images
_WHITE = 65535  # of 16 bits
_MOST_VALUES = 100_000  # of a band, for its percentiles
_BEYOND = 0.01  # share of values beyond the range that is worth a warning
_warned: set[tuple[float, ...]] = set()


def read_pixels(path: Path, channels: Channels) -> Pixels:
    """An image as a network takes it.

    Args:
        path: an image, or an array (H, W, C), (C, H, W) or (H, W) in a ``.npy`` file.
        channels: 3 or 1 for color or gray as ``read_image`` reads them; else the bands.

    Returns:
        (H, W, C): uint8, or float32 in [0, 1] for bands of another type than uint8.

    Raises:
        DataError: the file cannot be read, has other bands, or holds NaN, infinity or values out of range.
        MissingPackageError: tifffile is needed and not installed.
    """
    if (bands := stored_bands(channels)) is not None:
        return take_bands(read_stored(path, count=bands.count), bands, str(path))
    assert isinstance(channels, int)
    if needs_stored(path):
        return _as_viewed(read_stored(path), channels, str(path))
    return read_image(path, channels=channels)


def read_stored(path: Path, *, count: int = 0) -> NDArray[Any]:
    """All bands of an image file as they are stored, (H, W, bands) of the file's own type.

    Pages of one band and one size in a TIFF file are its bands. The bands of a ``.npy`` file are the last or the first
    axis: that of the expected number, or else the shorter one.

    Args:
        path: of the file.
        count: the expected number of bands; 0: unknown.

    Raises:
        DataError: the file cannot be read, is no image, or is in color with 16 bits per channel and no TIFF.
        MissingPackageError: it is a TIFF file that Pillow cannot read, and tifffile is not installed.
    """
    if _is_array(path):
        stored = _read_array(path, count)
    elif _is_tiff(path) and not _is_whole_in_pillow(read_header(path)):
        stored = _read_tiff(path)
    else:
        stored = _read_by_pillow(path)
    return stored.astype(stored.dtype.newbyteorder("="), copy=False)


def read_shown(path: Path, channels: Channels = 3) -> NDArray[np.uint8]:
    """An image file for people; unlike ``read_pixels``, the range of its values need not be known.

    Args:
        path: of the file.
        channels: how it is read; of an image with other bands than color and gray have, the first three are shown.

    Returns:
        uint8 (H, W, 3), or (H, W, 1) if one band is shown; see ``stretch_bands``.

    Raises:
        DataError: see ``read_pixels``.
        MissingPackageError: see ``read_pixels``.
    """
    bands = stored_bands(channels)
    if bands is None and not needs_stored(path):
        return read_image(path)
    stored = read_stored(path, count=0 if bands is None else bands.count)
    if bands is None and stored.shape[2] in _VIEWED:
        return stretch_bands(_as_viewed(stored, 3, str(path)), 3)
    bands = bands or Bands(indices=tuple(range(stored.shape[2])))
    return stretch_bands(select_bands(stored, bands, str(path)), bands)


def read_pixels_size(path: Path) -> tuple[int, int] | None:
    """(H, W) of an image file as ``read_pixels`` gives it, by its header alone; None if it is no image."""
    try:
        if _is_array(path):
            shape = load_array(path, mapped=True).shape
            return _size_of(shape) if len(shape) in (2, 3) else None
        return read_size(path) or (_tiff_size(path) if _is_tiff(path) else None)
    except (OSError, ValueError, EOFError, LookupError, SyntaxError, struct.error):
        return None


def take_bands(stored: NDArray[Any], bands: Bands, name: str) -> Pixels:
    """The bands that a network takes, on the scale from 0 to 1, or in 8 bits as they are.

    Args:
        stored: all bands of an image, (H, W, bands).
        bands: which of them.
        name: of the image, for errors.

    Raises:
        DataError: as ``select_bands``; or values lie beyond 0 and 1, or the type has no range, and the bands have none.
    """
    return _scaled(select_bands(stored, bands, name), bands.value_range, name)


def select_bands(stored: NDArray[Any], bands: Bands, name: str) -> NDArray[Any]:
    """The bands that a network takes, of the same type and values.

    Args:
        stored, bands, name: see ``take_bands``.

    Raises:
        DataError: the image has other bands, or a band that is taken holds NaN or infinity.
    """
    found = stored.shape[2]
    if bands.count and found != bands.count:
        raise DataError(
            f"{name} has {_bands(found)}, and {bands.count} are expected; give images of {bands.count} bands"
            + ("" if bands.count > found else f", or name those to take, such as channels: {list(range(bands.count))}")
        )
    if max(bands.indices) >= found:
        raise DataError(
            f"{name} has {_bands(found)}, so there is no band {max(bands.indices)}: bands count from 0; correct "
            "'channels', or give images with this band"
        )
    taken = stored if bands.indices == tuple(range(found)) else stored[:, :, list(bands.indices)]
    _require_finite(taken, name)
    return taken


def as_array(image: Image.Image) -> NDArray[Any]:
    """The bands of a Pillow image, (H, W, bands); a palette becomes color, black and white 0 and 255."""
    if image.mode in _PLAIN_MODES:
        image = image.convert(_PLAIN_MODES[image.mode])
    array = np.array(values_of(image))
    return array[:, :, None] if array.ndim == 2 else array


def stretch_bands(image: NDArray[Any], channels: Channels) -> NDArray[np.uint8]:
    """An image for people, from what a network takes.

    Args:
        image: (H, W, C) as ``read_pixels`` gives it; bands may have any scale.
        channels: how it was read.

    Returns:
        uint8 (H, W, 3) or (H, W, 1): color and gray as they are; of bands those that are shown, each stretched from
        its percentiles 2 and 98.
    """
    if (bands := stored_bands(channels)) is None:
        return image.astype(np.uint8, copy=False)
    shown = image[:, :, list(bands.shown_positions)].astype(np.float32)
    step = max(1, int(np.sqrt(shown.shape[0] * shown.shape[1] / _MOST_VALUES)))
    low, high = np.percentile(shown[::step, ::step], (2, 98), axis=(0, 1)).astype(np.float32)
    stretched = (shown - low) / np.where(high > low, high - low, 1)
    pixels: NDArray[np.uint8] = np.rint(stretched.clip(0, 1) * 255).astype(np.uint8)
    return pixels


def needs_stored(path: Path) -> bool:
    """Whether Pillow cannot read an image as a viewer would."""
    return _is_array(path) or (_is_tiff(path) and read_header(path) is None)


def _is_array(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def _is_tiff(path: Path) -> bool:
    """By the name first, then by the content."""
    if path.suffix.lower() not in _TIFF_SUFFIXES or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(4) in _TIFF_STARTS
    except OSError:
        return False


def _is_whole_in_pillow(header: Header | None) -> bool:
    """Whether Pillow reads all bits of a TIFF file; of colors of 16 bits it keeps the upper 8."""
    return header is not None and (header.bits == 8 or header.mode.startswith(("I", "F")))


def _read_array(path: Path, count: int) -> NDArray[Any]:
    array = load_array(path)
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "uif":
        raise DataError(
            f"{path} is an array of {array.dtype} in the shape {array.shape}; expected an image of numbers, (H, W, C), "
            "(C, H, W) or (H, W)"
        )
    if array.ndim == 2:
        return array[:, :, None]
    return np.moveaxis(array, 0, 2) if _has_bands_first(array.shape, count) else array


def _has_bands_first(shape: tuple[int, ...], count: int) -> bool:
    if count and (shape[0] == count) != (shape[2] == count):
        return shape[0] == count
    return shape[0] < shape[2]


def _size_of(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[1], shape[2]) if len(shape) == 3 and _has_bands_first(shape, 0) else (shape[0], shape[1])


def _read_by_pillow(path: Path) -> NDArray[Any]:
    if not _is_tiff(path):
        return _as_stored(decode(path), path)
    pages = [as_array(page) for page in read_pages(path)]
    kinds = {(page.shape, page.dtype) for page in pages}
    return np.concatenate(pages, axis=2) if len(kinds) == 1 and pages[0].shape[2] == 1 else pages[0]


def _as_stored(decoded: Decoded, path: Path) -> NDArray[Any]:
    if decoded.halved:
        raise DataError(
            f"{path} has 16 bits per channel, of which Pillow reads the upper 8; expected bands that can be read as "
            "they are stored; save it as TIFF or as .npy"
        )
    array = as_array(decoded.image)
    if decoded.image.mode != "I" or decoded.format not in ("PNG", "PPM"):
        return array
    if decoded.maximum:  # of a PGM file; Pillow scales it to 65535
        array = np.rint(array * (decoded.maximum / _WHITE))
    return array.astype(np.uint16)


def _read_tiff(path: Path) -> NDArray[Any]:
    with importing("tifffile", "tiff"):
        import tifffile
    try:
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            array, axes, page = np.asarray(series.asarray()), series.axes, series.keyframe
    except Exception as error:  # whatever its decoders raise on damaged or unknown files
        reason = " ".join(f"{error}".split())
        raise DataError(f"{path} cannot be read as TIFF ({reason}); save it without compression, or as .npy") from error
    bands = [number for number, axis in enumerate(axes) if axis not in "YX"]
    if not array.size or array.ndim != 2 + len(bands) or len(bands) > 1 or array.dtype.kind not in "uif":
        raise DataError(
            f"{path} is a TIFF of {array.dtype} in the shape {array.shape} with the axes {axes}; expected one image of "
            "numbers, with bands"
        )
    if page.photometric == WHITE_IS_ZERO and page.samplesperpixel == 1 and array.dtype.kind == "u":
        array = (1 << page.bitspersample) - 1 - array
    if not bands:
        return array[:, :, None]
    return np.moveaxis(array, bands[0], 2)


def _tiff_size(path: Path) -> tuple[int, int]:
    with path.open("rb") as file:
        start = file.read(8)
        start += file.read(8) if start[2] == 43 or start[3] == 43 else b""
        tags = TiffImagePlugin.ImageFileDirectory_v2(start)
        file.seek(tags.next)
        tags.load(file)
        return int(tags[Tag.ImageLength]), int(tags[Tag.ImageWidth])


def _as_viewed(stored: NDArray[Any], channels: int, name: str) -> Pixels:
    """Color or gray in 8 bits from an array of one, three or four bands."""
    found = stored.shape[2]
    if found not in _VIEWED:
        raise DataError(
            f"{name} has {_bands(found)}, and is read as {'a color' if channels == 3 else 'a gray'} image; name the "
            f"bands to train in data.yaml, such as channels: {found}, or with --in-channels"
        )
    _require_finite(stored, name)
    scaled = _scaled(stored[:, :, : min(found, 3)], (), name)
    pixels = scaled if scaled.dtype == np.uint8 else np.rint(scaled * 255).astype(np.uint8)
    return pixels_of(Image.fromarray(pixels[:, :, 0] if found == 1 else pixels), channels=channels, name=name)


def _require_finite(values: NDArray[Any], name: str) -> None:
    if values.dtype.kind == "f" and not (finite := np.isfinite(values).all(axis=2)).all():
        raise DataError(
            f"{name} holds NaN or infinity in {describe_count(int((~finite).sum()), 'pixel')}; replace them by "
            "numbers, and ignore these pixels in the mask"
        )


def _scaled(values: NDArray[Any], value_range: tuple[float, ...], name: str) -> Pixels:
    if not value_range:
        if values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        if values.dtype == np.uint16:
            return values.astype(np.float32) / np.float32(_WHITE)
        if values.dtype.kind != "f":
            raise unknown_range(values, name)
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            raise DataError(
                f"{name} holds {values.dtype} from {low:g} to {high:g}; expected 0 to 1; state value_range: [lowest, "
                "highest] in data.yaml"
            )
        return values.astype(np.float32)
    low, high = value_range
    scaled: NDArray[np.float32] = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)
    _warn_of_values_beyond(scaled, value_range, name)
    return scaled.clip(0, 1)


def _warn_of_values_beyond(scaled: NDArray[np.float32], value_range: tuple[float, ...], name: str) -> None:
    """Once for each range."""
    share = float(((scaled < 0) | (scaled > 1)).mean())
    if share > _BEYOND and value_range not in _warned:
        _warned.add(value_range)
        log.warning(
            "segnet: %s: %.0f %% of the values lie beyond the range from %g to %g, and are clipped (further such "
            "images are not named)", name, 100 * share, *value_range,
        )  # fmt: skip


def _bands(count: int) -> str:
    return "one band" if count == 1 else f"{count} bands"
