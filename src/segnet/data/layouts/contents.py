"""What a few mask files hold, to understand a data set before it is read."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from segnet.data.layouts.source import Source
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX
from segnet.media.images.masks import read_mask

__all__ = ["black_and_white"]

log = logging.getLogger("segnet")

_READ = 24  # masks, evenly spread


def black_and_white(source: Source) -> Source:
    """A data set of two classes whose masks are black and white, 0 and 255, gets these as the values of its classes.

    A mask of 0 and 255 alone could also be class 0 and ignored pixels. With two classes, and no pixel of the second in
    any mask that is read, it is not.
    """
    standard = source.labels.values == (0, 1) and source.ignore_index == (IGNORE_INDEX,) and source.reader is None
    if not standard or not _is_black_and_white(source):
        return source
    first, second = source.labels.names
    log.info("%s: masks are black and white, so 0 is %s and 255 is %s; nothing is ignored", source.root, first, second)
    return replace(source, labels=replace(source.labels, values=(0, IGNORE_INDEX)), ignore_index=())


def _is_black_and_white(source: Source) -> bool:
    masks = list(dict.fromkeys(sample.mask for samples in source.splits.values() for sample in samples))
    found: set[int] = set()
    for path in masks[:: max(1, len(masks) // _READ)]:
        try:
            found |= set(np.unique(read_mask(path)).tolist())
        except DataError:
            return False
        if not found <= {0, IGNORE_INDEX}:
            return False
    return found == {0, IGNORE_INDEX}
