"""Findings on single files and pairs: what pairs up, what can be read, sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from segnet.data.check.findings import CheckedData, Finding, Mark
from segnet.data.pairing_faults import PairingFault
from segnet.data.samples import describe_sample_mismatch, may_be_turned

__all__ = ["file_findings", "pair_findings", "pairing_findings"]

_SMALL = 16  # pixels; a shorter side is left with one pixel or less after the usual four poolings
_FEW_SIZES = 5

_PAIRING = {
    "image_without_mask": ("images without a mask", "add masks of the same name, or remove the images"),
    "mask_without_image": (
        "masks without an image",
        "add images of the same name, in a format that is read (HEIC is not), or remove the masks",
    ),
    "same_name": ("files of one name but another suffix or folder", "keep one of them"),
    "annotation": ("annotations that cannot be drawn as masks", "correct them, or export them again"),
    "listing": ("entries of the data set that lead nowhere", "correct the list or the folders"),
}
_FAULTS = {
    "lfs": ("files that are pointers of git-lfs", "run: git lfs pull"),
    "unreadable": ("files that cannot be read", "copy or download them again"),
    "lossy": ("masks of a lossy format, which changes class indices", "save the original masks as PNG"),
    "no_mask": ("masks that hold no classes", "give one class index, or the color of a class, for each pixel"),
}


def pairing_findings(faults: Iterable[PairingFault]) -> Iterator[Finding]:
    """Files without a partner, from either side."""
    for kind, (title, remedy) in _PAIRING.items():
        files = dict.fromkeys(file for fault in faults if fault.kind == kind for file in fault.files)
        if files:
            yield Finding(
                kind=kind, severity="error", title=title, remedy=remedy, marks=tuple(Mark(file) for file in files)
            )


def file_findings(data: CheckedData) -> Iterator[Finding]:
    """Files that cannot be read or are turned, masks of another size than their image, and the sizes of all."""
    yield from pair_findings(data)
    yield from _mixed_bands(data)
    yield from _turned(data)
    sizes = Counter(facts.image_size for facts in data.facts if facts.image_size is not None)
    small = [
        data.image(index, _words(facts.image_size))
        for index, facts in enumerate(data.facts)
        if facts.image_size is not None and min(facts.image_size) < _SMALL
    ]
    if small:
        yield Finding(
            kind="small_image", severity="warning", title=f"images with a side below {_SMALL} pixels",
            remedy="remove them, or resize the data", marks=tuple(small),
        )  # fmt: skip
    if len(sizes) > 1:
        yield Finding(
            kind="sizes", severity="note", title=f"images of {len(sizes)} sizes: {_list_sizes(sizes)}",
            remedy="training crops each by itself, so this is no fault", count=sum(sizes.values()),
        )  # fmt: skip


def pair_findings(data: CheckedData) -> Iterator[Finding]:
    """Files that cannot be read, and masks of another size than their image."""
    yield from _unusable(data)
    different = [
        data.mask(index, _describe_sizes(data, index))
        for index, facts in enumerate(data.facts)
        if facts.image_size and facts.mask_size and facts.image_size != facts.mask_size
    ]
    if different:
        drawn = any(sample.annotation for sample in data.samples)
        yield Finding(
            kind="size_mismatch", severity="error", title="masks of another size than their image",
            remedy="correct height and width in the annotations, or put back the images that were annotated" if drawn
            else "save each mask at the size of its image, without smoothing",
            marks=tuple(different),
        )  # fmt: skip


def _unusable(data: CheckedData) -> Iterator[Finding]:
    marks: dict[str, list[Mark]] = {kind: [] for kind in _FAULTS}
    for index, facts in enumerate(data.facts):
        if (fault := facts.image_fault) is not None:
            marks[fault.kind].append(data.image(index, fault.text))
        if (fault := facts.mask_fault) is not None:
            marks[fault.kind].append(data.mask(index, fault.text))
    for kind, (title, remedy) in _FAULTS.items():
        if marks[kind]:
            yield Finding(kind=kind, severity="error", title=title, remedy=remedy, marks=tuple(marks[kind]))


def _mixed_bands(data: CheckedData) -> Iterator[Finding]:
    """Images that have not as many bands as most."""
    counts = Counter(facts.bands for facts in data.facts if facts.bands)
    if len(counts) < 2:
        return
    usual = counts.most_common(1)[0][0]
    marks = [
        data.image(index, f"{facts.bands} bands, most images have {usual}")
        for index, facts in enumerate(data.facts)
        if facts.bands not in (0, usual)
    ]
    yield Finding(
        kind="mixed_bands", severity="error", title="images with another number of bands than most",
        remedy="save all images with the same bands", marks=tuple(marks),
    )  # fmt: skip


def _turned(data: CheckedData) -> Iterator[Finding]:
    """Pairs of one size, of which each file is turned upright by another orientation."""
    marks = [
        data.image(index, f"EXIF orientation {turned}, {data.samples[index].mask_source} has {other}")
        for index, facts in enumerate(data.facts)
        for turned, other in [facts.orientations]
        if may_be_turned(turned, other, facts.image_size or (0, 0))
    ]
    if marks:
        yield Finding(
            kind="orientation", severity="warning", title="images with another EXIF orientation than their mask",
            remedy="each file is turned upright by its own: check that the two lie on each other, and remove the "
            "orientation if they do not",
            marks=tuple(marks),
        )  # fmt: skip


def _describe_sizes(data: CheckedData, index: int) -> str:
    sample, facts = data.samples[index], data.facts[index]
    return f"{_words(facts.mask_size)}, its image {_words(facts.image_size)}; {describe_sample_mismatch(sample)}"


def _list_sizes(sizes: Counter[tuple[int, int]]) -> str:
    shown = ", ".join(f"{_words(size)} ({count})" for size, count in sizes.most_common(_FEW_SIZES))
    return shown + (f" and {len(sizes) - _FEW_SIZES} more" if len(sizes) > _FEW_SIZES else "")


def _words(size: Sequence[int] | None) -> str:
    """Width x height, as people write it."""
    return f"{size[1]}x{size[0]}" if size else "unknown"
