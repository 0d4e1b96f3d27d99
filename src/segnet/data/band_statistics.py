"""Mean and standard deviation of each band over the training images, measured once before the first epoch."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, describe_channels
from segnet.data.samples import Sample
from segnet.errors import ConfigError, DataError
from segnet.media.images.stored import read_stored, select_bands, take_bands
from segnet.system.files import cache_dir, files_digest, write_cache

__all__ = ["BandStatistics", "measure_bands"]

log = logging.getLogger("segnet")

_FORM = 2  # of the kept statistics; raised when the same images give others
_WITH_SCALE = (np.uint8, np.uint16)  # types whose largest value is 1


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """What the training images say of their bands.

    Attributes:
        bands: with the number of bands in the files, and with the range of the values where their type has none.
        mean, std: of each band that is taken, on the scale from 0 to 1. A band of one value has std 1.
    """

    bands: Bands
    mean: tuple[float, ...]
    std: tuple[float, ...]


class _Sums(NamedTuple):
    """Sums and extremes of each band over the pixels of one image, or of many."""

    pixels: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class _Seen(NamedTuple):
    """An image: its sums, number of bands and type."""

    path: Path
    sums: _Sums
    bands: int
    dtype: np.dtype[Any]


def measure_bands(samples: Sequence[Sample], bands: Bands) -> BandStatistics:
    """Mean, standard deviation, number and range of the bands of images. They are cached by path, size and time.

    Args:
        samples: The training images.
        bands: Those that are taken; what is not known of them is measured.

    Raises:
        DataError: An image cannot be read, has too few bands, or holds NaN or infinity; images differ in the number of
            their bands, or mix types with and without a scale.
    """
    paths = [sample.image for sample in samples]
    digest = files_digest(paths, key=f"{_FORM} {bands!r}")
    cache = cache_dir() / "band-statistics" / f"{digest}.json"
    if (kept := _read(cache)) is not None:
        return kept
    log.info("measuring mean and standard deviation of %s over %d images", describe_channels(bands), len(paths))
    statistics = _measure(paths, bands)
    write_cache(cache, asdict(statistics), "the statistics are")
    return statistics


def _measure(paths: Sequence[Path], bands: Bands) -> BandStatistics:
    with ThreadPoolExecutor(2) as pool:
        first, sums = None, []
        for seen in pool.map(partial(_look_at, bands), paths):
            first = first or seen
            _require_alike(first, seen, bands)
            sums.append(seen.sums)
    if first is None:
        raise DataError("there are no training images to measure; give images for the split train")
    whole = _add(sums)
    measured = not bands.value_range and first.dtype not in _WITH_SCALE
    low, high = _range_of(whole) if measured else (0.0, 1.0)
    known = replace(bands, count=first.bands, value_range=(low, high) if measured else bands.value_range)
    mean = whole.total / whole.pixels
    deviation = np.sqrt(np.maximum(whole.squares / whole.pixels - mean**2, 0))
    constant = (whole.low == whole.high) | (deviation == 0)
    for band in np.array(known.indices)[constant]:
        log.warning("band %d has one value in all training images; it adds nothing", band)
    scaled = (mean - low) / (high - low), np.where(constant, 1.0, deviation / (high - low))
    return BandStatistics(bands=known, mean=tuple(scaled[0].tolist()), std=tuple(scaled[1].tolist()))


def _look_at(bands: Bands, path: Path) -> _Seen:
    """Sums on the scale from 0 to 1 if the type or the range gives one, else of the values themselves."""
    stored = read_stored(path, count=bands.count)
    if bands.value_range or stored.dtype in _WITH_SCALE:
        taken = take_bands(stored, bands, str(path))
        values = taken / 255 if taken.dtype == np.uint8 else taken.astype(np.float64)
    else:
        values = select_bands(stored, bands, str(path)).astype(np.float64)
    flat = values.reshape(-1, len(bands.indices))
    sums = _Sums(len(flat), flat.sum(axis=0), (flat**2).sum(axis=0), flat.min(axis=0), flat.max(axis=0))
    return _Seen(path, sums, stored.shape[2], stored.dtype)


def _require_alike(first: _Seen, seen: _Seen, bands: Bands) -> None:
    if first.bands != seen.bands:
        raise DataError(
            f"{seen.path} has {seen.bands} bands, and {first.path} has {first.bands}; the images of a data set need "
            "the same bands"
        )
    if not bands.value_range and (first.dtype in _WITH_SCALE) != (seen.dtype in _WITH_SCALE):
        raise DataError(
            f"{seen.path} holds {seen.dtype}, and {first.path} {first.dtype}; save all images in one type, or state "
            "value_range: [lowest, highest] in data.yaml"
        )


def _add(parts: Iterable[_Sums]) -> _Sums:
    pixels, total, squares, low, high = zip(*parts, strict=True)
    return _Sums(sum(pixels), np.sum(total, axis=0), np.sum(squares, axis=0), np.min(low, axis=0), np.max(high, axis=0))


def _range_of(sums: _Sums) -> tuple[float, float]:
    """The range of all values; of one value only, one that holds it."""
    low, high = float(sums.low.min()), float(sums.high.max())
    return (low, high) if high > low else (low, low + 1.0)


def _read(cache: Path) -> BandStatistics | None:
    """Statistics in the cache, or None if there are none or the file is damaged."""
    try:
        table = json.loads(cache.read_text())
        mean, std = (tuple(map(float, table[name])) for name in ("mean", "std"))
        bands = Bands.from_dict(table["bands"])
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ConfigError):
        return None
    return BandStatistics(bands=bands, mean=mean, std=std) if len(mean) == len(std) == len(bands.indices) else None
