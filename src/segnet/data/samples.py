"""Samples on disk: pairs of files. This needs no torch, so that files can be checked without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segnet.media.images.reading import read_orientation

__all__ = ["Sample", "describe_mismatch", "with_distinct_names"]


@dataclass(frozen=True)
class Sample:
    """An image and its mask on disk, under one name.

    Attributes:
        image: the image file.
        mask: the mask file.
        name: of both in messages and results.
    """

    image: Path
    mask: Path
    name: str


def with_distinct_names(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """The samples; if several images have one name, all names become paths, seen from the folder where all images are.

    These are without suffix: ``day/1`` and ``night/1``.
    """
    images = {sample.image: sample.name for sample in samples}
    if len(set(images.values())) == len(images):
        return tuple(samples)
    absolute = [os.path.abspath(sample.image) for sample in samples]  # noqa: PTH100  links stay
    top = os.path.commonpath([os.path.dirname(path) for path in absolute])  # noqa: PTH120
    names = (Path(path).relative_to(top).with_suffix("").as_posix() for path in absolute)
    return tuple(replace(sample, name=name) for sample, name in zip(samples, names, strict=True))


def describe_mismatch(image: Path, mask: Path) -> str:
    """Why two files of a pair differ in size, and what to do, for an error."""
    turned, other = read_orientation(image), read_orientation(mask)
    if turned == other:
        return "masks must have their image's size"
    return (
        f"{image.name} has EXIF orientation {turned} and {mask.name} {other}, and each is turned upright by its own; "
        "remove the orientation of the one, or turn the other as well"
    )
