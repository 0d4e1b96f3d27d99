"""``SegmentationModule``: the network, its loss, its optimizer and its validation, as Lightning's Trainer runs them."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import numpy as np
import torch
import torch.distributed as distributed
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from segnet.bands import stored_bands
from segnet.data.augmentation import Augmentation
from segnet.data.tensors import Batch
from segnet.errors import TrainingError
from segnet.inference.upsampling import Upsampler
from segnet.labels import ClassTable
from segnet.metrics.confusion import confusion
from segnet.models.segnet import SegNet
from segnet.training.batch_norm import freeze_statistics
from segnet.training.distillation import Teacher, distillation_loss
from segnet.training.distributed import mean_over_processes
from segnet.training.lightning import LightningModule
from segnet.training.losses import make_loss
from segnet.training.memory_format import pick_memory_format
from segnet.training.optimizers import make_optimizer
from segnet.training.schedules import lr_factor
from segnet.training.settings import TrainConfig

__all__ = ["SegmentationModule", "compute_gradients", "trial_module"]


class SegmentationModule(LightningModule):
    """A segmentation network in training.

    Args:
        model: The network. It is trained in place.
        weights: Loss weight of each class, float32 (classes,).
        config: Settings of the run.
        teacher: Networks whose probabilities are learned besides the masks; None: only the masks.
        memory_format: Of filters and images; see ``pick_memory_format``.

    Attributes:
        time_share: Share of a limited training time that is over, 0 to 1; always 0 without a limit. The learning rate
            follows it or the share of the steps, whichever is more.
    """

    def __init__(
        self,
        model: SegNet,
        weights: Tensor,
        config: TrainConfig,
        teacher: Teacher | None = None,
        *,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.memory_format = memory_format
        self.model = model.to(memory_format=memory_format)  # type: ignore[call-overload]
        self.model.save_memory(config.save_memory)
        if config.compile:
            self.model.compile()
        self.config = config
        self.loss = make_loss(
            config.loss,
            weights,
            divisor=config.loss_divisor,
            label_smoothing=config.label_smoothing,
            prior_correction=config.prior_correction,
            mean_over_processes=mean_over_processes,
        )
        self.time_share: Callable[[], float] = float
        self.augment = Augmentation(config.augment, bands=stored_bands(model.config.image_channels) is not None)
        self._teacher = teacher
        self.classes = len(weights)
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64)

    def on_train_start(self) -> None:
        """Set the modes here too: a run that is resumed within an epoch does not start that epoch again.

        So with the learning rates: those of a checkpoint belong to the epochs that were set then.
        """
        self._set_modes()
        schedule = cast("LambdaLR", self.lr_schedulers())
        for group, rate, factor in zip(
            schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = rate * factor(schedule.last_epoch)

    def on_train_epoch_start(self) -> None:
        """Unfreeze the encoder stages whose epoch has come."""
        self._set_modes()

    def on_train_batch_start(self, batch: Batch, index: int) -> None:
        """Seed augmentation and dropout by run seed, batch and rank only, so that a resumed run repeats them."""
        total = self.current_epoch * int(self.trainer.num_training_batches) + index
        torch.manual_seed((self.config.seed << 32) + total * self.trainer.world_size + self.trainer.global_rank)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one augmented batch, a scalar.

        Raises:
            TrainingError: The loss is not finite.
        """
        loss = self.compute_loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch + 1}), samples "
                f"{', '.join(batch['name'])}; look at these images, lower --lr, or use --precision float32"
            )
        if self.trainer.loggers:
            self.log("loss", loss, on_step=True, on_epoch=False)
        return loss

    def compute_loss(self, batch: Batch) -> Tensor:
        """Loss of one batch after augmentation, a scalar that may be NaN or infinite."""
        with torch.autocast(self.device.type, enabled=False):  # in bfloat16 colors would be rounded
            image, mask = self.augment(batch["image"], batch["mask"])
        image = image.contiguous(memory_format=self.memory_format)
        logits = self.model(image)
        loss: Tensor = self.loss(logits, mask)
        if self._teacher is not None:
            loss = loss + self.config.distillation * distillation_loss(logits, self._teacher(image))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Reset the confusion matrix."""
        self.counts = torch.zeros(self.classes, self.classes, dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Add one validation batch to the confusion matrix: images at their working size, masks at their own."""
        mask = batch["mask"]
        predicted = self.predict_masks(batch["image"], (mask.shape[1], mask.shape[2])).to(mask.device)
        self.counts += confusion(predicted, mask, self.classes)

    def predict_masks(self, image: Tensor, size: tuple[int, int]) -> Tensor:
        """Class of each pixel, (N, *size), of images at their working size, float (N, C, H, W)."""
        logits: Tensor = self.model(image.contiguous(memory_format=self.memory_format))
        return logits.argmax(dim=1) if logits.shape[-2:] == size else _upsample(logits, size)

    def reduce_counts(self) -> Tensor:
        """Confusion matrix over all processes, int64 (classes, classes), rows true. Call it once per validation."""
        if distributed.is_initialized():
            distributed.all_reduce(self.counts)
        return self.counts.cpu()

    def configure_optimizers(self) -> Any:
        """The optimizer, and the learning-rate schedule per step."""
        optimizer = make_optimizer(self.model, self.config)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: lr_factor(self.config, max(step / steps, self.time_share())))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step", "name": "lr"}}

    def _set_modes(self) -> None:
        if self.config.unfreeze_at:
            self.model.freeze_encoder(self._count_frozen_stages())
        if self.config.batch_norm == "frozen":
            freeze_statistics(self.model)

    def _count_frozen_stages(self) -> int:
        """The deepest stage is unfrozen first. The last epoch of the schedule unfreezes all that are left."""
        unfrozen = sum(self.current_epoch >= epoch for epoch in self.config.unfreeze_at)
        return 0 if unfrozen == len(self.config.unfreeze_at) else max(0, self.model.encoder_stages - unfrozen)


