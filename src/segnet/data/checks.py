"""Checks of true masks before anything is trained on them or scored against them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segnet.data.class_weights import ClassCounts, count_classes
from segnet.data.samples import may_be_turned
from segnet.data.sizing import spread
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.headers import read_orientation, read_size

if TYPE_CHECKING:
    from segnet.data.dataset import SegmentationDataset

__all__ = ["check_masks", "is_two_tone", "require_two_classes", "warn_of_orientation", "warn_of_two_tone"]

log = logging.getLogger("segnet")

_CHECKED = 10_000
"""Pairs whose orientation is compared, evenly spread: some 0.2 ms each."""


def check_masks(dataset: SegmentationDataset) -> ClassCounts:
    """Refuse masks against which every prediction is right. This reads every mask, unless its counts are cached.

    Masks of one class and no ignored pixel get a warning: a model can be wrong there, but only about one class. So do
    images and masks of which only one side has an EXIF orientation.

    Raises:
        DataError: A mask cannot be used, all pixels are ignored, or ignored pixels leave one class only.
    """
    if not len(dataset):
        raise DataError("the data set holds no images; there is nothing to train on or to score")
    counts = count_classes(dataset)
    require_two_classes(
        counts.pixels, counts.ignored, dataset.labels, masks=f"masks, such as {dataset.samples[0].mask_source}"
    )
    two_tone = [dataset.samples[index].mask_source for index in counts.two_tone]
    warn_of_two_tone(two_tone, len(dataset), dataset.labels)
    warn_of_orientation([(sample.image, sample.annotation or sample.mask) for sample in dataset.samples])
    return counts


def require_two_classes(pixels: NDArray[np.int64], ignored: int, labels: ClassTable, *, masks: str) -> None:
    """Refuse masks of which ignored pixels leave one class or none; warn of one class without ignored pixels.

    Args:
        pixels: Counted pixels of each class, (classes,).
        ignored: Number of ignored pixels.
        labels: Class table.
        masks: What the masks are, for the message: "masks, such as a.png".

    Raises:
        DataError: There are too few classes.
    """
    present = np.flatnonzero(pixels).tolist()
    if not present:
        raise DataError(f"all {masks}, hold ignored pixels only; there is nothing to train on or to score")
    if len(present) > 1:
        return
    only = f"class {labels.values[present[0]]} ({labels.names[present[0]]})"
    if ignored:
        raise DataError(
            f"all {masks}, hold only ignored pixels and {only}, so there is nothing to tell apart; if they are "
            "black-and-white masks of 0 and 255, save them as 0 and 1, or name both values in a data.yaml (names: "
            "{0: background, 255: object}); else add images with a second class"
        )
    log.warning("all %s, hold %s only: scores say nothing about the other classes", masks, only)


def is_two_tone(mask: NDArray[np.uint8]) -> bool:
    """Whether a mask holds class 0 and ignored pixels and nothing else, as a black-and-white mask of 0 and 255 does."""
    return bool((mask == IGNORE_INDEX).any() and (mask == 0).any() and not (mask % IGNORE_INDEX).any())


def warn_of_two_tone(masks: Sequence[Path | str], total: int, labels: ClassTable) -> None:
    """Warn of such masks among ``total`` masks of two classes."""
    if labels.classes == 2 and labels.values[0] == 0 and masks:
        log.warning(
            "%d of %d masks, such as %s, hold class 0 (%s) and ignored pixels only; if they are black-and-white masks "
            "of 0 and 255, save them as 0 and 1",
            len(masks), total, masks[0], labels.names[0],
        )  # fmt: skip


def warn_of_orientation(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Warn if the two files of a pair may be turned against each other; see ``may_be_turned``."""
    for first, second in spread(pairs, _CHECKED):
        turned, other = read_orientation(first), read_orientation(second)
        if turned != other and may_be_turned(turned, other, read_size(first) or (0, 0)):
            log.warning(
                "%s has EXIF orientation %d and %s has %d; each file is turned upright by its own, so check that the "
                "two lie on each other, and remove the orientation if they do not; more pairs may be like this one",
                first, turned, second, other,
            )  # fmt: skip
            return
