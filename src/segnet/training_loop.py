"""What Lightning's Trainer runs: the training step, and the callbacks that keep and show.

Imported by ``training`` alone, when Lightning is there.
"""

from __future__ import annotations

import csv
import math
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback, WeightAveraging
from torch import Tensor

from segnet import checkpoint
from segnet.console import ProgressBar
from segnet.data.dataset import Batch
from segnet.data.transforms import Augmentation
from segnet.errors import TrainingError
from segnet.files import replacing
from segnet.labels import VOID, Labels
from segnet.metrics import Scores, confusion
from segnet.models.segnet import SegNet
from segnet.optimizers import Muon
from segnet.training import TrainConfig

__all__ = ["Keeper", "Task", "callbacks", "pixel_loss"]


def pixel_loss(logits: Tensor, mask: Tensor, weights: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Class-weighted cross entropy as the published code has it: divided by the number of counted pixels.

    PyTorch's own ``weight=`` divides by the sum of the weights instead, which changes with the batch
    (caffe-segnet, softmax_loss_layer.cpp, ``normalize``).

    Args:
        logits: (N, classes, H, W).
        mask: int64 (N, H, W), void 255.
        weights: (classes,).
        label_smoothing: share of the target spread over all classes.
    """
    total = F.cross_entropy(
        logits.float(), mask, weight=weights, ignore_index=VOID, reduction="sum", label_smoothing=label_smoothing
    )
    return total / (mask != VOID).sum().clamp(min=1)


class Task(lightning.LightningModule):
    """One network, its loss and its optimiser."""

    weights: Tensor

    def __init__(self, model: SegNet, weights: Tensor, config: TrainConfig) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.save_memory(config.save_memory)
        self.config = config
        self.register_buffer("weights", weights, persistent=False)
        self._augment = Augmentation(config.augment)
        self.counts = torch.zeros(len(weights), len(weights), dtype=torch.int64)

    def on_train_epoch_start(self) -> None:
        """Augmentation and dropout depend on nothing but seed and epoch, so that a resumed run goes on the same."""
        torch.manual_seed(self.config.seed + self.current_epoch)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Loss of one batch, after augmentation."""
        with torch.autocast(self.device.type, enabled=False):  # in bfloat16 a cut would be off by a pixel
            image, mask = self._augment(batch["image"], batch["mask"])
        logits = self.model(image.contiguous(memory_format=torch.channels_last))
        loss = pixel_loss(logits, mask, self.weights, label_smoothing=self.config.label_smoothing)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch}), samples "
                f"{', '.join(batch['name'])}; look at these pictures, lower --lr, or use --precision float32"
            )
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.counts = torch.zeros(len(self.weights), len(self.weights), dtype=torch.int64, device=self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        """Count the pixels of one validation batch."""
        predicted = self.model(batch["image"].contiguous(memory_format=torch.channels_last)).argmax(dim=1)
        self.counts += confusion(predicted, batch["mask"], len(self.weights))

    def configure_optimizers(self) -> Any:
        """The optimiser, weight decay on filters alone, learning rate per step."""
        optimizer = self._optimizer()
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._lr_factor(step / steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self) -> torch.optim.Optimizer:
        lr, weight_decay = self.config.lr, self.config.weight_decay
        if self.config.optimizer == "muon":
            return Muon(self.model, lr=lr, weight_decay=weight_decay, spared=(self.model.classifier,))
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        if self.config.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=0.9)
        return torch.optim.AdamW(groups, lr=lr)

    def _lr_factor(self, done: float) -> float:
        """Share of the highest learning rate after ``done`` of the run."""
        warmup = self.config.warmup
        if done < warmup:
            return max(done / warmup, 1e-3)
        if self.config.schedule == "constant":
            return 1.0
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warmup) / (1 - warmup))))


