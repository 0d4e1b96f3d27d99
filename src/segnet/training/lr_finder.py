"""Learning-rate range test."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from segnet.data.checks import check_masks
from segnet.data.class_weights import class_weights
from segnet.data.dataset import SegmentationDataset
from segnet.errors import TrainingError
from segnet.labels import IGNORE_INDEX
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_device
from segnet.training.loaders import Order, make_loaders, training_resize
from segnet.training.module import compute_gradients, trial_module
from segnet.training.optimizers import make_optimizer
from segnet.training.settings import TrainConfig
from segnet.training.setup import median_longest_side, resolve_config

__all__ = ["find_lr", "steepest"]

_LOWEST, _HIGHEST = 1e-5, 10.0
_SMOOTHING = 0.9
_DIVERGED = 4  # times the lowest loss


def find_lr(
    model: SegNet,
    data: SegmentationDataset,
    *,
    config: TrainConfig,
    device: str = "auto",
    steps: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[float, float]]:
    """Train a copy of the network while the learning rate rises, and record the loss.

    The rate grows by the same factor at every step, from 1e-5 to 10. The test ends early once the loss is four
    times the lowest so far. Source: Smith, "Cyclical learning rates for training neural networks", 2017.

    Args:
        model: The network; it is not changed.
        data: Images to train on.
        config: Settings of the run; batch, batch norm, optimizer, loss, teachers and augmentation are used,
            unlabeled images are not.
        device: auto, cpu, cuda, cuda:1 or mps.
        steps: Maximum number of steps.
        progress: Called with (steps done, all steps) after every step.

    Returns:
        (learning rate, smoothed loss) of every step; ``steepest`` chooses one.
    """
    target = pick_device(device)
    config = resolve_config(config, {}, target, model, data)
    weights = torch.from_numpy(class_weights(check_masks(data), config.class_weights, data.labels))
    module = trial_module(model, weights, config, data.labels, target)
    optimizer = make_optimizer(module.model, config)
    factors = [_LOWEST / config.lr * (_HIGHEST / _LOWEST) ** (step / (steps - 1)) for step in range(steps)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, steps - 1)])
    curve: list[tuple[float, float]] = []
    mean = 0.0
    for step, batch in enumerate(itertools.islice(_endless_batches(model, data, config), steps)):
        loss = compute_gradients(module, optimizer, batch)
        optimizer.step()
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * loss
        curve.append((config.lr * factors[step], mean / (1 - _SMOOTHING ** (step + 1))))
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
        if not math.isfinite(loss) or curve[-1][1] > _DIVERGED * min(value for _, value in curve):
            break
    return curve


def steepest(curve: Sequence[tuple[float, float]]) -> float:
    """Learning rate at which the loss fell fastest on the way to its lowest value.

    The first tenth of the steps, which is mostly noise, is ignored, as is a loss that falls again after it has grown.

    Args:
        curve: (learning rate, loss) of every step, from ``find_lr``.

    Raises:
        TrainingError: There are too few steps, or the loss never fell.
    """
    rates, losses = np.array(curve[len(curve) // 10 :], dtype=np.float64).T
    rates, losses = rates[np.isfinite(losses)], losses[np.isfinite(losses)]
    if len(losses) < 5 or (slopes := np.gradient(losses)[: losses.argmin() + 1]).min() >= 0:
        raise TrainingError("the loss fell at no learning rate; check the masks and the class table")
    return float(rates[int(slopes.argmin())])


def _endless_batches(model: SegNet, data: SegmentationDataset, config: TrainConfig) -> Iterator[Any]:
    """Batches with a pixel that counts; the loss of others is 0 and says nothing about the learning rate."""
    order = Order(len(data), min(config.images, len(data)), seed=config.seed)
    resize = training_resize(data, median_longest_side(data))
    loader, _ = make_loaders(data, data, order, model=model, config=config, resize=resize, workers=0)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        yield from (batch for batch in loader if (batch["mask"] != IGNORE_INDEX).any())
