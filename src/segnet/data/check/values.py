"""Findings on the values of masks: numbers that are no class, absent classes, ignored pixels, traces of JPEG."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from segnet.data.check.facts import PairFacts
from segnet.data.check.findings import CheckedData, Finding, Mark
from segnet.data.checks import require_two_classes
from segnet.data.layouts.naming import means_unlabeled
from segnet.data.masks import MaskReader, describe_value
from segnet.errors import DataError, describe_count
from segnet.labels import IGNORE_INDEX

__all__ = ["count_by_image", "is_noisy", "unknown_value_findings", "value_findings"]

_FEW, _LISTED = 4, 10  # values that are named, of a file and of all
_NOISY = 5.0  # for islands / sqrt(pixels): CamVid's masks have up to 4.1, and from 5.6 on after JPEG
_SMALL = 1_000  # pixels; masks of fewer are judged like those
_MANY_ISLANDS = 5  # times the median
_MOSTLY = 0.9


def count_by_image(data: CheckedData, reader: MaskReader) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels of each class, int64 (samples, classes), and ignored pixels, int64 (samples,)."""
    pixels = np.zeros((len(data.facts), data.labels.classes), dtype=np.int64)
    ignored = np.zeros(len(data.facts), dtype=np.int64)
    for index, facts in enumerate(data.facts):
        values = np.array(list(facts.values), dtype=np.int64)
        counts = np.array(list(facts.values.values()), dtype=np.int64)
        classes = reader.classes_of(values)
        known = (classes >= 0) & (classes != IGNORE_INDEX)
        np.add.at(pixels[index], classes[known], counts[known])
        ignored[index] = counts[classes == IGNORE_INDEX].sum()
    return pixels, ignored


def value_findings(
    data: CheckedData, reader: MaskReader, pixels: NDArray[np.int64], ignored: NDArray[np.int64]
) -> Iterator[Finding]:
    """Findings from the values in the masks; ``pixels`` and ``ignored`` are those of ``count_by_image``."""
    yield from unknown_value_findings(data, reader)
    yield from _mixed_palettes(data, reader)
    yield from _islands(data)
    yield from _too_few_classes(data, pixels, ignored)
    yield from _ignored_masks(data, pixels, ignored)
    yield from _absent_classes(data, pixels)
    yield from _doubtful_names(data, pixels)


def unknown_value_findings(data: CheckedData, reader: MaskReader) -> Iterator[Finding]:
    """Masks with values and colors that are no class, and masks whose palette contradicts the classes."""
    yield from _wrong_values(data, reader)
    yield from _other_palettes(data, reader)


def is_noisy(facts: PairFacts) -> bool:
    """Whether a mask has so many islands as JPEG or smoothing leave."""
    return facts.islands > _NOISY * math.sqrt(max(sum(facts.values.values()), _SMALL))


def _wrong_values(data: CheckedData, reader: MaskReader) -> Iterator[Finding]:
    marks, pixels, masks = [], Counter[int](), Counter[int]()
    for index, facts in enumerate(data.facts):
        values = np.array(list(facts.values), dtype=np.int64)
        wrong = {value: facts.values[value] for value in values[reader.classes_of(values) < 0].tolist()}
        if wrong:
            pixels.update(wrong)
            masks.update(wrong.keys())
            marks.append((sum(wrong.values()), data.mask(index, _list_values(wrong, reader))))
    if marks:
        ignore = ", ".join(map(str, reader.ignore_index)) or "not used"
        black_and_white = all(set(facts.values) <= {0, 255} for facts in data.facts if facts.values)
        yield Finding(
            kind="value_out_of_range", severity="error",
            title=f"masks with values that are no class: {data.labels.classes} classes, ignored values {ignore}",
            detail=f"in all masks: {_list_values(pixels, reader, masks)}",
            remedy="these are black-and-white masks of two classes; save 255 as 1" if black_and_white
            else "correct the masks, or add the missing classes or ignore_index to the class list",
            marks=tuple(mark for _, mark in sorted(marks, key=lambda pair: -pair[0])),
        )  # fmt: skip


