"""``metrics.csv``: one row of scores per validation."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segnet.labels import ClassTable
from segnet.metrics.confusion import Scores
from segnet.system.files import replacing
from segnet.training.distributed import mean_over_processes
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.module import SegmentationModule

__all__ = ["ScoreLog", "loss_of_batch"]


class ScoreLog(Callback):
    """Scores each validation, writes ``metrics.csv``, and hands the scores to Lightning's loggers and early stopping.

    It must stand before ``WeightAveraging`` in the list of callbacks.

    Args:
        out: Folder of the run.
        labels: Class table.

    Attributes:
        rows: Rows of ``metrics.csv``. Scores are in [0, 1], NaN where undefined.
        scores: Scores of the latest validation of this process, or None.
    """

    def __init__(self, out: Path, labels: ClassTable) -> None:
        self.out = out
        self.labels = labels
        self.rows: list[dict[str, Any]] = []
        self.scores: Scores | None = None
        self._losses: list[Tensor] = []
        self._seconds = 0.0
        self._started = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock. A resumed run continues its clock."""
        self._started = time.monotonic() - self._seconds
        _validate_last_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch is always validated."""
        _validate_last_epoch(trainer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Store the loss without waiting for the device."""
        self._losses.append(loss_of_batch(trainer, outputs))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row."""
        assert isinstance(pl_module, SegmentationModule)
        self.scores = Scores(pl_module.reduce_counts().numpy(), self.labels)
        self.rows.append(self._make_row(trainer, self.scores, self._mean_loss()))
        logged = {name: value for name, value in self.rows[-1].items() if name not in {"epoch", "step"}}
        pl_module.log_dict(logged, batch_size=1)
        if trainer.is_global_zero:
            _write_csv(self.out / "metrics.csv", self.rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Drop the losses of the epoch."""
        self._losses.clear()

    def new_row(self, trainer: Trainer) -> dict[str, Any] | None:
        """Row of the current epoch, or None if this epoch was not validated."""
        return self.rows[-1] if self.rows and self.rows[-1]["epoch"] == trainer.current_epoch + 1 else None

    def state_dict(self) -> dict[str, Any]:
        """Rows, clock and the losses of a half-finished epoch. All processes call it together."""
        return {
            "rows": self.rows,
            "seconds": time.monotonic() - self._started,
            "losses": mean_over_processes(torch.stack(self._losses)).cpu() if self._losses else torch.empty(0),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.rows, self._seconds = list(state_dict["rows"]), state_dict["seconds"]
        self._losses = list(state_dict["losses"])

    def _mean_loss(self) -> float:
        if not self._losses:
            return float("nan")
        device = self._losses[-1].device
        return mean_over_processes(torch.stack([loss.to(device) for loss in self._losses]).mean()).item()

    def _make_row(self, trainer: Trainer, scores: Scores, loss: float) -> dict[str, Any]:
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


def loss_of_batch(trainer: Trainer, outputs: Any) -> Tensor:
    """Loss of a batch. Lightning hands it to callbacks divided by the number of batches of a step."""
    loss: Tensor = outputs["loss"].detach() * trainer.accumulate_grad_batches
    return loss


def _validate_last_epoch(trainer: Trainer) -> None:
    if trainer.current_epoch + 1 == trainer.max_epochs:
        trainer.check_val_every_n_epoch = 1


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