def _upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Predicted masks at the images' own size, uint8 (N, *size), as prediction makes them."""
    probabilities = logits.float().softmax(dim=1).cpu().numpy()
    masks = []
    for planes in probabilities:
        upsampler = Upsampler(planes.shape[1:], size, classes=len(planes), confidence=False)
        masks.append(np.concatenate([part.mask for part in upsampler.add(planes)]))
    return torch.from_numpy(np.stack(masks))


def compute_gradients(module: SegmentationModule, optimizer: torch.optim.Optimizer, batch: Any) -> float:
    """Compute the gradients of one batch outside a run, in the run's precision, and return the loss.

    Args:
        module: Network and loss.
        optimizer: Its old gradients are removed.
        batch: A ``Batch``, on any device.
    """
    moved: Any = {key: value.to(module.device) if isinstance(value, Tensor) else value for key, value in batch.items()}
    optimizer.zero_grad()
    with torch.autocast(module.device.type, torch.bfloat16, enabled=module.config.precision == "bf16"):
        loss = module.compute_loss(moved)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def trial_module(
    model: SegNet, weights: Tensor, config: TrainConfig, labels: ClassTable, device: torch.device
) -> SegmentationModule:
    """A copy for steps that are tried before a run: network, loss and teachers, in training mode on a device.

    Args:
        model: It is not changed.
        weights: (C,), loss weights of the classes.
        config: Settings of the run.
        labels: Classes of the data, which teachers must have.
        device: Where the steps are taken.
    """
    teacher = Teacher.load(config.teacher, labels, scales=config.teacher_scales, channels=model.config.image_channels)
    memory_format = pick_memory_format(model, device)
    module = (
        SegmentationModule(deepcopy(model), weights, config, teacher, memory_format=memory_format).to(device).train()
    )
    if config.batch_norm == "frozen":
        freeze_statistics(module.model)
    return module