class Keeper(Callback):
    """Writes ``metrics.csv``, ``best.safetensors`` and ``last.ckpt``, each whole or not at all."""

    def __init__(self, out: Path, labels: Labels, monitor: str, provenance: dict[str, Any]) -> None:
        self.out = out
        self.labels = labels
        self.monitor = monitor
        self.provenance = provenance
        self.rows: list[dict[str, Any]] = []
        self.best = -1.0
        self.seconds = 0.0
        self._losses: list[Tensor] = []
        self._started = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock; a resumed run counts on."""
        self._started = time.monotonic() - self.seconds

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last epoch is always validated."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Remember the loss."""
        self._losses.append(outputs["loss"].detach())

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """One row of scores; the best weights so far into the model file."""
        assert isinstance(pl_module, Task)
        scores = Scores(pl_module.counts.cpu().numpy(), self.labels)
        self.rows.append(self._row(trainer, scores))
        _write_csv(self.out / "metrics.csv", self.rows)
        if (value := getattr(scores, self.monitor)) > self.best:
            self.best = value
            provenance = {**self.provenance, "epoch": trainer.current_epoch + 1}
            path = self.out / "best.safetensors"
            checkpoint.save(pl_module.model, self.labels, path, provenance=provenance, scores=scores.to_dict())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget the epoch's losses."""
        self._losses.clear()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"rows": self.rows, "best": self.best, "seconds": time.monotonic() - self._started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; if the best weights are gone, the next are the best."""
        self.rows, self.seconds = state_dict["rows"], state_dict["seconds"]
        self.best = state_dict["best"] if (self.out / "best.safetensors").is_file() else -1.0

    def restore_best(self, model: SegNet) -> Scores:
        """Put the best weights into the network and return their scores."""
        kept = checkpoint.load(self.out / "best.safetensors")
        model.cpu().load_state_dict(kept.model.state_dict())
        return Scores(torch.tensor(kept.scores["confusion"]).numpy(), self.labels)

    def _row(self, trainer: lightning.Trainer, scores: Scores) -> dict[str, Any]:
        loss = torch.stack(self._losses).mean().item() if self._losses else float("nan")
        return {
            "epoch": trainer.current_epoch + 1,
            "step": trainer.global_step,
            "seconds": round(time.monotonic() - self._started, 1),
            "lr": trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": loss,
            "global_accuracy": scores.global_accuracy,
            "class_average": scores.class_average,
            "miou": scores.miou,
            **{f"iou_{name}": value for name, value in zip(self.labels.names, scores.iou.tolist(), strict=True)},
        }


class Resumable(Callback):
    """Writes ``last.ckpt`` at the end of every epoch; must run after all callbacks that have a state."""

    def __init__(self, out: Path) -> None:
        self.out = out

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write to a temporary name, then rename."""
        with replacing(self.out / "last.ckpt") as temporary:
            trainer.save_checkpoint(temporary)


class Watch(Callback):
    """Shows epoch, loss, scores and time left: a bar on a terminal, a line per epoch elsewhere."""

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._bar = ProgressBar("epoch 1")
        self._loss: float | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar."""
        steps = int(trainer.estimated_stepping_batches)
        self._bar.start(total=steps, done=trainer.global_step)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """One step on."""
        self._bar.advance(self._text(trainer, outputs["loss"]))

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how the epoch went."""
        if self.keeper.rows and self.keeper.rows[-1]["epoch"] == trainer.current_epoch + 1:
            row = self.keeper.rows[-1]
            self._bar.say(
                f"epoch {row['epoch']}/{trainer.max_epochs}  loss {row['train_loss']:.4f}  mIoU {row['miou']:.4f}  "
                f"global {row['global_accuracy']:.4f}  class {row['class_average']:.4f}"
            )

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Take the bar away, also after an error."""
        self._bar.stop()

    def _text(self, trainer: lightning.Trainer, loss: Tensor) -> str:
        self._loss = loss.item() if self._loss is None else 0.95 * self._loss + 0.05 * loss.item()
        best = f"  best {self.keeper.monitor} {self.keeper.best:.3f}" if self.keeper.best >= 0 else ""
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {self._loss:.3f}{best}"


def callbacks(keeper: Keeper, config: TrainConfig) -> list[Callback]:
    """In the order they must run: the keeper scores and writes while the averaged weights are in place."""
    averaging = [WeightAveraging(multi_avg_fn=partial(_average, config.ema))] if config.ema else []
    return [keeper, *averaging, Watch(keeper), Resumable(keeper.out)]


@torch.no_grad()
def _average(decay: float, averaged: list[Tensor], current: list[Tensor], taken: Tensor) -> None:
    """Exponential average in place; over few steps it forgets faster, so that initial weights do not linger."""
    steps = int(taken)
    rate = 1 - min(decay, (1 + steps) / (10 + steps))
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(averaged, current, rate)
    else:  # counters
        torch._foreach_copy_(averaged, current)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