def _list_values(pixels: Mapping[int, int], reader: MaskReader, masks: Mapping[int, int] | None = None) -> str:
    """The commonest values with their pixels, and the masks that they are in."""
    most = _FEW if masks is None else _LISTED
    shown = [
        f"{describe_value(value, reader)} on {describe_count(count, 'pixel')}"
        + (f" of {describe_count(masks[value], 'mask')}" if masks else "")
        for value, count in sorted(pixels.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
    ]
    return ", ".join(shown) + (f" and {len(pixels) - most} more values" if len(pixels) > most else "")


def _other_palettes(data: CheckedData, reader: MaskReader) -> Iterator[Finding]:
    faults = ((index, _palette_fault(facts, reader)) for index, facts in enumerate(data.facts))
    marks = tuple(data.mask(index, fault) for index, fault in faults if fault)
    if marks:
        yield Finding(
            kind="other_palette", severity="error",
            title="masks whose palette shows the colors of the classes at other numbers",
            remedy="save them as RGB, or in the numbers of the class list", marks=marks,
        )  # fmt: skip


def _palette_fault(facts: PairFacts, reader: MaskReader) -> str:
    """Empty where the palette does not matter."""
    return reader.palette_fault(sorted(facts.values), facts.colors) if reader.encoding == "auto" else ""


def _mixed_palettes(data: CheckedData, reader: MaskReader) -> Iterator[Finding]:
    """Masks in which a color has another number than in most.

    Image editors give each file a palette in an order of its own, so the numbers of one class differ.
    """
    shown = {
        index: facts.numbers_of_colors for index, facts in enumerate(data.facts) if not _palette_fault(facts, reader)
    }
    numbers: dict[tuple[int, ...], Counter[int]] = {}
    for found in shown.values():
        for color, number in found.items():
            numbers.setdefault(color, Counter())[number] += 1
    usual = {color: counts.most_common(1)[0][0] for color, counts in numbers.items() if len(counts) > 1}
    marks = []
    for index, found in shown.items():
        other = [color for color, number in found.items() if number != usual.get(color, number)]
        if other:
            text = f"color {other[0]} has the value {found[other[0]]}, and {usual[other[0]]} in most masks"
            marks.append(data.mask(index, text))
    if marks:
        yield Finding(
            kind="mixed_palettes", severity="warning",
            title="masks whose palettes show a color at another value than most; the values count, not the colors",
            remedy="if the colors are right, save the masks as RGB, and name the colors (palette in a data.yaml)",
            marks=tuple(marks),
        )  # fmt: skip


def _islands(data: CheckedData) -> Iterator[Finding]:
    """Masks with so many islands that they went through JPEG or smoothing, and those with more than others."""
    islands = np.array([facts.islands for facts in data.facts])
    noisy = np.array([index for index, facts in enumerate(data.facts) if is_noisy(facts)], dtype=np.int64)
    if len(noisy):
        yield Finding(
            kind="noisy_mask", severity="warning",
            title="masks with islands of a few pixels all over, as JPEG or smoothing leaves them",
            remedy="export them again as PNG, and scale masks by nearest neighbor only",
            marks=tuple(data.mask(i, f"{islands[i]} islands") for i in noisy[np.argsort(-islands[noisy])].tolist()),
        )  # fmt: skip
    usual = float(np.median(islands)) if len(islands) else 0
    many = [
        i for i in np.argsort(-islands, kind="stable").tolist()
        if islands[i] > max(_MANY_ISLANDS * usual, 20) and i not in set(noisy.tolist())
    ]  # fmt: skip
    if many:
        yield Finding(
            kind="islands", severity="note",
            title=f"masks with over {_MANY_ISLANDS} times the usual number of islands ({usual:g} of 4 pixels or fewer)",
            remedy="look whether the brush slipped",
            marks=tuple(data.mask(i, f"{islands[i]} islands") for i in many),
        )  # fmt: skip


def _too_few_classes(data: CheckedData, pixels: NDArray[np.int64], ignored: NDArray[np.int64]) -> Iterator[Finding]:
    """As training refuses it; one class only is an error here, since nothing can be learned from it."""
    for split, indices in data.splits.items():
        members = [index for index in indices if data.facts[index].values]
        if not members:
            continue
        counts, left_out = pixels[members].sum(axis=0), int(ignored[members].sum())
        masks = f"masks of {split}, such as {data.samples[members[0]].mask_source}"
        present = np.flatnonzero(counts)
        unknown = sum(sum(data.facts[index].values.values()) for index in members) > counts.sum() + left_out
        if len(present) > 1 or (unknown and not len(present)):  # values that are no class are another finding
            continue
        if len(present) == 1 and not left_out:
            name = data.labels.names[present[0]]
            title = f"all {masks}, hold class {present[0]} ({name}) only, so any model is right"
        else:
            title = _refusal(data, counts, left_out, masks)
        yield Finding(
            kind="single_class", severity="error", title=title, remedy="add images with a second class",
            count=len(members),
        )  # fmt: skip


def _refusal(data: CheckedData, counts: NDArray[np.int64], left_out: int, masks: str) -> str:
    try:
        require_two_classes(counts, left_out, data.labels, masks=masks)
    except DataError as error:
        return str(error)
    return ""


def _ignored_masks(data: CheckedData, pixels: NDArray[np.int64], ignored: NDArray[np.int64]) -> Iterator[Finding]:
    total = pixels.sum(axis=1) + ignored
    mostly = np.flatnonzero((total > 0) & (ignored > _MOSTLY * total))
    if len(mostly):
        marks = tuple(data.mask(i, f"{ignored[i] / total[i]:.1%} ignored") for i in mostly.tolist())
        yield Finding(
            kind="ignored", severity="warning", title=f"masks of which over {_MOSTLY:.0%} is ignored",
            remedy="look whether they are finished", marks=marks,
        )  # fmt: skip
    present = pixels > 0
    two_tone = np.flatnonzero((ignored > 0) & present[:, 0] & (present.sum(axis=1) == 1))
    if data.labels.classes == 2 and len(two_tone):
        yield Finding(
            kind="two_tone", severity="warning",
            title=f"masks of class 0 ({data.labels.names[0]}) and ignored pixels only, like black-and-white masks",
            remedy="if they are masks of 0 and 255, save them as 0 and 1",
            marks=tuple(data.mask(i) for i in two_tone.tolist()),
        )  # fmt: skip


def _absent_classes(data: CheckedData, pixels: NDArray[np.int64]) -> Iterator[Finding]:
    for split, indices in data.splits.items():
        counts = pixels[list(indices)].sum(axis=0)
        absent = [data.labels.names[index] for index in np.flatnonzero(counts == 0).tolist()]
        if absent and counts.any():
            yield Finding(
                kind="absent_class", severity="warning", title=f"classes that never occur in {split}",
                remedy="add images that show them, or leave the classes out of the class list",
                marks=tuple(Mark(name) for name in absent),
            )  # fmt: skip


def _doubtful_names(data: CheckedData, pixels: NDArray[np.int64]) -> Iterator[Finding]:
    """Classes that are called as pixels without a class, and those that differ in capitals only."""
    names = data.labels.names
    occurring = [names[index] for index in np.flatnonzero(pixels.sum(axis=0)).tolist()]
    if unlabeled := [name for name in occurring if means_unlabeled(name)]:
        yield Finding(
            kind="unlabeled_class", severity="warning",
            title="classes that are trained, but called as pixels without a class",
            remedy=f'if they are to be ignored, give --map "{unlabeled[0]}=ignore"',
            marks=tuple(Mark(name) for name in unlabeled),
        )  # fmt: skip
    times = Counter(name.lower() for name in names)
    if alike := sorted((name for name in names if times[name.lower()] > 1), key=str.lower):
        yield Finding(
            kind="similar_names", severity="warning", title="classes whose names differ in capitals only",
            remedy=f'if they are one class, give --map "{alike[0]}={alike[1]}"',
            marks=tuple(Mark(name) for name in alike),
        )  # fmt: skip
