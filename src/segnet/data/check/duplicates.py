"""Findings on images that are there more than once, within a split and across splits, and on films cut into splits."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from segnet.data.check.findings import CheckedData, Finding, Mark
from segnet.data.check.hashes import Look, closest_alike, nearest

__all__ = ["duplicate_findings"]

_BITS, _GRAY = 6, 3.0  # of 64 bits and of 255 gray values; frames 1/15 s apart differ by 3 and 1.6 in CamVid (medians)
_MOST_COMPARED = 30_000  # images; above, only equal files are found
_FEWEST_FRAMES = 5
_FILM = 0.5  # frames in a row differ by less than this share of what two random images differ by
_FRAME = re.compile(r"(.*?)[-_. ]?(\d+)\D*")
_CITYSCAPES = "_leftImg8bit"


def duplicate_findings(data: CheckedData) -> Iterator[Finding]:
    """Equal images, images that look alike, and sequences of which several splits have frames."""
    groups = _equal(data)
    splits = _splits_of(data)
    yield from _copies(data, groups, splits)
    if len(data.samples) <= _MOST_COMPARED:
        yield from _near(data, splits)
    yield from _sequences(data)


def _equal(data: CheckedData) -> list[list[int]]:
    """Samples with byte for byte the same image, in groups of two and more."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, facts in enumerate(data.facts):
        if facts.image_digest:
            groups[facts.image_digest].append(index)
    return [group for group in groups.values() if len(group) > 1]


def _splits_of(data: CheckedData) -> list[frozenset[str]]:
    found: list[set[str]] = [set() for _ in data.samples]
    for split, indices in data.splits.items():
        for index in indices:
            found[index].add(split)
    return [frozenset(names) for names in found]


def _copies(data: CheckedData, groups: list[list[int]], splits: list[frozenset[str]]) -> Iterator[Finding]:
    leaks: list[Mark] = []
    copies: list[Mark] = []
    torn = []
    for first, *others in groups:
        for index in others:
            text = f"the same as {data.samples[first].image}"
            (copies if splits[index] == splits[first] else leaks).append(data.image(index, text, first))
            if data.facts[index].mask_digest != data.facts[first].mask_digest:
                text = f"another mask than {data.samples[first].mask}, for the same image"
                torn.append(data.mask(index, text, first))
    if leaks:
        yield Finding(
            kind="leak", severity="warning", title="images that are in two splits, byte for byte",
            remedy="remove them from one: scores on images that were trained on mean nothing", marks=tuple(leaks),
        )  # fmt: skip
    if copies:
        yield Finding(
            kind="duplicate", severity="warning", title="images that are twice in a split, byte for byte",
            remedy="remove the copies", marks=tuple(copies),
        )  # fmt: skip
    if torn:
        yield Finding(
            kind="two_masks", severity="warning", title="equal images with different masks",
            remedy="keep the right mask", marks=tuple(torn),
        )  # fmt: skip


def _near(data: CheckedData, splits: list[frozenset[str]]) -> Iterator[Finding]:
    """Within the images of the same splits, and against those of the splits before."""
    groups: dict[frozenset[str], list[int]] = defaultdict(list)
    for index, facts in enumerate(data.facts):
        if facts.look is not None:
            groups[splits[index]].append(index)
    leaks: list[Mark] = []
    copies: list[Mark] = []
    earlier: list[int] = []
    for members in groups.values():
        looks = _looks(data, members)
        same = closest_alike(looks, looks, bits=_BITS, gray=_GRAY, before=True)
        copies += _alike(data, members, members, same)
        leaks += _alike(data, members, earlier, closest_alike(looks, _looks(data, earlier), bits=_BITS, gray=_GRAY))
        earlier += members
    if leaks:
        yield Finding(
            kind="near_leak", severity="warning", title="images that look like one of another split",
            remedy="keep images of one scene in one split", marks=tuple(leaks),
        )  # fmt: skip
    if copies:
        yield Finding(
            kind="near_duplicate", severity="note", title="images that look like another one of their split",
            remedy="they add little: count scenes, not images", marks=tuple(copies),
        )  # fmt: skip


