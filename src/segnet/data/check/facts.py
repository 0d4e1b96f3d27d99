"""What the two files of one sample say, each read once. Facts know no class table, so they stay true if it changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.bands import Channels, stored_bands
from segnet.data.check.alignment import Alignment, align
from segnet.data.check.hashes import Look, look_at
from segnet.data.check.islands import TINY, component_areas
from segnet.data.masks import stored_values
from segnet.data.samples import Sample
from segnet.errors import DataError
from segnet.media.images.headers import read_header, read_orientation
from segnet.media.images.masks import MASK_FORMATS, Encoding, read_mask_file
from segnet.media.images.stored import needs_stored, read_pixels, read_stored, select_bands, stretch_bands

__all__ = ["FileFault", "PairFacts", "read_facts", "read_gray"]

_MOST_VALUES = 1_000  # in a mask: there are 255 classes at most
_LFS = b"version https://git-lfs"
_MOST_COMPONENT_PIXELS = 20_000_000  # larger masks are thinned out for the components, which need 30 bytes a pixel


@dataclass(frozen=True)
class FileFault:
    """Why a file cannot be used.

    Attributes:
        kind: ``lfs`` (a pointer of git-lfs), ``lossy`` (a mask of a lossy format), ``unreadable``, or ``no_mask`` (an
            image or array, but no mask: colors, fractions, a photo).
        text: the error in words.
    """

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PairFacts:
    """Facts of an image and its mask.

    Attributes:
        image_fault, mask_fault: why a file cannot be used; None if it can.
        image_size, mask_size: (height, width), upright; None of a file that cannot be used.
        bands: how many the image has, if it is read by bands; else 0.
        image_digest, mask_digest: of the bytes of the files; empty if they cannot be read.
        look: perceptual hash of the image.
        values: pixels by value in the mask file; see ``stored_values``.
        palette: the colors of the mask's numbers, six hexadecimal digits each; empty if it has none.
        islands: components of the mask of at most ``TINY`` pixels.
        components: all components of the mask.
        alignment: how the mask lies on the image; None if that cannot be said.
        orientations: EXIF orientation of the image, and of the mask or the annotation that it was drawn from.
    """

    image_fault: FileFault | None = None
    mask_fault: FileFault | None = None
    image_size: tuple[int, int] | None = None
    mask_size: tuple[int, int] | None = None
    bands: int = 0
    image_digest: str = ""
    mask_digest: str = ""
    look: Look | None = None
    values: dict[int, int] = field(default_factory=dict)
    palette: str = ""
    islands: int = 0
    components: int = 0
    alignment: Alignment | None = None
    orientations: tuple[int, int] = (1, 1)

    @property
    def fault(self) -> FileFault | None:
        """The first fault of the two files; None if both can be used."""
        return self.image_fault or self.mask_fault

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> PairFacts:
        """Facts from what ``to_dict`` wrote, read from JSON.

        Raises:
            ValueError, TypeError, LookupError, AttributeError: the table is another.
        """
        table = dict(table)
        for key in ("image_fault", "mask_fault"):
            table[key] = table[key] and FileFault(**table[key])
        for key in ("image_size", "mask_size", "look", "orientations"):
            table[key] = table[key] and tuple(table[key])
        table["values"] = {int(value): int(pixels) for value, pixels in table["values"].items()}
        if found := table["alignment"]:
            found = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
            table["alignment"] = Alignment(**found)
        return cls(**table)

    @property
    def colors(self) -> list[tuple[int, ...]]:
        """The colors (red, green, blue) of the mask's numbers."""
        data = bytes.fromhex(self.palette)
        return [tuple(data[start : start + 3]) for start in range(0, len(data), 3)]

    @property
    def numbers_of_colors(self) -> dict[tuple[int, ...], int]:
        """The number in the mask by the color that its palette shows; without colors that several numbers have."""
        colors = self.colors
        numbers = [number for number in self.values if number < len(colors)]
        times = Counter(colors[number] for number in numbers)
        return {colors[number]: number for number in numbers if times[colors[number]] == 1}


