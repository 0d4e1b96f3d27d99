"""Shares of the classes, the weights that every formula gives them, and the formula that suits them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.data.check.findings import CheckedData
from segnet.data.class_weights import BALANCES, ClassCounts, class_weights
from segnet.data.sizing import MOST_HEADERS, choose_batch, choose_crop, choose_resize, describe_sizes, spread
from segnet.labels import CAMVID, ClassTable

__all__ = ["ClassStatistics", "class_statistics", "suggest_settings"]

_EVEN, _UNEVEN = 5.0, 50.0  # ratio of the most to the least frequent class


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassStatistics:
    """How often each class occurs.

    Attributes:
        labels: the class table.
        pixels: pixels of each class in all images, int64 (classes,).
        images: images that show the class, int64 (classes,).
        by_split: pixels of each class in each split, int64 (classes,).
        ignored: ignored pixels.
        total_images: images whose mask can be read.
        weights: weights of the loss by formula, from the training images, float32 (classes,); absent classes have 0.
    """

    labels: ClassTable
    pixels: NDArray[np.int64]
    images: NDArray[np.int64]
    by_split: dict[str, NDArray[np.int64]]
    ignored: int
    total_images: int
    weights: dict[str, NDArray[np.float32]]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class in the pixels that count, float64 (classes,)."""
        return self.pixels / max(1, int(self.pixels.sum()))

    @property
    def ignored_share(self) -> float:
        """Share of ignored pixels in all pixels."""
        return self.ignored / max(1, int(self.pixels.sum()) + self.ignored)

    def to_dict(self) -> dict[str, Any]:
        """A table that JSON can hold."""
        rows = [
            {
                "name": name,
                "pixels": int(self.pixels[index]),
                "share": float(self.shares[index]),
                "images": int(self.images[index]),
                "pixels_by_split": {split: int(counts[index]) for split, counts in self.by_split.items()},
                "weights": {balance: float(weights[index]) for balance, weights in self.weights.items()},
            }
            for index, name in enumerate(self.labels.names)
        ]
        return {"classes": rows, "ignored_pixels": self.ignored, "ignored_share": self.ignored_share}


def class_statistics(data: CheckedData, pixels: NDArray[np.int64], ignored: NDArray[np.int64]) -> ClassStatistics:
    """Statistics from the counts of each image; see ``values.count_by_image``."""
    train = list(data.splits.get("train", range(len(data.samples))))
    total = pixels.sum(axis=1) + ignored
    around = np.where(pixels[train] > 0, total[train][:, None], 0).sum(axis=0)
    return ClassStatistics(
        labels=data.labels,
        pixels=pixels.sum(axis=0),
        images=(pixels > 0).sum(axis=0),
        by_split={split: pixels[list(indices)].sum(axis=0) for split, indices in data.splits.items()},
        ignored=int(ignored.sum()),
        total_images=int((total > 0).sum()),
        weights=_weights(ClassCounts(pixels[train].sum(axis=0), around), data.labels),
    )


def suggest_settings(data: CheckedData, statistics: ClassStatistics, *, gpu: bool = False) -> dict[str, Any]:
    """What ``segnet train`` chooses by itself for the data: ``resize``, ``crop``, ``batch``.

    Empty without images, and without pixels of any class, as of masks that cannot be read.

    ``class_weights`` suit a loss that does not balance the classes itself, as the default one does; ``class_ratio`` is
    that of the pixels of the most and the least frequent class.
    """
    train = data.splits.get("train") or range(len(data.samples))
    looked_at = (data.facts[index].image_size for index in spread(train, MOST_HEADERS))
    sizes = [size for size in looked_at if size is not None]
    present = statistics.shares[statistics.pixels > 0]
    if not sizes or not len(present):
        return {}
    typical = describe_sizes(sizes)
    resize = choose_resize(typical.size, both_orientations=typical.both_orientations, gpu=gpu)
    square = typical.both_orientations and resize is None
    crop, _ = choose_crop(resize or typical.size, square=square, gpu=gpu)
    ratio = float(present.max() / present.min())
    return {
        "machine": "gpu" if gpu else "cpu",
        "resize": resize,
        "crop": crop,
        "batch": choose_batch(len(train), gpu=gpu),
        "class_weights": "none" if ratio < _EVEN else "sqrt_median" if ratio < _UNEVEN else "median",
        "class_ratio": ratio,
    }


def _weights(counts: ClassCounts, labels: ClassTable) -> dict[str, NDArray[np.float32]]:
    """By the classes that occur: ``class_weights`` warns of others, and a finding names them already."""
    present = np.flatnonzero(counts.pixels)
    if not len(present):
        return {}
    table = ClassTable(names=tuple(labels.names[i] for i in present), colors=tuple(labels.colors[i] for i in present))
    found = {}
    for balance in BALANCES:
        if balance == "none" or (balance == "published" and table.names != CAMVID.names):
            continue
        weights = np.zeros(labels.classes, dtype=np.float32)
        weights[present] = class_weights(ClassCounts(counts.pixels[present], counts.around[present]), balance, table)
        found[balance] = weights
    return found
