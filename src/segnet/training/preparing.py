"""What is checked and decided before a run begins."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any, get_args

import numpy as np
import torch

from segnet.data.class_weights import ClassCounts, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, DataError, ModelError
from segnet.media.images.reading import read_header
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_precision
from segnet.training.distributed import processes
from segnet.training.settings import Precision, TrainConfig

__all__ = ["check_possible", "check_sets", "count_pixels", "decided", "longest_side"]

log = logging.getLogger("segnet")


def check_possible(config: TrainConfig, model: SegNet, device: torch.device) -> None:
    """Refuse settings that do not go together, or not with this device.

    Raises:
        ConfigError: which, and what to give instead.
    """
    count = math.prod(processes(config))
    if config.thaw and model.frozen_stages:
        raise ConfigError("the encoder is frozen for good and is to thaw; leave --freeze-encoder or --thaw out")
    if config.strategy == "fsdp" and device.type != "cuda":
        raise ConfigError(f"fsdp needs cuda and not {device.type}; take ddp")
    if config.precision == "float16" and device.type != "cuda":
        raise ConfigError(f"float16 needs a scaled loss, which is there on cuda and not on {device.type}; take bf16")
    if config.batch == "auto" and count > 1:
        raise ConfigError(f"batch auto is for one process and not for {count}; give a multiple of {count}")


def check_sets(model: SegNet, train_set: SegmentationDataset, val_set: SegmentationDataset) -> None:
    """Refuse data with other classes than the network's; warn where both sets are the same.

    Raises:
        ModelError: the numbers of classes differ.
    """
    for data in (train_set, val_set):
        if data.labels.classes != model.config.classes:
            raise ModelError(
                f"the network has {model.config.classes} classes but the data {data.labels.classes}; "
                "create it with the data's number of classes"
            )
    if train_set.samples == val_set.samples:
        log.warning("there is no split of its own for validation: the same %d images are used for both", len(val_set))


def longest_side(dataset: SegmentationDataset) -> int | None:
    """Of a usual image, in pixels: the size for which the network will be made; None if no image tells it."""
    if dataset.size is not None:
        return max(dataset.size)
    headers = [read_header(sample.image) for sample in dataset.samples[:: max(1, len(dataset) // 8)]]
    sides = [max(header.size) for header in headers if header is not None]
    return int(median(sides)) if sides else None


def count_pixels(dataset: SegmentationDataset, *, need_two: bool = False) -> ClassCounts:
    """Pixels by class; every mask is read or was before.

    Args:
        dataset: with masks.
        need_two: whether one class alone is an error.

    Raises:
        DataError: there is nothing to learn from.
    """
    counts = count_classes(dataset)
    if not counts.pixels.any():
        raise DataError(
            f"all masks, such as {dataset.samples[0].mask}, are void everywhere; there is nothing to learn or to score"
        )
    present = np.flatnonzero(counts.pixels)
    if len(present) == 1 < dataset.labels.classes and need_two:
        raise DataError(
            f"all {len(dataset)} training masks, such as {dataset.samples[0].mask}, hold nothing but void and class "
            f"{present[0]} ({dataset.labels.names[present[0]]}); if they are black-and-white masks of 0 and 255, save "
            "them as 0 and 1"
        )
    return counts


def decided(
    config: TrainConfig, before: Mapping[str, Any], device: torch.device, model: SegNet, data: SegmentationDataset
) -> TrainConfig:
    """The settings, with what they leave to the machine decided: precision and batch.

    It is decided once, when a run begins, since a resumed run must compute as before.

    Args:
        config: the settings.
        before: those of the run that is resumed; empty for a new one.
        device: where the network is trained.
        model, data: for trying how large a batch the memory holds.
    """
    from segnet.training.tuning import fitting_batch

    precision: Precision = config.precision
    if precision == "auto" and before.get("precision") in get_args(Precision):
        precision = before["precision"]
    if precision == "auto":
        alone = math.prod(processes(config)) == 1  # several might time, and decide, differently
        quick = pick_precision("auto", device) == torch.bfloat16 if alone else device.type == "cuda"
        precision = "bf16" if quick else "float32"
    batch = config.batch if config.batch != "auto" else before.get("batch", "auto")
    if batch == "auto":
        batch = fitting_batch(model, data, config, device)
        log.info("batch auto: %d", batch)
    return replace(config, precision=precision, batch=batch)
