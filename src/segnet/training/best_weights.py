"""``best.safetensors``: the weights with the best validation score."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.metrics.confusion import Scores
from segnet.models import checkpoint
from segnet.models.model_file import read_model_file
from segnet.models.segnet import SegNet
from segnet.training.lightning import Callback, Trainer
from segnet.training.score_log import ScoreLog

__all__ = ["BestWeights"]


class BestWeights(Callback):
    """Writes ``best.safetensors`` after each validation with a better score, whole or not at all.

    It must stand right after ``ScoreLog`` in the list of callbacks, so that the averaged weights are in place.

    Args:
        score_log: Scores of the validations.
        monitor: Score that decides: miou, global_accuracy or class_average.
        provenance: Written into the model file.

    Attributes:
        score: Best score so far; -1 before the first.
        epoch: Epoch of the best score, counted from 1; 0 before the first.
        counts: Confusion matrix of the best weights, int64 (classes, classes), rows true; None before the first.
    """

    def __init__(self, score_log: ScoreLog, monitor: str, provenance: dict[str, Any]) -> None:
        self.score_log = score_log
        self.monitor = monitor
        self.provenance = provenance
        self.path = score_log.out / "best.safetensors"
        self.score = -1.0
        self.epoch = 0
        self.counts: NDArray[np.int64] | None = None

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the weights if their score is the best so far."""
        scores = self.score_log.scores
        assert scores is not None
        if (value := getattr(scores, self.monitor)) <= self.score or np.isnan(value):
            return
        self.score, self.epoch, self.counts = value, trainer.current_epoch + 1, scores.counts
        if trainer.is_global_zero:
            provenance = {**self.provenance, "epoch": self.epoch}
            labels = self.score_log.labels
            checkpoint.save(pl_module.model, labels, self.path, provenance=provenance, scores=scores.to_dict())

    def state_dict(self) -> dict[str, Any]:
        """The best score, its epoch and its confusion matrix."""
        counts = None if self.counts is None else torch.from_numpy(self.counts)
        return {"score": self.score, "epoch": self.epoch, "counts": counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned. If the file is gone, the next validation is the best."""
        if self.path.is_file():
            self.score, self.epoch = state_dict["score"], state_dict["epoch"]
            counts = state_dict["counts"]
            self.counts = None if counts is None else counts.numpy()

    def restore(self, model: SegNet) -> Scores:
        """Load the best weights into ``model``, on the CPU, and return their scores.

        Raises:
            ConfigError: There are none: a resumed run had no step left before its first validation.
        """
        if not self.path.is_file():
            raise ConfigError(
                f"{self.path.parent}: this run has no validated weights and nothing left to train; give --resume with "
                "more --time or --epochs"
            )
        saved = read_model_file(self.path)  # no network: one around a module of the user's could not be made
        model.cpu().load_state_dict(saved.state)
        return Scores(torch.tensor(saved.description.scores["confusion"]).numpy(), self.score_log.labels)
