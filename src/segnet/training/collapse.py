"""Collapse: the network predicts one class nearly everywhere."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.labels import ClassTable
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.score_log import ScoreLog

__all__ = ["CollapseDetector", "describe_collapse"]

log = logging.getLogger("segnet")

_COLLAPSED_SHARE = 0.9  # of the predicted pixels
_TIMES_TRUE_SHARE = 1.3
_VALIDATIONS = 3


class CollapseDetector(Callback):
    """Warns when the network predicts one class nearly everywhere in three validations in a row.

    Args:
        score_log: Scores of the validations.

    Attributes:
        warnings: Warnings so far, in sentences.
    """

    def __init__(self, score_log: ScoreLog) -> None:
        self.score_log = score_log
        self.warnings: list[str] = []
        self._in_a_row = 0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the newest scores."""
        scores = self.score_log.scores
        if scores is None or self.score_log.new_row(trainer) is None:
            return
        collapse = describe_collapse(scores.counts, self.score_log.labels)
        self._in_a_row = self._in_a_row + 1 if collapse else 0
        if collapse and self._in_a_row == _VALIDATIONS:
            self.warnings.append(
                f"{collapse} for {_VALIDATIONS} validations up to epoch {trainer.current_epoch + 1}: check the masks "
                "and the class table, lower --lr, give --warmup, or choose other class weights"
            )
            if trainer.is_global_zero:
                log.warning("%s", self.warnings[-1])

    def state_dict(self) -> dict[str, Any]:
        """Warnings, and collapsed validations in a row."""
        return {"warnings": self.warnings, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned."""
        self.warnings, self._in_a_row = list(state_dict["warnings"]), state_dict["in_a_row"]


def describe_collapse(counts: NDArray[np.int64], labels: ClassTable) -> str:
    """Name the class that is predicted nearly everywhere; empty if there is none.

    Args:
        counts: Confusion matrix, int64 (classes, classes), rows true.
        labels: Class table.
    """
    total = max(1, counts.sum())
    predicted, true = counts.sum(axis=0) / total, counts.sum(axis=1) / total
    index = int(predicted.argmax())
    if predicted[index] < _COLLAPSED_SHARE or predicted[index] < _TIMES_TRUE_SHARE * true[index]:
        return ""
    return f"{predicted[index]:.0%} of the predicted pixels are {labels.names[index]} ({true[index]:.0%} of the true)"
