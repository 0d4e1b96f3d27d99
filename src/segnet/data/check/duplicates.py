"""Findings on images that are there more than once, within a split and across splits, and on films cut into splits."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from segnet.data.check.findings import CheckedData, Finding, Mark
from segnet.data.check.hashes import Look, closest_alike, differences, nearest_differences
from segnet.data.sizing import spread

__all__ = ["duplicate_findings"]

_MOST_COMPARED = 30_000  # images; above, only equal files are found
_FEWEST_FRAMES = 5
_FILM = 0.5  # frames in a row differ by less than this share of what two random images differ by
_FRAME = re.compile(r"(.*?)[-_. ]?(\d+)\D*")
_CITYSCAPES = "_leftImg8bit"
_MOST_DIGITS = 18
_MOST_SHOWN = 500  # frames whose nearest image is looked for


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
    leaks = list(_listed_twice(data, splits))
    copies: list[Mark] = []
    torn = []
    for first, *others in groups:
        for index in others:
            text = f"the same as {data.samples[first].image}"
            (copies if splits[index] == splits[first] else leaks).append(data.image(index, text, first))
            if data.facts[index].mask_digest != data.facts[first].mask_digest:
                text = f"another mask than {data.samples[first].mask_source}, for the same image"
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


def _listed_twice(data: CheckedData, splits: list[frozenset[str]]) -> Iterator[Mark]:
    """Marks on images of several splits; splits that are the same as a whole are left to another finding."""
    members = {split: frozenset(indices) for split, indices in data.splits.items()}
    for index, names in enumerate(splits):
        if len({members[name] for name in names}) > 1:
            yield data.image(index, f"in {' and '.join(split for split in data.splits if split in names)}")


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
        same = closest_alike(looks, looks, before=True)
        copies += _alike(data, members, members, same)
        leaks += _alike(data, members, earlier, closest_alike(looks, _looks(data, earlier)))
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
    typical = _random_difference(data)
    films = {name: frames for name, frames in _numbered(data).items() if _is_film(data, frames, typical)}
    train = set(data.splits.get("train", ()))
    for split, indices in data.splits.items():
        own, marks, counts = set(indices) - train, [], []
        for name, frames in films.items():
            here = [frame for frame in frames if frame[1] in own]
            there = [frame for frame in frames if frame[1] in train]
            if here and there:
                counts.append(f"{name or 'numbered'} ({len(here)} of {split}, {len(there)} of train)")
                marks += [_near_frame(data, frame, there) for frame in here]
        if marks:
            yield Finding(
                kind="shared_sequence", severity="warning",
                title=f"images of {split}, of {len(indices)}, that are frames of films of which train has others",
                detail=f"{', '.join(counts)}; {_nearness(data, [mark.sample for mark in marks], typical)}",
                remedy="scores are higher than on a new film; keep each film in one split", marks=tuple(marks),
            )  # fmt: skip


def _numbered(data: CheckedData) -> dict[str, list[tuple[int, int]]]:
    """Number and index of the images by the rest of their name, ascending."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for index, sample in enumerate(data.samples):
        name = _FRAME.fullmatch(sample.name.removesuffix(_CITYSCAPES))
        if name and len(name[2]) <= _MOST_DIGITS:
            found[name[1]].append((int(name[2]), index))
    return {name: sorted(frames) for name, frames in found.items()}


def _is_film(data: CheckedData, frames: list[tuple[int, int]], typical: float) -> bool:
    """Whether images of one name follow on each other: numbers alone may only count."""
    looks = _looks(data, [index for _, index in frames])
    if len(looks) < _FEWEST_FRAMES:
        return False
    return float(np.median(differences(looks[:-1], looks[1:]))) < _FILM * typical


def _near_frame(data: CheckedData, frame: tuple[int, int], there: list[tuple[int, int]]) -> Mark:
    """A mark on a frame, with the nearest of train."""
    place = bisect_left(there, frame)
    number, other = min(there[max(0, place - 1) : place + 1], key=lambda member: abs(member[0] - frame[0]))
    return data.image(frame[1], f"{abs(number - frame[0])} frames from {data.samples[other].name} of train", other)


def _nearness(data: CheckedData, indices: list[int | None], typical: float) -> str:
    """How much the images differ from the nearest of train, in words."""
    mine = _looks(data, [index for index in indices if index is not None])
    theirs = _looks(data, data.splits.get("train", ()))
    if not mine or not theirs:
        return "none could be compared"
    difference = float(np.median(nearest_differences(spread(mine, _MOST_SHOWN), theirs)))
    return f"the nearest image of train differs by {difference:.0f} gray values, two random images by {typical:.0f}"


def _random_difference(data: CheckedData) -> float:
    """The median difference of two random images, in gray values."""
    looks = _looks(data, range(len(data.facts)))
    order = np.random.default_rng(0).permutation(len(looks)).tolist()
    return float(np.median(differences(looks, [looks[i] for i in order]))) if looks else 0.0
