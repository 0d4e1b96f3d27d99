"""Early stopping that a resumed run may change."""

from __future__ import annotations

import logging
import sys
from typing import Any

from segnet.training.best_weights import BestWeights
from segnet.training.lightning import EarlyStopping, Trainer

__all__ = ["ResumableEarlyStopping"]

log = logging.getLogger("segnet")


class ResumableEarlyStopping(EarlyStopping):
    """Lightning's ``EarlyStopping`` on the monitored score, with the patience of the resumed run's settings.

    Args:
        best: Best score of the run.
        patience: Validations without a better score before the run ends. 0 never ends it, but counts, so that a
            resumed run may set a patience.
    """

    def __init__(self, best: BestWeights, patience: int) -> None:
        super().__init__(
            best.monitor, mode="max", patience=patience or sys.maxsize, check_finite=False,
            check_on_train_epoch_end=False,
        )  # fmt: skip
        self.best = best

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Train no further if the run ended so before, unless it has more patience now."""
        if self.stopped_epoch and self.wait_count >= self.patience:
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the count of validations without a better score, but not the earlier patience."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Log why the run ended."""
        if trainer.should_stop and self.wait_count >= self.patience and trainer.is_global_zero:
            log.warning(
                "ended after epoch %d: %s was best in epoch %d", self.stopped_epoch + 1, self.monitor, self.best.epoch
            )
