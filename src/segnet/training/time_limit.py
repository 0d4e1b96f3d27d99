"""A run that ends on time: ``--time``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import torch

from segnet.errors import ConfigError
from segnet.nn.modes import in_evaluation
from segnet.system.clock import now
from segnet.training.lightning import Callback, LightningModule, Trainer
from segnet.training.loaders import ValidationImages
from segnet.training.module import SegmentationModule
from segnet.training.recommendation import VALIDATION_SHARE

__all__ = ["TimeLimit", "estimate_ending", "mean_after_first", "seconds_per_image", "too_short"]

log = logging.getLogger("segnet")

_NEVER = sys.maxsize  # epochs between two validations
_TIMED_IMAGES = 3
_REPORTED_IMAGES = 40  # that the report scores once more, see ``training/report_writer.py``
_PAGE_S = 4.0  # loading the best weights, drawing the report, the end of the process


class TimeLimit(Callback):
    """Ends training so early that validation and report are done when the time is up.

    ``share`` drives the learning-rate schedule, so it is finished then, however fast the steps were. A validation that
    comes too soon after the last is left out, so that validations take at most ``VALIDATION_SHARE`` of the time. A
    resumed run goes on with the time that was left, from the share where it was.

    Args:
        seconds: Wall time of the run, over all its parts.
        started: When this part began, as ``now`` tells it.
        images: Validation images, some of which are timed.
    """

    def __init__(self, seconds: float, started: float, images: ValidationImages) -> None:
        self.seconds = seconds
        self.images = images
        self._started = started
        self._used = 0.0  # by earlier parts
        self._first_share = 0.0
        self._begun: float | None = None
        self._resumed_at = started  # steps, after the start or a validation
        self._estimated = (0.0, 0.0)  # validation and report
        self._validation = self._report = 0.0
        self._step_began = self._step = 0.0
        self._validation_began = self._pause_began = 0.0
        self._pause = 0.0  # a validation with all that follows, until the next step
        self._every = 1

    @property
    def elapsed(self) -> float:
        """Seconds of this run, over all its parts."""
        return self._used + now() - self._started

    def share(self) -> float:
        """Share of the training time that is over, 0 to 1."""
        if self._begun is None:
            return self._first_share
        span = self._end - self._begun
        return min(1.0, self._first_share + (1 - self._first_share) * (now() - self._begun) / span) if span > 0 else 1.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Estimate what comes after the last step; end at once if no time is left.

        Raises:
            ConfigError: A new run has no time for a step.
        """
        assert isinstance(pl_module, SegmentationModule)
        image = seconds_per_image(pl_module, self.images)
        self._estimated = self._validation, self._report = estimate_ending(image, len(self.images))
        self._begun = self._step_began = self._resumed_at = now()
        self._pause, self._every = self._validation, trainer.check_val_every_n_epoch or 1
        if self._end > self._begun:
            return
        if not self._used:
            raise ConfigError(too_short(self.seconds, self.elapsed, self._validation + self._report, 0.0))
        log.warning("the %.0f seconds of this run are over; give more --time to continue", self.seconds)
        trainer.should_stop = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Validate again as set, if the last epoch was left out."""
        if trainer.check_val_every_n_epoch == _NEVER:
            trainer.check_val_every_n_epoch = self._every

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, index: int) -> None:
        """Take the time of a pause."""
        if self._pause_began:
            self._step_began = self._resumed_at = now()
            self._pause, self._pause_began = self._resumed_at - self._pause_began, 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Stop if the next step, or the validation between, would end too late."""
        self._step = max(now() - self._step_began, 0.8 * self._step)
        self._step_began = now()
        ends_epoch = index + 1 >= trainer.num_training_batches
        if (index + 1) % trainer.accumulate_grad_batches and not ends_epoch:  # an epoch's last step may have fewer
            return
        every, epoch = trainer.check_val_every_n_epoch or 1, trainer.current_epoch + 1
        validates = ends_epoch and epoch % every == 0
        if validates and epoch != trainer.max_epochs and self._is_too_soon():
            trainer.check_val_every_n_epoch, validates = _NEVER, False
        needed = trainer.accumulate_grad_batches * self._step + (self._validation if validates else 0.0)
        if now() + needed >= self._end:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1  # the last weights are always validated

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time."""
        self._validation_began = self._pause_began = now()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Believe what was measured more than what was estimated; the report is late by the same factor."""
        self._validation = now() - self._validation_began
        validation, report = self._estimated
        self._report = report * max(1.0, self._validation / validation)

    def state_dict(self) -> dict[str, Any]:
        """Time used so far, and the share of the schedule that is done."""
        return {"used": self.elapsed, "share": self.share()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what ``state_dict`` returned; with more time than before, the schedule goes back accordingly."""
        self._used = state_dict["used"]
        self._first_share = min(state_dict["share"], self._used / self.seconds)

    def _is_too_soon(self) -> bool:
        return VALIDATION_SHARE * (now() - self._resumed_at) < (1 - VALIDATION_SHARE) * self._pause

    @property
    def _end(self) -> float:
        """When the last step must be done."""
        return self._started + self.seconds - self._used - self._validation - self._report


def too_short(seconds: float, used: float, ending: float, step: float) -> str:
    """The error of a time in which nothing can be learned."""
    least = 60 * max(1, round((used + ending + 30 * step) / 60 + 0.5))
    return (
        f"--time of {seconds:.0f} seconds leaves no time to learn: the start took {used:.0f}, the last validation and "
        f"the report take about {ending:.0f}, and a step {step:.2g}; give --time {least // 60:.0f}m or more"
    )


def estimate_ending(image: float, images: int) -> tuple[float, float]:
    """Seconds of a validation and of the report, from those of one image and the number of images."""
    return 1.1 * images * image, _PAGE_S + 1.5 * min(images, _REPORTED_IMAGES) * image


def seconds_per_image(module: SegmentationModule, images: ValidationImages) -> float:
    """Seconds to read one validation image and predict its mask."""
    times = []
    with in_evaluation(module):
        for index in range(min(_TIMED_IMAGES + 1, len(images))):
            began = now()
            sample = images[index]
            image, mask = sample["image"], sample["mask"]
            assert isinstance(image, torch.Tensor)
            assert isinstance(mask, torch.Tensor)
            module.predict_masks(image[None].to(module.device), (mask.shape[0], mask.shape[1])).cpu()
            times.append(now() - began)
    return mean_after_first(times)


def mean_after_first(times: Sequence[float]) -> float:
    """Mean without the first, which is slower, unless it is the only one."""
    counted = times[1:] or times
    return sum(counted) / len(counted)
