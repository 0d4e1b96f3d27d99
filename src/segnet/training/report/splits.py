"""The data section of the report: number and size of the images, and the share of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from segnet.data.class_weights import ClassCounts, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.visualization.html.markup import class_name, percent, scrolled

__all__ = ["Split", "data_section", "describe_split"]

_MAX_SAMPLED = 100  # masks whose size and ignored pixels stand for those of all
_RARE = 0.1  # of an equal share
_MAX_SIZES = 3

_MEANINGS = {
    "absent from": "A class absent from training is not learned. A class absent from validation has no score.",
    "rare in": "A class is rare if it has less than a tenth of an equal share of the pixels.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split of a data set.

    Attributes:
        images: Number of images.
        counts: Pixels of each class.
        ignored: Share of ignored pixels, 0 to 1.
        sizes: Number of images by size (height, width) in pixels.
        sampled: Number of images, evenly spaced, that ``ignored`` and ``sizes`` come from.
    """

    images: int
    counts: ClassCounts
    ignored: float
    sizes: Mapping[tuple[int, int], int]
    sampled: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """Share of each class in the pixels that are not ignored, float64 (classes,); 0 if there is none."""
        return self.counts.pixels / max(int(self.counts.pixels.sum()), 1)


def describe_split(data: SegmentationDataset) -> Split:
    """Count the classes, or take the cached counts, and sample up to 100 masks for size and ignored pixels.

    Raises:
        DataError: A mask cannot be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    ignored = pixels = 0
    indices = np.unique(np.linspace(0, len(data) - 1, min(len(data), _MAX_SAMPLED)).round().astype(int)).tolist()
    for index in indices:
        mask = data.read_classes(index)
        sizes[mask.shape[0], mask.shape[1]] += 1
        ignored += int((mask == IGNORE_INDEX).sum())
        pixels += mask.size
    counts = count_classes(data)
    return Split(images=len(data), counts=counts, ignored=ignored / pixels, sizes=sizes, sampled=len(indices))


def data_section(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    """Warnings, a table of the splits, and a table of the share of each class in each split."""
    table = _classes_table(labels, splits)
    return _warnings(labels, splits) + _splits_table(splits) + scrolled(table, "Shares of the classes")


def _splits_table(splits: Mapping[str, Split]) -> str:
    number = '<th scope="col" class="number">'
    head = (
        f'<th scope="col">split</th>{number}images</th><th scope="col">width × height</th>{number}ignored pixels</th>'
    )
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{split.images}</td>'
        f'<td>{_sizes(split)}</td><td class="number">{percent(split.ignored)}</td></tr>'
        for name, split in splits.items()
    )
    sampled = [f"{split.sampled} images of {name}" for name, split in splits.items() if split.sampled < split.images]
    note = (
        f"<p>Sizes and ignored pixels come from {escape(' and '.join(sampled))}, evenly spaced.</p>" if sampled else ""
    )
    table = f"<table><caption>Splits</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return scrolled(table, "Splits") + note


def _sizes(split: Split) -> str:
    common = sorted(split.sizes.items(), key=lambda item: -item[1])
    if len(common) == 1:
        return f"{common[0][0][1]} × {common[0][0][0]}"
    parts = [f"{width} × {height} ({images})" for (height, width), images in common[:_MAX_SIZES]]
    more = len(common) - _MAX_SIZES
    return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _classes_table(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    largest = max((float(split.shares.max()) for split in splits.values()), default=0) or 1
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in splits)
    rows = []
    for index, (name, color) in enumerate(zip(labels.names, labels.colors, strict=True)):
        bars = "".join(_bar(float(split.shares[index]), largest) for split in splits.values())
        remarks = [f"{remark} {split}" for remark, split in _remarks(labels, splits, index)]
        rows.append(
            f'<tr><th scope="row">{class_name(name, color)}</th>{bars}'
            f'<td class="beware">{escape(", ".join(remarks))}</td></tr>'
        )
    return (
        "<table><caption>Share of each class in the pixels that are not ignored</caption>"
        f'<thead><tr><th scope="col">class</th>{head}<th scope="col">remark</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _bar(share: float, largest: float) -> str:
    return f'<td class="bar" style="--w:{100 * share / largest:.1f}%">{percent(share, 1 if share >= 0.01 else 2)}</td>'


def _remarks(labels: ClassTable, splits: Mapping[str, Split], index: int) -> list[tuple[str, str]]:
    remarks = []
    for name, split in splits.items():
        if split.counts.pixels[index] == 0:
            remarks.append(("absent from", name))
        elif split.shares[index] < _RARE / labels.classes:
            remarks.append(("rare in", name))
    return remarks


def _warnings(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    """One sentence for each kind of remark."""
    classes: dict[str, dict[str, list[str]]] = {}
    for index, name in enumerate(labels.names):
        for remark, split in _remarks(labels, splits, index):
            classes.setdefault(remark, {}).setdefault(split, []).append(name)
    sentences = []
    for remark, meaning in _MEANINGS.items():
        text = "; ".join(f"{remark} {split}: {', '.join(names)}" for split, names in classes.get(remark, {}).items())
        if text:
            sentences.append(f'<p class="beware">{escape(text[0].upper() + text[1:])}. {meaning}</p>')
    return "".join(sentences)
