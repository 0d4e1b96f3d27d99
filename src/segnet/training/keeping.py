"""What a run leaves behind: scores and the best weights."""

from __future__ import annotations

import csv
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor

from segnet.labels import ClassTable
from segnet.metrics.confusion import Scores
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.system.files import replacing
from segnet.training.task import Task, mean_over_processes

__all__ = ["Averaging", "Keeper"]


class Keeper(Callback):
    """Writes ``metrics.csv`` and ``best.safetensors``, each whole or not at all.

    Args:
        out: the run's folder.
        labels: the class table.
        monitor: the score that decides which weights are best.
        provenance: for the model file.
    """

    def __init__(self, out: Path, labels: ClassTable, monitor: str, provenance: dict[str, Any]) -> None:
        self.out = out
        self.labels = labels
        self.monitor = monitor
        self.provenance = provenance
        self.rows: list[dict[str, Any]] = []
        self.best = -1.0
        self.best_epoch = 0
        self.best_counts: NDArray[np.int64] | None = None
        self.scores: Scores | None = None
        self.seconds = 0.0
        self._losses: list[Tensor] = []
        self._started = time.monotonic()

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock; a resumed run counts on."""
        self._started = time.monotonic() - self.seconds
        _validate_the_last(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The last epoch is always validated."""
        _validate_the_last(trainer)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Remember the loss."""
        self._losses.append(outputs["loss"].detach())

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """One row of scores; the best weights so far into the model file."""
        assert isinstance(pl_module, Task)
        counts = pl_module.all_counts()
        loss = self._mean_loss()
        self.scores = scores = Scores(counts.numpy(), self.labels)
        self.rows.append(self._row(trainer, scores, loss))
        better = (value := getattr(scores, self.monitor)) > self.best
        if better:
            self.best, self.best_epoch, self.best_counts = value, trainer.current_epoch + 1, scores.counts
        if not trainer.is_global_zero:
            return
        _write_csv(self.out / "metrics.csv", self.rows)
        if better:
            provenance = {**self.provenance, "epoch": self.best_epoch}
            path = self.out / "best.safetensors"
            checkpoint.save(pl_module.model, self.labels, path, provenance=provenance, scores=scores.to_dict())

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Forget the epoch's losses."""
        self._losses.clear()

    def new_row(self, trainer: lightning.Trainer) -> dict[str, Any] | None:
        """The row of the epoch that ends; None if it was not validated."""
        return self.rows[-1] if self.rows and self.rows[-1]["epoch"] == trainer.current_epoch + 1 else None

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "rows": self.rows,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_counts": None if self.best_counts is None else torch.from_numpy(self.best_counts),
            "seconds": time.monotonic() - self._started,
            "losses": torch.stack(self._losses).cpu() if self._losses else torch.empty(0),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; if the best weights are gone, the next are the best."""
        self.rows, self.seconds = list(state_dict["rows"]), state_dict["seconds"]
        self._losses = list(state_dict["losses"])
        if (self.out / "best.safetensors").is_file():
            self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
            counts = state_dict["best_counts"]
            self.best_counts = None if counts is None else counts.numpy()

    def restore_best(self, model: SegNet) -> Scores:
        """Put the best weights into the network and return their scores."""
        kept = checkpoint.load(self.out / "best.safetensors")
        model.cpu().load_state_dict(kept.model.state_dict())
        return Scores(torch.tensor(kept.scores["confusion"]).numpy(), self.labels)

    def _mean_loss(self) -> float:
        if not self._losses:
            return float("nan")
        device = self._losses[-1].device
        return mean_over_processes(torch.stack([loss.to(device) for loss in self._losses]).mean()).item()

    def _row(self, trainer: lightning.Trainer, scores: Scores, loss: float) -> dict[str, Any]:
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


class Averaging(WeightAveraging):
    """Keeps an exponential average of the weights, which is what is scored and kept.

    Args:
        decay: per step; over few steps it forgets faster, so that initial weights do not linger.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_average, decay))


def _validate_the_last(trainer: lightning.Trainer) -> None:
    if trainer.current_epoch + 1 == trainer.max_epochs:
        trainer.check_val_every_n_epoch = 1


@torch.no_grad()
def _average(decay: float, averaged: list[Tensor], current: list[Tensor], taken: Tensor) -> None:
    """Exponential average in place."""
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
