"""What a run leaves behind: scores, the best weights, and where it was."""

from __future__ import annotations

import csv
import logging
import pickle
import signal
import time
import zipfile
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from numpy.typing import NDArray
from torch import Tensor

from segnet import checkpoint
from segnet.errors import ConfigError
from segnet.files import replacing
from segnet.labels import Labels
from segnet.metrics import Scores
from segnet.models.segnet import SegNet
from segnet.training.task import Task, mean_over_processes

__all__ = ["LAST", "PREVIOUS", "Averaging", "Keeper", "Resumable", "newest_checkpoint"]

log = logging.getLogger("segnet")

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
TERMINATED = 128 + signal.SIGTERM


class Keeper(Callback):
    """Writes ``metrics.csv`` and ``best.safetensors``, each whole or not at all.

    Args:
        out: the run's folder.
        labels: the class table.
        monitor: the score that decides which weights are best.
        provenance: for the model file.
    """

    def __init__(self, out: Path, labels: Labels, monitor: str, provenance: dict[str, Any]) -> None:
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


class Resumable(Callback):
    """Writes ``last.ckpt``, and keeps the one before; must run after all callbacks that have a state.

    That is at the end of every epoch, within one every ``minutes``, and before the run ends by SIGTERM or Ctrl-C.

    Args:
        out: the run's folder.
        minutes: between two writings.
    """

    def __init__(self, out: Path, minutes: float) -> None:
        self.out = out
        self.minutes = minutes
        self._signal = 0
        self._written = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """From now on a signal is heard at the end of a step, in place of what Lightning does with it."""
        self._written = time.monotonic()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                self._handlers[number] = signal.signal(number, self._hear)
            except ValueError:  # not in the main thread, where alone signals are heard
                return

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """Write when it is time; after an epoch's last batch its end does."""
        whole_step = (index + 1) % trainer.accumulate_grad_batches == 0
        if not whole_step or index + 1 >= trainer.num_training_batches:
            return
        heard = self._heard(trainer)
        if heard or trainer.strategy.reduce_boolean_decision(self._is_time(), all=False):
            self._write(trainer)
        self._leave(trainer, heard)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Write, also when it is not time."""
        self._write(trainer)
        self._leave(trainer, self._heard(trainer))

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Signals mean again what they meant before."""
        self._stop_hearing()

    def on_exception(self, trainer: lightning.Trainer, pl_module: Any, exception: BaseException) -> None:
        """The same after an error."""
        self._stop_hearing()

    def _stop_hearing(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._signal == number == signal.SIGINT:  # impatient
            raise KeyboardInterrupt
        self._signal = number

    def _heard(self, trainer: lightning.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False)

    def _is_time(self) -> bool:
        return time.monotonic() - self._written > 60 * self.minutes

    def _write(self, trainer: lightning.Trainer) -> None:
        """To a temporary name, then rename; the one before keeps its place behind it."""
        self._written = time.monotonic()
        last = self.out / LAST
        if not trainer.is_global_zero:
            trainer.save_checkpoint(last)  # takes part, and writes nothing
            return
        with replacing(last) as temporary:
            trainer.save_checkpoint(temporary)
            if last.exists():
                last.replace(self.out / PREVIOUS)

    def _leave(self, trainer: lightning.Trainer, heard: bool) -> None:
        if not heard:
            return
        if trainer.is_global_zero:
            log.warning("stopped at step %d, which is kept; go on with --resume", trainer.global_step)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


def newest_checkpoint(out: Path) -> tuple[Path, dict[str, Any]]:
    """The newest of a run's checkpoints that is whole, and what it holds.

    Raises:
        ConfigError: there is none.
    """
    damaged: list[Path] = []
    for path in (out / LAST, out / PREVIOUS):
        if not path.is_file():
            continue
        if state := _read(path):
            if damaged:
                log.warning("%s: is damaged; going on from %s, of step %d", damaged[0], path.name, state["global_step"])
            return path, state
        damaged.append(path)
    if damaged:
        raise ConfigError(f"{damaged[0]}: is damaged and cannot be resumed; start anew with another --out")
    raise ConfigError(f"{out}: there is no {LAST} to resume from; leave --resume out to start this run")


def _read(path: Path) -> dict[str, Any] | None:
    """What a checkpoint holds; None if it is damaged. Its parts carry checksums, which PyTorch does not look at."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip():
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
        return state if {"state_dict", "epoch", "global_step", "loops", "callbacks"} <= set(state) else None
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile):
        return None


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
