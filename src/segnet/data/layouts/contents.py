"""What mask files hold, to understand a data set before it is read."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from segnet.data.layouts.source import Source
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX
from segnet.media.images.masks import read_mask
from segnet.system.files import cache_dir, files_digest, write_cache
from segnet.system.progress import progress_bar

__all__ = ["black_and_white"]

log = logging.getLogger("segnet")

_FIRST = 24  # masks, evenly spread; most data sets need no more
_BOTH = {0, IGNORE_INDEX}


def black_and_white(source: Source) -> Source:
    """A data set of two classes whose masks are black and white, 0 and 255, gets these as the values of its classes.

    A mask of 0 and 255 alone could also be class 0 and ignored pixels. With two classes, and no pixel of the second in
    any mask, it is not. Masks are read until one holds another value; for unchanged files the answer is cached.
    """
    standard = source.labels.values == (0, 1) and source.ignore_index == (IGNORE_INDEX,) and source.reader is None
    if not standard or not _is_black_and_white(source):
        return source
    first, second = source.labels.names
    log.info("%s: masks are black and white, so 0 is %s and 255 is %s; nothing is ignored", source.root, first, second)
    return replace(source, labels=replace(source.labels, values=(0, IGNORE_INDEX)), ignore_index=())


def _is_black_and_white(source: Source) -> bool:
    masks = sorted({sample.mask for samples in source.splits.values() for sample in samples if sample.mask.is_file()})
    first = masks[:: max(1, len(masks) // _FIRST)]
    found = _values_of(first)
    if found is None or len(first) == len(masks):
        return found == _BOTH
    cache = cache_dir() / "mask-values" / f"{files_digest(masks, key='black and white')}.json"
    if (known := _read_cached(cache)) is None:
        rest = _values_of([path for path in masks if path not in set(first)])
        known = rest is not None and found | rest == _BOTH
        write_cache(cache, {"black_and_white": known}, "the values of the masks are")
    return known


def _values_of(masks: Sequence[Path]) -> set[int] | None:
    """The values in the masks, without those that cannot be read; None as soon as one is neither 0 nor 255."""
    found: set[int] = set()
    with progress_bar("reading masks", None) as progress:
        for done, path in enumerate(masks, start=1):
            with suppress(DataError):  # named when the mask is used
                found.update(np.flatnonzero(np.bincount(read_mask(path).ravel())).tolist())
            if not found <= _BOTH:
                return None
            progress(done, len(masks))
    return found


def _read_cached(path: Path) -> bool | None:
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["black_and_white"])
    except (OSError, ValueError, TypeError, LookupError):
        return None
