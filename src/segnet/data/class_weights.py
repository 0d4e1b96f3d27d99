"""Pixel counts of the classes, and the class weights of the loss.

Source of median-frequency balancing: Eigen and Fergus 2015, as SegNet uses it. Weight = median frequency / frequency,
where the frequency of a class is its share of the pixels of the images that contain it. The published CamVid weights
are those of SegNet-Tutorial, Models/segnet_train.prototxt; they cannot be recomputed from the published masks.
"""

from __future__ import annotations

import json
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError, DataError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.system.files import cache_dir, files_digest, write_cache

if TYPE_CHECKING:
    from segnet.data.dataset import SegmentationDataset

__all__ = ["BALANCES", "CAMVID_PUBLISHED", "Balance", "ClassCounts", "class_weights", "count_classes"]

log = logging.getLogger("segnet")

Balance = Literal["none", "median", "sqrt_median", "inverse", "enet", "effective", "published"]

BALANCES = get_args(Balance)

CAMVID_PUBLISHED = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)
"""Class weights of the authors' CamVid recipe, in the order of ``labels.CAMVID``."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """Pixel counts of a data set by class.

    Attributes:
        pixels: Pixels of each class, int64 (classes,).
        around: All pixels, ignored ones included, of the images that contain the class, int64 (classes,).
        ignored: Number of ignored pixels.
        two_tone: Indices of the masks that hold class 0 and ignored pixels and nothing else, as black-and-white masks
            of 0 and 255 do.
    """

    pixels: NDArray[np.int64]
    around: NDArray[np.int64]
    ignored: int = 0
    two_tone: tuple[int, ...] = ()

    @property
    def frequency(self) -> NDArray[np.float64]:
        """Share of each class in the pixels of the images that contain it, float64 (classes,); 0 if it is absent."""
        return self.pixels / np.maximum(self.around, 1)


def count_classes(dataset: SegmentationDataset) -> ClassCounts:
    """Count the pixels of each class. The counts are cached by name, size and time of the mask files.

    If the cache cannot be written, a warning is logged.

    Raises:
        DataError: A mask cannot be read or holds a value that is not a class.
    """
    masks = [sample.mask for sample in dataset.samples]
    readers = dict.fromkeys(sample.reader or dataset.reader for sample in dataset.samples)
    key = " ".join(reader.key() for reader in readers)
    cache = cache_dir() / "class-counts" / f"{files_digest(masks, key=key)}.json"
    kept = _read_counts(cache, dataset.labels.classes)
    if kept is not None:
        return kept
    counts = _count(dataset)
    write_cache(cache, _to_dict(counts), "the class counts are")
    return counts


def class_weights(counts: ClassCounts, balance: str, labels: ClassTable) -> NDArray[np.float32]:
    """Compute the loss weight of each class.

    With p the share of a class in all counted pixels:

    ``none``: 1. ``median``: median-frequency balancing, as in the paper; ``sqrt_median``: its square root, which is
    milder. ``inverse``: 1 / p, scaled so that the mean over all pixels is 1. ``enet``: 1 / ln(1.02 + p) (Paszke and
    others, 2016). ``effective``: the effective number of samples (Cui and others, 2019) with beta = (N - 1) / N and N
    all counted pixels, so 1 / (1 - beta^n) for a class of n pixels, scaled to a mean of 1 over the classes.
    ``published``: the authors' list for CamVid.

    Args:
        counts: Pixel counts of the training images.
        balance: one of ``BALANCES``.
        labels: Class table.

    Returns:
        float32 (classes,). Absent classes have weight 0, except with ``published``.

    Raises:
        ConfigError: The balance is unknown, or ``published`` is used with classes other than CamVid's eleven.
        DataError: All pixels are ignored.
    """
    if balance not in BALANCES:
        raise ConfigError(f"class weighting {balance!r} is unknown; choose one of {', '.join(BALANCES)}")
    if balance == "published":
        if labels.names != CAMVID.names:
            raise ConfigError(
                "class weighting 'published' is the list for CamVid's eleven classes; use 'median' for others"
            )
        return np.array(CAMVID_PUBLISHED, dtype=np.float32)
    present = counts.pixels > 0
    if not present.any():
        raise DataError("the training masks hold ignored pixels only; there is nothing to train on")
    for name in np.array(labels.names)[~present]:
        log.warning("class %s does not occur in the training masks: its loss weight is 0", name)
    if balance == "none":
        return present.astype(np.float32)
    weights = np.zeros(labels.classes, dtype=np.float64)
    weights[present] = _balanced(counts, present, balance)
    return weights.astype(np.float32)


def _balanced(counts: ClassCounts, present: NDArray[np.bool_], balance: str) -> NDArray[np.float64]:
    """The weights of the classes that occur; see ``class_weights``."""
    pixels = counts.pixels[present].astype(np.float64)
    share = pixels / pixels.sum()
    if balance in {"median", "sqrt_median"}:
        weights: NDArray[np.float64] = np.median(counts.frequency[present]) / counts.frequency[present]
        weights = np.sqrt(weights) if balance == "sqrt_median" else weights
    elif balance == "inverse":
        weights = 1 / (len(share) * share)
    elif balance == "enet":
        weights = 1 / np.log(1.02 + share)
    else:
        weights = -1 / np.expm1(pixels * np.log1p(-1 / max(2.0, float(pixels.sum()))))  # 1 / (1 - beta^n)
        weights /= weights.mean()
    return weights


def _to_dict(counts: ClassCounts) -> dict[str, Any]:
    return {
        "pixels": counts.pixels.tolist(),
        "around": counts.around.tolist(),
        "ignored": counts.ignored,
        "two_tone": list(counts.two_tone),
    }


def _read_counts(cache: Path, classes: int) -> ClassCounts | None:
    """Counts in the cache, or None if there are none or the file is damaged."""
    try:
        table = json.loads(cache.read_text())
        pixels, around = (np.array(table[key], dtype=np.int64) for key in ("pixels", "around"))
        ignored, two_tone = int(table["ignored"]), tuple(map(int, table["two_tone"]))
    except (OSError, ValueError, TypeError, LookupError, OverflowError):
        return None
    return ClassCounts(pixels, around, ignored, two_tone) if pixels.shape == around.shape == (classes,) else None


def _count(dataset: SegmentationDataset) -> ClassCounts:
    classes = dataset.labels.classes
    pixels, around = np.zeros(classes, dtype=np.int64), np.zeros(classes, dtype=np.int64)
    ignored, two_tone = 0, []
    with ThreadPoolExecutor(2) as pool:
        for index, mask in enumerate(pool.map(dataset.read_classes, range(len(dataset)))):
            counts = np.bincount(mask.ravel(), minlength=IGNORE_INDEX + 1)[:classes]
            pixels += counts
            around += np.where(counts > 0, mask.size, 0)
            left_out = int(mask.size - counts.sum())
            ignored += left_out
            if left_out and np.flatnonzero(counts).tolist() == [0]:
                two_tone.append(index)
    return ClassCounts(pixels, around, ignored, tuple(two_tone))
