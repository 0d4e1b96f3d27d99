"""The data of a run, as its checkpoint remembers it: a resumed run must mean the same by the same numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segnet.bands import Channels, describe_channels, stored_bands
from segnet.data.dataset import SegmentationDataset
from segnet.data.unlabeled import UnlabeledImages
from segnet.errors import ConfigError, list_names

__all__ = ["check_same_data", "describe_data", "describe_size"]


def describe_data(
    train_set: SegmentationDataset, val_set: SegmentationDataset, unlabeled: UnlabeledImages
) -> dict[str, Any]:
    """What gives the numbers of a run their meaning, by name, in a form that a checkpoint can hold.

    The folder is not part of it: a data set may move between two parts of a run.
    """
    labels = train_set.labels.to_dict()
    return {
        "classes": labels["names"],
        "class colors": labels["colors"],
        "class values": list(train_set.labels.values),
        "ignore values": list(train_set.ignore_index),
        "input channels": _describe_channels(train_set.channels),
        "image size": list(train_set.size) if train_set.size else None,
        "resize mode": train_set.resize_mode if train_set.size else None,
        "training images": _describe_names([sample.name for sample in train_set.samples]),
        "validation images": _describe_names([sample.name for sample in val_set.samples]),
        "unlabeled images": _describe_names([path.name for path in unlabeled.paths]),
    }


def describe_size(train_set: SegmentationDataset) -> dict[str, Any]:
    """To which size training images were resized, and how, for the model file; empty if they kept their own."""
    if train_set.size is None:
        return {}
    return {"resize": list(train_set.size), "resize_mode": train_set.resize_mode}


def check_same_data(earlier: Mapping[str, Any], now: Mapping[str, Any], *, run: Path) -> None:
    """Refuse to resume a run on data with another meaning.

    Args:
        earlier: Description of the run so far. Empty if it was started by a version that did not write it.
        now: Description of the data given.
        run: Folder of the run, named in the error.

    Raises:
        ConfigError: Names what changed, with both values.
    """
    for name, value in now.items():
        if earlier.get(name, value) != value:
            before, after = (_write(kept) for kept in (earlier[name], value))
            raise ConfigError(
                f"{run}: this run was started with {name} {before}, but the data now has {after}; restore the data to "
                f"resume, or start a new run with another --out (--model {run / 'best.safetensors'} starts from these "
                "weights if the classes are the same)"
            )


def _describe_channels(channels: Channels) -> Any:
    """The number of color or gray images, as runs have always kept it; else the bands in words."""
    return channels if stored_bands(channels) is None else describe_channels(channels)


def _describe_names(names: Sequence[str]) -> dict[str, Any]:
    """Number and names of images; their order decides which of them share a batch."""
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()
    return {"text": f"{len(names)} ({list_names(names)})", "digest": digest}


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return f"{value['text']}, names {value['digest'][:8]}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
