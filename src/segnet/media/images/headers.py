"""Reads the headers of image files: format, size, orientation, number of pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from PIL import Image, TiffImagePlugin

from segnet.errors import DataError
from segnet.media.images.decoding import (
    DAMAGE,
    decoder_of,
    gray_range,
    identify,
    identify_with_large_texts,
    is_page,
    mend_wide_planes,
    open_regular,
    orientation_of,
)  # fmt: skip

__all__ = ["Header", "count_images", "read_header", "read_orientation", "read_size"]


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        format: as Pillow names it: PNG, JPEG, TIFF, ...
        size: (H, W) as stored, before the EXIF orientation is applied; of TIFF upright.
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
        with open_regular(path) as file:
            mend_wide_planes(image := identify_with_large_texts(file))
            size, tags = (image.height, image.width), dict(getattr(image, "tag_v2", {}))
            halved = gray_range(*decoder_of(image))[1]
            bits = 16 if halved or image.mode.startswith("I") else 8
            return Header(image.format or "", size, image.mode, orientation_of(image), tags, bits)
    except (DataError, *DAMAGE):
        return None


def read_size(path: Path) -> tuple[int, int] | None:
    """(H, W) of an image file as ``read_image`` gives it, upright, by its header alone; None if it is no image.

    Much quicker than ``read_header`` for PNG, whose pixels that decodes to find an orientation behind them.
    """
    try:
        with open_regular(path) as file:
            image = identify_with_large_texts(file)
            turned = _orientation_by_header(image) > 4 and image.format != "TIFF"  # whose size Pillow turns itself
            return (image.width, image.height) if turned else (image.height, image.width)
    except (DataError, *DAMAGE):
        return None


def read_orientation(path: Path) -> int:
    """The EXIF orientation of an image file, 1 to 8, by its header alone; 1 if it has none or is no image.

    Images and masks are both turned by theirs. In PNG it is found before the pixels, where Pillow and others write it.
    """
    try:
        with path.open("rb") as file:
            return _orientation_by_header(identify(file))
    except DAMAGE:
        return 1


def _orientation_by_header(image: Image.Image) -> int:
    if image.format == "PNG" and not {"exif", "Raw profile type exif"} & image.info.keys():
        return 1  # Pillow would decode the pixels to look behind them.
    return orientation_of(image)


def count_images(path: Path) -> int:
    """The number of pages of a TIFF file or frames of an animation, without smaller copies and previews; 0 if no image.

    ``read_image`` reads the first.
    """
    try:
        with open_regular(path) as file:
            image = identify_with_large_texts(file)
            # The other images of an MPO belong to its first: previews, or the second eye of a stereo pair.
            count = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                return sum(is_page(image, number) for number in range(count))
            return count
    except (DataError, *DAMAGE):
        return 0
