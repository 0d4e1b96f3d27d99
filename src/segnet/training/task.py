"""What Lightning's Trainer runs: one network, its loss, its optimizer and its learning rate."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import lightning
import torch
import torch.distributed as distributed
from torch import Tensor

from segnet.data.augmentation import Augmentation
from segnet.data.dataset import Batch
from segnet.errors import TrainingError
from segnet.metrics.confusion import confusion
from segnet.models.segnet import SegNet
from segnet.training.batch_norm import freeze_statistics
from segnet.training.losses import make_loss
from segnet.training.optimizers import Muon, slowed
from segnet.training.settings import TrainConfig

__all__ = ["Task", "mean_over_processes"]


class Task(lightning.LightningModule):
    """One network in training.

    Args:
        model: trained in place.
        weights: (classes,), of the classes in the loss.
        config: see ``TrainConfig``.
    """

    def __init__(self, model: SegNet, weights: Tensor, config: TrainConfig) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.save_memory(config.save_memory)
        if config.compile:
            self.model.compile()
        self.config = config
        self.loss = make_loss(
            config.loss,
            weights,
            divisor=config.loss_divisor,
            label_smoothing=config.label_smoothing,
            mean_over_processes=mean_over_processes,
        )
        self._augment = Augmentation(config.augment)
        self.classes = len(weights)
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def on_train_start(self) -> None:
        """A run that goes on within an epoch does not begin it again."""
        self._set_modes()

    def on_train_epoch_start(self) -> None:
        """Stages thaw between epochs."""
        self._set_modes()

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Augmentation and dropout depend on nothing but seed and batch, so that a resumed run goes on the same."""
        total = self.current_epoch * int(self.trainer.num_training_batches) + index
        torch.manual_seed((self.config.seed << 32) + total * self.trainer.world_size + self.trainer.global_rank)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch, after augmentation."""
        loss = self.loss_of(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch + 1}), samples "
                f"{', '.join(batch['name'])}; look at these images, lower --lr, or use --precision float32"
            )
        return loss

    def loss_of(self, batch: Batch) -> Tensor:
        """After augmentation; the loss may be no number."""
        with torch.autocast(self.device.type, enabled=False):  # in bfloat16 a cut would be off by a pixel
            image, mask = self._augment(batch["image"], batch["mask"])
        logits = self.model(image.contiguous(memory_format=torch.channels_last))
        loss: Tensor = self.loss(logits, mask)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count the pixels of one validation batch."""
        predicted = self.model(batch["image"].contiguous(memory_format=torch.channels_last)).argmax(dim=1)
        self.counts += confusion(predicted, batch["mask"], self.classes)

    def all_counts(self) -> Tensor:
        """What all processes counted together: int64 (classes, classes), true class by predicted."""
        if distributed.is_initialized():
            distributed.all_reduce(self.counts)
        return self.counts.cpu()

    def configure_optimizers(self) -> Any:
        """The optimizer, weight decay on filters alone, learning rate per step."""
        optimizer = self.optimizer()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: lr_factor(self.config, step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimizer(self) -> torch.optim.Optimizer:
        """The one that the settings name, weight decay on filters alone."""
        lr, weight_decay = self.config.lr, self.config.weight_decay
        slow = partial(slowed, module=self.model.encoder, share=self.config.encoder_lr)
        if self.config.optimizer == "muon":
            return Muon(self.model, lr=lr, weight_decay=weight_decay, spared=(self.model.classifier,), change=slow)
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = slow([
            {"params": [p for p in trained if p.ndim > 1], "lr": lr, "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "lr": lr, "weight_decay": 0.0},
        ])  # fmt: skip
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=0.9)
        return torch.optim.AdamW(groups, lr=lr)

    def _set_modes(self) -> None:
        if self.config.unfreeze_at:
            self.model.freeze_encoder(self._frozen_stages())
        if self.config.batch_norm == "frozen":
            freeze_statistics(self.model)

    def _frozen_stages(self) -> int:
        """The deepest stage thaws first; with the last of the epochs all that are left."""
        thawed = sum(self.current_epoch >= epoch for epoch in self.config.unfreeze_at)
        return 0 if thawed == len(self.config.unfreeze_at) else self.model.encoder_stages - thawed


def lr_factor(config: TrainConfig, done: float) -> float:
    """Share of the highest learning rate after ``done`` (0 to 1) of the run.

    Source of one_cycle: Smith, "Super-convergence", 2018, in the form of PyTorch's ``OneCycleLR`` (30 % up from a 25th,
    cosine); of poly: Chen et al., "DeepLab", 2017.
    """
    warmup = 0.3 if config.schedule == "one_cycle" else config.warmup
    if done < warmup:
        if config.schedule == "one_cycle":
            return 1 - 0.96 * _cosine(done / warmup)
        return max(done / warmup, 1e-3)
    left = min(1.0, (done - warmup) / (1 - warmup))
    if config.schedule == "constant":
        return 1.0
    return (1 - left) ** 0.9 if config.schedule == "poly" else _cosine(left)


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a number over all processes; without a gradient."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return value
    total = value.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def _cosine(done: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * done))
