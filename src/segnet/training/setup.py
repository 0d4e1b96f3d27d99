"""Checks and decisions before a run starts."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from segnet.bands import describe_channels
from segnet.data.augment_config import AugmentConfig
from segnet.data.checks import check_masks
from segnet.data.class_weights import ClassCounts
from segnet.data.dataset import SegmentationDataset
from segnet.data.image_sizes import read_sizes
from segnet.data.photometric import EFFECTS
from segnet.errors import ConfigError, DataError, ModelError
from segnet.models.segnet import SegNet
from segnet.nn.codes import require_compiling
from segnet.system.devices import pick_precision
from segnet.training.batch_size import fit_batch
from segnet.training.distributed import count_processes
from segnet.training.losses import SMOOTHED
from segnet.training.settings import Precision, TrainConfig

__all__ = ["check_batch_norm", "check_config", "check_sets", "count_pixels", "median_longest_side", "resolve_config"]

log = logging.getLogger("segnet")

_DEVICES = ("cpu", "cuda", "mps")  # that Lightning has
_LOOKED_AT = 100  # images, for the typical size
_PROBE_SIDE = 256  # a batch norm that sees one place of an image of this size sees one place of any


def check_config(config: TrainConfig, model: SegNet, device: torch.device) -> None:
    """Refuse settings that contradict each other or the device.

    Raises:
        ConfigError: Names the settings and the remedy.
    """
    count = math.prod(count_processes(config))
    if config.unfreeze_at and model.frozen_stages:
        raise ConfigError(
            "a frozen encoder has no unfreezing schedule; leave one of the two out, such as --freeze-encoder"
        )
    if config.strategy == "fsdp" and device.type != "cuda":
        raise ConfigError(f"strategy fsdp needs cuda, not {device.type}; use ddp")
    if config.precision == "float16" and device.type != "cuda":
        raise ConfigError(f"float16 needs a scaled loss, which only cuda has, not {device.type}; use bf16")
    if device.type not in _DEVICES:
        raise ConfigError(f"device {str(device)!r} cannot train; choose auto, cpu, cuda or mps")
    if config.compile:
        require_compiling("compile")
    if config.compile and config.save_memory:
        raise ConfigError(
            "compile and save_memory exclude each other: PyTorch cannot compile recomputed activations; leave one out"
        )
    if config.time and count > 1:
        raise ConfigError(f"--time works with one process, not with {count}; give --epochs")
    if config.batch == "auto" and count > 1:
        raise ConfigError(f"batch auto works with one process, not with {count}; give a multiple of {count}")


def check_sets(
    config: TrainConfig, model: SegNet, train_set: SegmentationDataset, val_set: SegmentationDataset
) -> None:
    """Refuse data with another number of classes than the network, or too few images.

    Two equal sets get a warning, and so do settings that have no effect.

    Raises:
        ModelError: The numbers of classes differ.
        ConfigError: There are fewer validation images than processes.
    """
    count = math.prod(count_processes(config))
    if len(val_set) < count:
        raise ConfigError(
            f"{len(val_set)} validation images cannot be divided among {count} processes; give as many or more, or "
            "start fewer processes"
        )
    for data in (train_set, val_set):
        if data.labels.classes != model.config.classes:
            raise ModelError(
                f"the network has {model.config.classes} classes but the data {data.labels.classes}; "
                "create it with the data's number of classes"
            )
    if train_set.samples == val_set.samples:
        log.warning(
            "there is no separate validation split: the same %d images are used for training and validation",
            len(val_set),
        )
    _warn_of_no_effect(config, model)


def _warn_of_no_effect(config: TrainConfig, model: SegNet) -> None:
    """Name the settings that change nothing in this run, such as augmentation of colors that a network does not see."""
    unseen = [name for name in (*EFFECTS, "jpeg") if getattr(config.augment, name)]
    if unseen and (channels := model.config.image_channels) != 3:
        log.warning(
            "%s only change color images, and the network takes %s, so they have no effect",
            ", ".join(unseen), describe_channels(channels),
        )  # fmt: skip
    crops, plain = config.augment, AugmentConfig()
    if crops.crop is None and (crops.crop_area, crops.crop_stretch) != (plain.crop_area, plain.crop_stretch):
        log.warning("crop_area and crop_stretch have no effect without --crop: whole images are trained on")
    if config.prior_correction and config.class_weights == "none":
        log.warning("prior_correction has no effect without class weights; give --class-weights")
    if config.label_smoothing and not any(name in config.loss for name in SMOOTHED):
        log.warning("label_smoothing has no effect on loss %s; it works with %s", config.loss, ", ".join(SMOOTHED))


def check_batch_norm(model: SegNet, config: TrainConfig, data: SegmentationDataset) -> None:
    """Refuse images so small that a batch of one leaves a batch norm a single value per channel.

    Args:
        model: The network; it is not changed.
        config: Settings of the run, with batch resolved.
        data: Training images.

    Raises:
        ConfigError: Names the size and the remedies.
    """
    processes = math.prod(count_processes(config)) if config.batch_norm == "local" else 1
    if min(config.images, len(data)) > processes or config.batch_norm == "frozen":
        return
    size = config.augment.crop or data.size or _smallest_size(data)
    if size is not None and (norm := _find_single_value(model, size)):
        raise ConfigError(
            f"a batch of one image of {size[0]}x{size[1]} pixels (height x width) leaves one value per channel at the "
            f"batch norm {norm}, which has no variance; give --batch 2 or more, a larger --crop or --resize HEIGHT "
            "WIDTH, or --batch-norm frozen"
        )


def median_longest_side(dataset: SegmentationDataset) -> int | None:
    """Longest side in pixels of a typical image, for the metadata of the model; None if no image can be read."""
    if dataset.size is not None:
        return max(dataset.size)
    sides = [max(size) for size in read_sizes(dataset, most=_LOOKED_AT) if size is not None]
    return int(median(sides)) if sides else None


def count_pixels(dataset: SegmentationDataset, *, need_two: bool = False) -> ClassCounts:
    """Count the pixels of each class. This reads every mask, unless the counts are cached.

    Args:
        dataset: Images with masks.
        need_two: Whether fewer than two classes are an error.

    Raises:
        DataError: No pixel has a class, ignored pixels leave one class only, or all pixels have the same.
    """
    counts = check_masks(dataset)
    present = np.flatnonzero(counts.pixels)
    if len(present) == 1 and need_two:
        raise DataError(
            f"all {len(dataset)} training masks, such as {dataset.samples[0].mask_source}, hold only class "
            f"{present[0]} ({dataset.labels.names[present[0]]}); add images with a second class"
        )
    return counts


def resolve_config(
    config: TrainConfig, earlier: Mapping[str, Any], device: torch.device, model: SegNet, data: SegmentationDataset
) -> TrainConfig:
    """Replace ``auto`` in precision and batch by what fits the hardware.

    A resumed run keeps what was chosen at its start, so that it computes the same.

    Args:
        config: Settings of the run.
        earlier: Settings of the resumed run, by the names of ``TrainConfig``; empty for a new run.
        device: Device of the network.
        model, data: Used to estimate the batch that fits the memory, and to check it.

    Raises:
        ConfigError: See ``check_batch_norm``.
    """
    precision: Precision = config.precision
    if precision == "auto" and earlier.get("precision") in get_args(Precision):
        precision = earlier["precision"]
    if precision == "auto":
        precision = _choose_precision(config, device)
    elif precision == "bf16":
        pick_precision(precision, device)  # warns where bfloat16 is emulated
    batch = config.batch if config.batch != "auto" else earlier.get("batch", "auto")
    if batch == "auto":
        batch = fit_batch(model, data, config, device)
        log.info("batch auto: %d", batch)
    config = replace(config, precision=precision, batch=batch)
    check_batch_norm(model, config, data)
    return config


def _smallest_size(data: SegmentationDataset) -> tuple[int, int] | None:
    """(height, width) of the image with the shortest longest side; None if no image can be read."""
    return min((size for size in read_sizes(data) if size is not None), key=max, default=None)


@torch.no_grad()
def _find_single_value(model: SegNet, size: tuple[int, int]) -> str:
    """Name of a batch norm in training that sees a single place of an image of that size; empty if none does."""
    copy = deepcopy(model).cpu().train()
    found: list[str] = []
    for name, norm in copy.named_modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.training:
            norm.register_forward_pre_hook(partial(_note_single_value, found, name))
    height, width = (min(side, _PROBE_SIDE) for side in size)
    copy.eval()(torch.zeros(1, model.config.in_channels, height, width))
    return found[0] if found else ""


def _note_single_value(found: list[str], name: str, norm: nn.Module, inputs: tuple[Tensor]) -> None:
    if inputs[0].shape[-2:] == (1, 1):
        found.append(name)


def _choose_precision(config: TrainConfig, device: torch.device) -> Precision:
    single = math.prod(count_processes(config)) == 1  # several processes might time, and choose, differently
    fast = pick_precision("auto", device) == torch.bfloat16 if single else device.type == "cuda"
    return "bf16" if fast else "float32"
