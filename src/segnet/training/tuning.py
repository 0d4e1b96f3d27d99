"""What to set before a long run: how many images per step, which learning rate, and whether it learns at all."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from segnet.data.augmentation import AugmentConfig
from segnet.data.class_weights import class_weights, count_classes
from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, TrainingError
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_device, pick_precision
from segnet.system.hardware import memory
from segnet.training.loaders import Order, make_loaders
from segnet.training.settings import TrainConfig

__all__ = ["find_lr", "fitting_batch", "for_overfitting", "steepest"]

_MOST = 32
_SHARE_OF_MEMORY = 0.4  # what a step keeps for its backward pass; gradients and temporaries want the rest
_STEPS_PER_EPOCH = 8  # at least, or the learning rate has nothing to schedule

_OVERFIT_STEPS = 20
_OVERFIT_EPOCHS = 15


def fitting_batch(model: SegNet, data: SegmentationDataset, config: TrainConfig, device: torch.device) -> int:
    """How many images per step fit two fifths of the memory; at most 32, and no more than an eighth of all.

    Counted, not tried: what the backward pass keeps for one image of the run's size.
    """
    sample = data[0]["image"]
    assert isinstance(sample, Tensor)
    size = config.augment.crop or (sample.shape[-2], sample.shape[-1])
    image = torch.rand(1, model.config.in_channels, *size)
    fits = int(_SHARE_OF_MEMORY * _memory(device) / _kept_bytes(model, image))
    return max(1, min(fits, _MOST, len(data) // _STEPS_PER_EPOCH))


def find_lr(
    model: SegNet,
    data: SegmentationDataset,
    *,
    config: TrainConfig,
    device: str = "auto",
    steps: int = 100,
    lowest: float = 1e-5,
    progress: Callable[[int, int], None] | None = None,
) -> list[tuple[float, float]]:
    """Train a copy of the network while the learning rate rises, and write down the loss.

    The rate grows by the same factor at every step, from ``lowest`` to 10; the test ends early once the loss is four
    times the least so far. Source: Smith, "Cyclical learning rates for training neural networks", 2017.

    Args:
        model: it stays as it is.
        data: to train on.
        config: the run's; batch, optimizer, loss and augmentation are used.
        device: ``auto``, ``cpu``, ``cuda``.
        steps: at most so many.
        lowest: the first rate.
        progress: called with (done, all) after every step.

    Returns:
        (learning rate, smoothed loss) of every step; ``steepest`` chooses one.
    """
    from segnet.training.task import Task

    place = pick_device(device)
    if config.batch == "auto":
        config = replace(config, batch=fitting_batch(model, data, config, place))
    if config.precision == "auto":
        quick = pick_precision("auto", place) == torch.bfloat16
        config = replace(config, precision="bf16" if quick else "float32")
    weights = torch.from_numpy(class_weights(count_classes(data), config.class_weights, data.labels))
    task = Task(deepcopy(model), weights, config).to(place).train()
    optimizer = task.optimizer()
    growth = (10 / lowest) ** (1 / (steps - 1))
    factors = [lowest / config.lr * growth**step for step in range(steps)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[min(step, steps - 1)])
    found: list[tuple[float, float]] = []
    mean = 0.0
    for step, batch in enumerate(itertools.islice(_endless(data, config), steps)):
        loss = _step(task, optimizer, batch, place)
        mean = 0.9 * mean + 0.1 * loss
        found.append((config.lr * factors[step], mean / (1 - 0.9 ** (step + 1))))
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
        if not math.isfinite(loss) or found[-1][1] > 4 * min(value for _, value in found):
            break
    return found


def steepest(found: Sequence[tuple[float, float]]) -> float:
    """The learning rate at which the loss fell fastest; the first tenth of the steps is left out, as it is mere noise.

    Args:
        found: (learning rate, loss) as ``find_lr`` gives them.

    Raises:
        TrainingError: too few steps, or the loss never fell.
    """
    told = np.array(found[len(found) // 10 :], dtype=np.float64)
    rates, losses = told.T
    usable = np.isfinite(losses)
    if usable.sum() < 5 or (slopes := np.gradient(losses[usable])).min() >= 0:
        raise TrainingError("the loss fell at no learning rate; look at the masks and the class table")
    return float(rates[usable][int(slopes.argmin())])


def for_overfitting(
    data: SegmentationDataset, config: TrainConfig, images: int
) -> tuple[SegmentationDataset, SegmentationDataset, TrainConfig]:
    """The first few images to learn by heart: what to train on, what to score, and how.

    A network, loss and masks that are sound reach a mIoU near 1 there.

    Args:
        data: the training images.
        config: the run's.
        images: how many.

    Raises:
        ConfigError: there are not so many.
    """
    if not 1 <= images <= len(data):
        raise ConfigError(f"overfit={images} is not possible; give 1 to {len(data)} of the training images")
    few = data.only(range(images))
    batch = images if config.batch == "auto" else min(config.batch, images)
    repeated = data.only([index % images for index in range(_OVERFIT_STEPS * batch)])
    config = replace(
        config,
        epochs=_OVERFIT_EPOCHS,
        batch=batch,
        ema=min(config.ema, 0.9),
        validate_every=5,
        augment=AugmentConfig(flip=0.0),
    )
    return repeated, few, config


def _step(task: Any, optimizer: torch.optim.Optimizer, batch: Any, device: torch.device) -> float:
    moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    optimizer.zero_grad()
    with torch.autocast(device.type, torch.bfloat16, enabled=task.config.precision == "bf16"):
        loss: Tensor = task.loss_of(moved)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.item()


def _endless(data: SegmentationDataset, config: TrainConfig) -> Iterator[Any]:
    order = Order(len(data), min(config.images, len(data)), seed=config.seed)
    loader, _ = make_loaders(data, data, order, workers=0)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        yield from loader


def _kept_bytes(model: SegNet, image: Tensor) -> int:
    """What the backward pass keeps of one image."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    copy = deepcopy(model).cpu().eval()  # in training mode, batch norm would want more than one value
    weights = {parameter.untyped_storage().data_ptr() for parameter in copy.parameters()}
    with saved_tensors_hooks(note, lambda tensor: tensor):
        copy(image).sum()
    return max(1, sum(size for address, size in kept.items() if address not in weights))


def _memory(device: torch.device) -> int:
    """Bytes that a step may fill there."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory()