def read_facts(sample: Sample, encoding: Encoding = "numbers", channels: Channels = 3) -> PairFacts:
    """Read both files of a sample, the mask by its encoding; a fault is a fact, never an error."""
    facts: dict[str, Any] = {"image_digest": file_digest(sample.image), "mask_digest": file_digest(sample.mask)}
    gray = mask = None
    try:
        gray, bands = _read_gray(sample.image, channels)
        facts |= {"image_size": gray.shape, "look": look_at(gray), "bands": bands}
    except DataError as error:
        facts["image_fault"] = _fault(sample.image, error, mask=False)
    try:
        stored = read_mask_file(sample.mask, encoding=encoding)
        mask = stored_values(stored)
        facts |= _mask_facts(mask, sample.mask)
        if stored.palette is not None:
            facts["palette"] = stored.palette.tobytes().hex()
    except DataError as error:
        facts["mask_fault"] = _fault(sample.mask, error, mask=True)
    if gray is not None and mask is not None and gray.shape == mask.shape:
        facts["alignment"] = align(gray, mask)
        facts["orientations"] = read_orientation(sample.image), read_orientation(sample.annotation or sample.mask)
    return PairFacts(**facts)


def read_gray(path: Path, channels: Channels) -> NDArray[np.uint8]:
    """The image in gray, uint8 (H, W); of bands the mean of those that are shown.

    Raises:
        DataError: the file cannot be read, or has other bands.
    """
    return _read_gray(path, channels)[0]


def _read_gray(path: Path, channels: Channels) -> tuple[NDArray[np.uint8], int]:
    """See ``read_gray``; and how many bands the file has, or 0 of color and gray."""
    if (bands := stored_bands(channels)) is None:
        return read_pixels(path, 1)[:, :, 0].astype(np.uint8, copy=False), 0
    stored = read_stored(path, count=bands.count)
    shown = stretch_bands(select_bands(stored, bands, str(path)), bands)
    return shown.mean(axis=2).astype(np.uint8), stored.shape[2]


def file_digest(path: Path) -> str:
    """Digest of the bytes of a file; empty if it cannot be read."""
    try:
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, partial(hashlib.blake2b, digest_size=16)).hexdigest()
    except OSError:
        return ""


def _mask_facts(mask: NDArray[np.integer[Any]], path: Path) -> dict[str, Any]:
    values = _count_values(mask)
    if len(values) > _MOST_VALUES:
        raise DataError(
            f"{path} holds {len(values)} values or colors, as a photo, a smoothed mask or one that went through JPEG; "
            "save the original mask as PNG"
        )
    step = 1 + mask.size // _MOST_COMPONENT_PIXELS
    areas = component_areas(mask[::step, ::step])
    return {
        "mask_size": mask.shape,
        "values": values,
        "islands": int((areas <= TINY).sum()),
        "components": len(areas),
    }


def _count_values(mask: NDArray[np.integer[Any]]) -> dict[int, int]:
    if mask.dtype == np.uint8:
        counts = np.array(Image.fromarray(mask).histogram())
        values = np.flatnonzero(counts)
        return dict(zip(values.tolist(), counts[values].tolist(), strict=True))
    values, counts = np.unique(mask, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _fault(path: Path, error: DataError, *, mask: bool) -> FileFault:
    text = str(error)
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS))
    except OSError:
        return FileFault("unreadable", text)
    if start == _LFS:
        return FileFault("lfs", f"{path} is a pointer of git-lfs, not the file itself; run: git lfs pull")
    if mask and needs_stored(path):
        return FileFault("unreadable" if "be read" in text else "no_mask", text)
    header = read_header(path) if mask else None
    if header is None:
        return FileFault("unreadable", text)
    if header.format not in MASK_FORMATS:
        return FileFault("lossy", text)
    return FileFault("unreadable" if "damaged" in text else "no_mask", text)
