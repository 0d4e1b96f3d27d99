"""Samples on disk: pairs of files. This needs no torch, so that files can be checked without it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segnet.media.images.reading import read_orientation

__all__ = ["Sample", "describe_mismatch"]


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


def describe_mismatch(image: Path, mask: Path) -> str:
    """Why two files of a pair differ in size, and what to do, for an error."""
    turned, other = read_orientation(image), read_orientation(mask)
    if turned == other:
        return "masks must have their image's size"
    return (
        f"{image.name} has EXIF orientation {turned} and {mask.name} {other}, and each is turned upright by its own; "
        "remove the orientation of the one, or turn the other as well"
    )
