"""What the page says of the images: how many, how large, and how often each class occurs."""

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

_LOOKED_AT = 100  # masks whose size and void are taken for those of all
_RARE = 0.1  # of an even share
_SIZES = 3  # are named

_MEANINGS = {
    "absent from": "What the training images lack is not learned, and what the others lack has no score.",
    "rare in": "Rare is a class with less than a tenth of an even share of the pixels.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """One split of a data set.

    Attributes:
        images: how many.
        counts: pixels of each class.
        void: share of the pixels that belong to no class, 0 to 1.
        sizes: (height, width) of the files -> how many images have it.
        looked_at: of how many images, evenly spaced, ``void`` and ``sizes`` are.
    """

    images: int
    counts: ClassCounts
    void: float
    sizes: Mapping[tuple[int, int], int]
    looked_at: int

    @property
    def shares(self) -> NDArray[np.float64]:
        """Per class, its share of the pixels that belong to a class; 0 if none does."""
        return self.counts.pixels / max(int(self.counts.pixels.sum()), 1)


def describe_split(data: SegmentationDataset) -> Split:
    """Count the classes (kept from an earlier count), and look at up to 100 masks for their size and void.

    Raises:
        DataError: a mask cannot be read.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    void = pixels = 0
    places = np.unique(np.linspace(0, len(data) - 1, min(len(data), _LOOKED_AT)).round().astype(int)).tolist()
    for place in places:
        mask = data.read_classes(place)
        sizes[mask.shape[0], mask.shape[1]] += 1
        void += int((mask == IGNORE_INDEX).sum())
        pixels += mask.size
    return Split(images=len(data), counts=count_classes(data), void=void / pixels, sizes=sizes, looked_at=len(places))


def data_section(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    """Tables of the splits and of the share of each class in each of them, with what to beware of."""
    table = _classes_table(labels, splits)
    return _warnings(labels, splits) + _splits_table(splits) + scrolled(table, "Shares of the classes")


def _splits_table(splits: Mapping[str, Split]) -> str:
    number = '<th scope="col" class="number">'
    head = f'<th scope="col">split</th>{number}images</th><th scope="col">width × height</th>{number}void</th>'
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="number">{split.images}</td>'
        f'<td>{_sizes(split)}</td><td class="number">{percent(split.void)}</td></tr>'
        for name, split in splits.items()
    )
    few = [f"{split.looked_at} of {name}" for name, split in splits.items() if split.looked_at < split.images]
    note = f"<p>Sizes and void are those of {escape(' and '.join(few))}, evenly spaced.</p>" if few else ""
    table = f"<table><caption>Splits</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return scrolled(table, "Splits") + note


def _sizes(split: Split) -> str:
    common = sorted(split.sizes.items(), key=lambda item: -item[1])
    if len(common) == 1:
        return f"{common[0][0][1]} × {common[0][0][0]}"
    told = [f"{width} × {height} ({images})" for (height, width), images in common[:_SIZES]]
    more = len(common) - _SIZES
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")


def _classes_table(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    largest = max((float(split.shares.max()) for split in splits.values()), default=0) or 1
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in splits)
    rows = []
    for index, (name, color) in enumerate(zip(labels.names, labels.colors, strict=True)):
        bars = "".join(_bar(float(split.shares[index]), largest) for split in splits.values())
        remarks = [f"{what} {split}" for what, split in _remarks(labels, splits, index)]
        rows.append(
            f'<tr><th scope="row">{class_name(name, color)}</th>{bars}'
            f'<td class="beware">{escape(", ".join(remarks))}</td></tr>'
        )
    return (
        "<table><caption>Share of each class in the pixels that are not void</caption>"
        f'<thead><tr><th scope="col">class</th>{head}<th scope="col">beware</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _bar(share: float, largest: float) -> str:
    return f'<td class="bar" style="--w:{100 * share / largest:.1f}%">{percent(share, 1 if share >= 0.01 else 2)}</td>'


def _remarks(labels: ClassTable, splits: Mapping[str, Split], index: int) -> list[tuple[str, str]]:
    found = []
    for name, split in splits.items():
        if split.counts.pixels[index] == 0:
            found.append(("absent from", name))
        elif split.shares[index] < _RARE / labels.classes:
            found.append(("rare in", name))
    return found


def _warnings(labels: ClassTable, splits: Mapping[str, Split]) -> str:
    """One sentence for each kind of remark."""
    found: dict[str, dict[str, list[str]]] = {}
    for index, name in enumerate(labels.names):
        for what, split in _remarks(labels, splits, index):
            found.setdefault(what, {}).setdefault(split, []).append(name)
    told = []
    for what, meaning in _MEANINGS.items():
        places = "; ".join(f"{what} {split}: {', '.join(names)}" for split, names in found.get(what, {}).items())
        if places:
            told.append(f'<p class="beware">{escape(places[0].upper() + places[1:])}. {meaning}</p>')
    return "".join(told)
