"""What a person sees of a run while it goes on, and when it has to end."""

from __future__ import annotations

import logging
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor

from segnet.labels import ClassTable
from segnet.system.progress import ProgressBar
from segnet.training.keeping import Keeper

__all__ = ["Collapse", "Log", "Patience", "Watch", "collapsed"]

log = logging.getLogger("segnet")

_SWALLOWED = 0.9  # share of the predicted pixels
_TIMES_TRUE = 1.3  # as often as it occurs
_VALIDATIONS = 3
_STEPS_BETWEEN_LOGS = 10
_STEPS_BETWEEN_TEXTS = 5


class Watch(Callback):
    """Shows epoch, loss, scores and time left: a bar on a terminal, a line per epoch elsewhere.

    Args:
        keeper: whose rows it tells.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._bar = ProgressBar("epoch 1")
        self._loss: float | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Show the bar."""
        if trainer.is_global_zero:
            steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
            self._bar.start(total=steps, done=trainer.fit_loop.epoch_loop.total_batch_idx + 1)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """One step on; to ask for each loss would keep a GPU waiting."""
        if trainer.is_global_zero:
            self._bar.advance(self._text(trainer, outputs["loss"]) if index % _STEPS_BETWEEN_TEXTS == 0 else "")

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Say how the epoch went."""
        if trainer.is_global_zero and (row := self.keeper.new_row(trainer)):
            self._bar.say(
                f"epoch {row['epoch']}/{trainer.max_epochs}  loss {row['train_loss']:.4f}  mIoU {row['miou']:.4f}  "
                f"global {row['global_accuracy']:.4f}  class {row['class_average']:.4f}"
            )

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Take the bar away, also after an error."""
        self._bar.stop()

    def _text(self, trainer: lightning.Trainer, loss: Tensor) -> str:
        self._loss = loss.item() if self._loss is None else 0.8 * self._loss + 0.2 * loss.item()
        best = f"  best {self.keeper.monitor} {self.keeper.best:.3f}" if self.keeper.best >= 0 else ""
        return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss now {self._loss:.3f}{best}"


class Collapse(Callback):
    """Says so when one class swallows the image in several validations on end.

    Args:
        keeper: whose scores it looks at.

    Attributes:
        notes: what was said.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self.notes: list[str] = []
        self._times = 0

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """OverlayStyle at the newest scores."""
        scores = self.keeper.scores
        if scores is None or self.keeper.new_row(trainer) is None:
            return
        told = collapsed(scores.counts, self.keeper.labels)
        self._times = self._times + 1 if told else 0
        if told and self._times == _VALIDATIONS:
            self.notes.append(
                f"{told} for {_VALIDATIONS} validations up to epoch {trainer.current_epoch + 1}: look at the masks and "
                "the class table, lower --lr, give --warmup, or other --class-weights"
            )
            if trainer.is_global_zero:
                log.warning("%s", self.notes[-1])

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"notes": self.notes, "times": self._times}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.notes, self._times = list(state_dict["notes"]), state_dict["times"]


class Patience(Callback):
    """Ends a run that has not become better for so many validations.

    Args:
        keeper: whose rows it counts.
        validations: how many.
    """

    def __init__(self, keeper: Keeper, validations: int) -> None:
        self.keeper = keeper
        self.validations = validations

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count."""
        since = sum(row["epoch"] > self.keeper.best_epoch for row in self.keeper.rows)
        if since >= self.validations:
            trainer.should_stop = True
            if trainer.is_global_zero:
                log.warning(
                    "ended after epoch %d: %s was best in epoch %d", trainer.current_epoch + 1, self.keeper.monitor,
                    self.keeper.best_epoch,
                )  # fmt: skip


class Log(Callback):
    """Hands loss, learning rate and scores to the loggers.

    Args:
        keeper: whose rows they are.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        """The loss now and then."""
        if index % _STEPS_BETWEEN_LOGS == 0:
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            self._log(trainer, {"loss": outputs["loss"].item(), "lr": lr})

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The scores, if there are new ones."""
        if row := self.keeper.new_row(trainer):
            self._log(trainer, {key: value for key, value in row.items() if key != "step"})

    def _log(self, trainer: lightning.Trainer, values: dict[str, float]) -> None:
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.log_metrics(values, step=trainer.global_step)


def collapsed(counts: NDArray[np.int64], labels: ClassTable) -> str:
    """Which class swallows the image, in words; empty if none does.

    Args:
        counts: (classes, classes), true class by predicted.
        labels: the class table.
    """
    total = max(1, counts.sum())
    predicted, true = counts.sum(axis=0) / total, counts.sum(axis=1) / total
    index = int(predicted.argmax())
    if predicted[index] < _SWALLOWED or predicted[index] < _TIMES_TRUE * true[index]:
        return ""
    return f"{predicted[index]:.0%} of the predicted pixels are {labels.names[index]} ({true[index]:.0%} of the true)"
