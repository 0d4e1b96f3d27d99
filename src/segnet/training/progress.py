"""Progress of a run on the terminal."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from segnet.system.progress import ProgressBar
from segnet.training.best_weights import BestWeights
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.report.record import SCORES
from segnet.training.score_log import ScoreLog, loss_of_batch
from segnet.training.step_times import StepTimes
from segnet.training.time_limit import TimeLimit

__all__ = ["TrainingProgress"]

_STEPS_BETWEEN_LOSSES = 5


class TrainingProgress(Callback):
    """Shows epoch, loss, scores and time left: a bar on a terminal, one line per epoch elsewhere.

    Args:
        score_log: Scores of the validations.
        best: Best score of the run.
        times: Images per second.
        limit: The time of the run, if it is limited.
    """

    def __init__(
        self, score_log: ScoreLog, best: BestWeights, times: StepTimes, limit: TimeLimit | None = None
    ) -> None:
        self.score_log = score_log
        self.best = best
        self.times = times
        self.limit = limit
        self._bar = ProgressBar("epoch 1", unit="step")
        self._loss: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the bar."""
        if trainer.is_global_zero:
            steps = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
            self._bar.start(total=None if self.limit else steps, done=trainer.fit_loop.epoch_loop.total_batch_idx + 1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Advance by one step. The loss is read at every fifth only, since reading it makes a GPU wait."""
        if trainer.is_global_zero:
            if index % _STEPS_BETWEEN_LOSSES == 0:
                self._see(loss_of_batch(trainer, outputs))
            self._bar.advance(self._text(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores of the epoch."""
        if trainer.is_global_zero and (row := self.score_log.new_row(trainer)):
            self._bar.say(
                f"{self._place(trainer)}  loss {row['train_loss']:.4f}  mIoU {row['miou']:.4f}  "
                f"global {row['global_accuracy']:.4f}  class {row['class_average']:.4f}"
            )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar."""
        self._bar.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar, which hides the cursor of the terminal, after an error or Ctrl-C too."""
        self._bar.stop()

    def _see(self, loss: Tensor) -> None:
        self._loss = loss.item() if self._loss is None else 0.8 * self._loss + 0.2 * loss.item()

    def _text(self, trainer: Trainer) -> str:
        best = f"  best {SCORES[self.best.monitor]} {self.best.score:.3f}" if self.best.score >= 0 else ""
        rate = self.times.images_per_second
        speed = "" if rate is None else f"  {rate:.3g} images/s"
        loss = "" if self._loss is None else f"  loss now {self._loss:.3f}"
        return f"{self._place(trainer)}{loss}{best}{speed}"

    def _place(self, trainer: Trainer) -> str:
        """The epoch, and of how many, or how much of the time is over."""
        if self.limit is None:
            return f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        return f"epoch {trainer.current_epoch + 1}  {self.limit.elapsed:.0f} of {self.limit.seconds:.0f} s"
