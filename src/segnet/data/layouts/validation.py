"""A validation split for data sets that are published without one."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from segnet.data.samples import Sample
from segnet.data.sequences import hold_out

__all__ = ["with_validation"]

log = logging.getLogger("segnet")


def with_validation(root: Path, splits: Mapping[str, tuple[Sample, ...]]) -> dict[str, tuple[Sample, ...]]:
    """The splits, with images of ``train`` held out as ``val`` if there is none; by sequence where names show some."""
    if "val" in splits or "train" not in splits or len(splits["train"]) < 2:
        return dict(splits)
    held, description = hold_out([sample.name for sample in splits["train"]])
    train = tuple(sample for sample in splits["train"] if sample.name not in held)
    val = tuple(sample for sample in splits["train"] if sample.name in held)
    log.info(
        "%s: has no split val, so %d of %d images are held out: %s", root, len(val), len(train) + len(val), description
    )
    return {**splits, "train": train, "val": val}
