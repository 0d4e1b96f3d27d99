"""Samples on disk: pairs of files. This needs no torch, so that files can be checked without it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from segnet.data.masks import MaskReader
from segnet.media.images.headers import read_orientation

__all__ = ["Sample", "describe_mismatch", "describe_sample_mismatch", "may_be_turned", "with_distinct_names"]

_UPRIGHT = 4  # the largest EXIF orientation that is not on its side


@dataclass(frozen=True, init=False)
class Sample:
    """An image and its mask on disk, under one name.

    Attributes:
        image: the image file; text becomes a path, here and in the others.
        mask: the mask file.
        name: of both in messages and results.
        annotation: the file that the mask was drawn from, or the image if it has none; None if masks are files of the
            data set.
        reader: how the mask is read; None: as the other masks of the data set.
    """

    image: Path
    mask: Path
    name: str
    annotation: Path | None = None
    reader: MaskReader | None = None

    def __init__(
        self,
        image: Path | str,
        mask: Path | str,
        name: str,
        annotation: Path | str | None = None,
        reader: MaskReader | None = None,
    ) -> None:
        own = None if annotation is None else Path(annotation)
        values = {"image": Path(image), "mask": Path(mask), "name": name, "annotation": own, "reader": reader}
        for field, value in values.items():
            object.__setattr__(self, field, value)  # the dataclass is frozen

    @property
    def mask_source(self) -> str:
        """The mask in messages: its file, or the user's annotation that it was drawn from."""
        if self.annotation is None:
            return str(self.mask)
        if self.annotation == self.image:
            return f"{self.image} (no annotation)"
        return f"{self.annotation} (image {self.image})"


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


def may_be_turned(orientation: int, other: int, size: Sequence[int]) -> bool:
    """Whether two files of one upright size may be turned against each other, by their EXIF orientations.

    Programs that ignore the orientation draw a mask for the pixels as they are stored. If only one of the two is stored
    on its side, such a mask has another size, unless both are square.
    """
    one_on_its_side = (orientation > _UPRIGHT) != (other > _UPRIGHT)
    return orientation != other and not (one_on_its_side and size[0] != size[1])


def describe_sample_mismatch(sample: Sample) -> str:
    """Why image and mask of a sample differ in size, and what to do, for an error."""
    if sample.annotation is None:
        return describe_mismatch(sample.image, sample.mask)
    if (turned := read_orientation(sample.image)) == 1:
        return "annotations must have their image's size"
    return (
        f"the image is turned upright by its EXIF orientation {turned}; annotate the upright image, or remove the "
        "orientation"
    )


def describe_mismatch(image: Path, mask: Path) -> str:
    """Why two files of a pair differ in size, and what to do, for an error."""
    turned, other = read_orientation(image), read_orientation(mask)
    if turned == other:
        return "masks must have their image's size"
    return (
        f"{image.name} has EXIF orientation {turned} and {mask.name} {other}, and each is turned upright by its own; "
        "remove the orientation of the one, or turn the other as well"
    )