def _alike(data: CheckedData, members: list[int], among: list[int], found: NDArray[np.int64]) -> Iterator[Mark]:
    """Marks on images that look like another one; byte for byte the same are left to another finding."""
    for index, place in zip(members, found.tolist(), strict=True):
        if place >= 0 and data.facts[among[place]].image_digest != data.facts[index].image_digest:
            yield data.image(index, f"looks like {data.samples[among[place]].image}", among[place])


def _looks(data: CheckedData, indices: Iterable[int]) -> list[Look]:
    return [look for index in indices if (look := data.facts[index].look) is not None]


def _sequences(data: CheckedData) -> Iterator[Finding]:
    """Frames of one film in train and in another split, by numbered names and by looks."""
    frames = [_frame_of(sample.name) for sample in data.samples]
    typical = _random_difference(data)
    train = set(data.splits.get("train", ()))
    for split, indices in data.splits.items():
        shared = [i for i in indices if i not in train and frames[i] is not None]
        names = Counter(frame[0] for i in shared if (frame := frames[i]) is not None)
        films = [name for name in names if _is_film(data, frames, name, typical)]
        by_film = {film: _members(frames, film, train) for film in films}
        marks = []
        for i in shared:
            frame = frames[i]
            if frame is not None and (members := by_film.get(frame[0])):
                number, other = _closest(members, frame[1])
                text = f"{abs(number - frame[1])} frames from {data.samples[other].name} of train"
                marks.append(data.image(i, text, other))
        if split != "train" and marks:
            text = ", ".join(
                f"{film or 'numbered'} ({names[film]} of {split}, {len(by_film[film])} of train)"
                for film in films if by_film[film]
            )  # fmt: skip
            yield Finding(
                kind="shared_sequence", severity="warning",
                title=f"images of {split}, of {len(indices)}, that are frames of films of which train has others",
                detail=f"{text}; {_nearness(data, [mark.sample for mark in marks], typical)}",
                remedy="scores are higher than on a new film; keep each film in one split", marks=tuple(marks),
            )  # fmt: skip


def _nearness(data: CheckedData, indices: list[int | None], typical: float) -> str:
    """How much the images differ from the nearest of train, in words."""
    mine = _looks(data, [index for index in indices if index is not None])
    theirs = _looks(data, data.splits.get("train", ()))
    if not mine or not theirs:
        return "none could be compared"
    difference = float(np.median(nearest(mine, theirs)[1]))
    return f"the nearest image of train differs by {difference:.0f} gray values, two random images by {typical:.0f}"


def _frame_of(name: str) -> tuple[str, int] | None:
    found = _FRAME.fullmatch(name.removesuffix(_CITYSCAPES))
    return (found[1], int(found[2])) if found and len(found[2]) < 19 else None


def _members(frames: list[tuple[str, int] | None], name: str, among: Iterable[int]) -> list[tuple[int, int]]:
    """Number and index of the frames of a film, ascending."""
    return sorted((frame[1], index) for index in among if (frame := frames[index]) is not None and frame[0] == name)


def _closest(members: list[tuple[int, int]], number: int) -> tuple[int, int]:
    place = bisect_left(members, (number, 0))
    return min(members[max(0, place - 1) : place + 1], key=lambda member: abs(member[0] - number))


def _is_film(data: CheckedData, frames: list[tuple[str, int] | None], name: str, typical: float) -> bool:
    """Whether images of this name follow on each other: numbers alone may only count."""
    members = _members(frames, name, range(len(frames)))
    looks = _looks(data, [index for _, index in members])
    if len(looks) < _FEWEST_FRAMES:
        return False
    return float(np.median(_differences(looks[:-1], looks[1:]))) < _FILM * typical


def _random_difference(data: CheckedData) -> float:
    """The median difference of two random images, in gray values."""
    looks = _looks(data, range(len(data.facts)))
    order = np.random.default_rng(0).permutation(len(looks)).tolist()
    return float(np.median(_differences(looks, [looks[i] for i in order]))) if looks else 0.0


def _differences(ones: list[Look], others: list[Look]) -> list[float]:
    """Mean absolute difference of the thumbnails, pair by pair."""
    return [
        float(np.abs(np.subtract(list(bytes.fromhex(one[1])), list(bytes.fromhex(other[1])))).mean())
        for one, other in zip(ones, others, strict=True)
    ]
