"""Findings on masks that probably do not belong where they are: shifted, flipped, of another image.

Judged against the data set itself: the fits of most masks say how well boundaries lie on edges here. Where they do not
(boundaries that cannot be seen, such as of regions on a map), nothing is judged. The limits come from CamVid, whose
masks have fits of 0.41 to 1.40 (median 0.84), and those of other images up to 0.31.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from segnet.data.check.alignment import Alignment, align
from segnet.data.check.facts import read_gray
from segnet.data.check.findings import CheckedData, Finding, Mark
from segnet.data.check.values import is_noisy
from segnet.errors import DataError

__all__ = ["judge_alignment", "misplaced_findings"]

_FEWEST = 8  # masks, to say what is usual
_USUAL = 0.4  # median fit; below, boundaries are not to be seen in these images
_FOREIGN = 0.42  # of the median
_GOOD = 0.55  # of the median, for the fit at another place
_GAIN = 0.25  # by which a shift must be better
_FLIP_GAIN = 0.1
_COMPARED = 12  # suspects whose masks are tried on each other's images

_FLIPS = ("flipped left to right", "flipped upside down", "turned by 180 degrees")


def misplaced_findings(data: CheckedData) -> Iterator[Finding]:
    """Masks that lie better elsewhere, and masks of which several images share one."""
    yield from _shared_masks(data)
    known = {
        index: facts.alignment
        for index, facts in enumerate(data.facts)
        if facts.alignment is not None and not is_noisy(facts)
    }
    fits = np.array([alignment.fit for alignment in known.values()])
    if len(fits) < _FEWEST or (usual := float(np.median(fits))) < _USUAL:
        return
    marks: dict[str, list[Mark]] = {"shifted": [], "flipped": [], "foreign": []}
    foreign = []
    for index, alignment in known.items():
        kind, text = judge_alignment(alignment, usual)
        if kind == "foreign":
            foreign.append(index)
        elif kind:
            marks[kind].append(data.mask(index, text))
    better = _owners(data, foreign[:_COMPARED], usual)
    marks["foreign"] = [data.mask(i, f"fit {known[i].fit:.2f}, usual {usual:.2f}{better.get(i, '')}") for i in foreign]
    titles = {
        "shifted": "masks that are probably shifted against their image",
        "flipped": "masks that are probably flipped or turned against their image",
        "foreign": "masks that are probably of another image",
    }
    for kind, title in titles.items():
        if marks[kind]:
            yield Finding(
                kind=f"{kind}_mask", severity="warning", title=title,
                remedy="look at the overlays (--html), and repair or remove the pairs", marks=tuple(marks[kind]),
            )  # fmt: skip


def judge_alignment(alignment: Alignment, usual: float) -> tuple[str, str]:
    """The kind of fault, ``shifted``, ``flipped`` or ``foreign``, and what to say of it; empty if there is none.

    Args:
        alignment: of one mask.
        usual: median fit of the data set.
    """
    x, y = alignment.shift_xy
    flip = int(np.argmax(alignment.flips))
    if (
        alignment.flips[flip] > max(alignment.fit + _FLIP_GAIN, _GOOD * usual)
        and alignment.best < alignment.flips[flip]
    ):
        return "flipped", f"{_FLIPS[flip]}: fit {alignment.flips[flip]:.2f} instead of {alignment.fit:.2f}"
    if alignment.best > max(alignment.fit + _GAIN, _GOOD * usual) and max(abs(x), abs(y)) > 2:
        return "shifted", f"{x:+d} pixels across, {y:+d} down lie better: {alignment.best:.2f}, not {alignment.fit:.2f}"
    return ("foreign", "") if alignment.fit < _FOREIGN * usual else ("", "")


def _owners(data: CheckedData, suspects: list[int], usual: float) -> dict[int, str]:
    """For suspects whose mask lies well on another suspect's image: which one."""
    pixels = {}
    for index in suspects:
        sample = data.samples[index]
        try:
            gray = read_gray(sample.image, data.channels)
            pixels[index] = gray, data.values(index)
        except DataError:
            continue
    found = {}
    for index, (_, mask) in pixels.items():
        tried = {other: align(gray, mask) for other, (gray, _) in pixels.items() if gray.shape == mask.shape}
        fits = {other: one.fit for other, one in tried.items() if one is not None and other != index}
        best = max(fits, key=lambda other: fits[other], default=index)
        if fits.get(best, 0.0) > _GOOD * usual:
            found[index] = f"; it lies well on {data.samples[best].image.name} (fit {fits[best]:.2f})"
    return found


def _shared_masks(data: CheckedData) -> Iterator[Finding]:
    """Different images with byte for byte the same mask, which has boundaries."""
    first: dict[str, int] = {}
    marks = []
    for index, facts in enumerate(data.facts):
        if len(facts.values) < 2 or facts.components < 3 or not facts.mask_digest:
            continue
        other = first.setdefault(facts.mask_digest, index)
        if data.facts[other].image_digest != facts.image_digest:
            worse, better = sorted((index, other), key=lambda one: _fit(data, one))
            marks.append(data.mask(worse, f"the same as {data.samples[better].mask_source}", better))
    if marks:
        yield Finding(
            kind="same_mask", severity="warning", title="masks that different images share, byte for byte",
            remedy="one of the two images probably has the mask of the other", marks=tuple(marks),
        )  # fmt: skip


def _fit(data: CheckedData, index: int) -> float:
    alignment = data.facts[index].alignment
    return 0.0 if alignment is None else alignment.fit
