"""How fast steps are: measured before a run with ``--time``, and watched in a run without."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import cycle
from typing import Any

import torch

from segnet.data.class_weights import class_weights
from segnet.data.dataset import SegmentationDataset
from segnet.models.segnet import SegNet
from segnet.system.clock import now
from segnet.training.lightning import Callback, Trainer
from segnet.training.loaders import Order, ValidationImages, make_loaders, training_resize
from segnet.training.module import compute_gradients, trial_module
from segnet.training.optimizers import make_optimizer
from segnet.training.recommendation import Pace
from segnet.training.settings import TrainConfig
from segnet.training.setup import count_pixels, median_longest_side
from segnet.training.time_limit import estimate_ending, mean_after_first, seconds_per_image

__all__ = ["PaceAdvice", "measure_pace"]

log = logging.getLogger("segnet")

_MOST_STEPS = 5
_WATCHED_S = 25.0  # before the first line of a run without a terminal
_LONG_S = 12 * 3600


def measure_pace(
    model: SegNet, train_set: SegmentationDataset, val_set: SegmentationDataset, config: TrainConfig,
    device: torch.device, *, most: float,
) -> Pace:  # fmt: skip
    """Time some steps of a copy of the network, with reading and augmentation, and some validation images.

    Args:
        model: The network; it is not changed.
        train_set, val_set: The data.
        config: Settings of the run, with precision and batch resolved.
        device: Device of the network.
        most: Seconds after which no further step is taken. The first step, which is slower, is counted only if it is
            the only one.
    """
    config = replace(config, batch=min(config.images, len(train_set)))
    weights = torch.from_numpy(class_weights(count_pixels(train_set), config.class_weights, train_set.labels))
    module = trial_module(model, weights, config, train_set.labels, device)
    optimizer = make_optimizer(module.model, config)
    order = Order(len(train_set), config.images, seed=config.seed)
    resize = training_resize(train_set, median_longest_side(train_set))
    loader, _ = make_loaders(train_set, val_set, order, model=model, config=config, resize=resize, workers=0)
    steps: list[float] = []
    updates: list[float] = []
    size, began = (0, 0), now()
    for batch in cycle(loader):
        compute_gradients(module, optimizer, batch)
        computed = now()
        optimizer.step()
        next(module.parameters()).sum().item()  # waits for the device
        updates.append(now() - computed)
        steps.append(now() - began - sum(steps))
        size = (batch["mask"].shape[-2], batch["mask"].shape[-1])
        if len(steps) >= _MOST_STEPS or now() - began > most:
            break
    image = seconds_per_image(module, ValidationImages(val_set, resize))
    return Pace(
        crop=config.augment.crop or size,
        batch=config.images,
        step=mean_after_first(steps),
        update=mean_after_first(updates),
        image=image,
        ending=sum(estimate_ending(image, len(val_set))),
    )


class PaceAdvice(Callback):
    """Says once what to do if a run would take more than half a day.

    Args:
        model: Name of the network.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self._began = self._steps = 0.0
        self._done = False

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clock."""
        self._began = now()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Estimate the time left once, before a validation has printed it."""
        self._steps += 1
        spent = now() - self._began
        if self._done or spent < _WATCHED_S or not trainer.is_global_zero:
            return
        self._done = True
        batches = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
        left = spent / self._steps * (batches - trainer.fit_loop.epoch_loop.total_batch_idx - 1)
        if left > _LONG_S:
            light = "" if self.model == "segnet_light" else "take --model segnet_light, which computes far less, "
            log.warning(
                "at this pace the run takes %.1f days more: give --time 8h, which fits it to a time, %sor give a "
                "smaller --crop",
                left / 86400, light,
            )  # fmt: skip
