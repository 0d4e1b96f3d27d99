"""Where the time of a training step goes."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from segnet.system.clock import now
from segnet.training.lightning import Callback, LightningModule, Trainer

__all__ = ["StepTimes"]


class StepTimes(Callback):
    """Measures whole steps, the wait for their images, and the optimizer's update, in seconds of wall time.

    A GPU computes while the program goes on, so there the parts say nothing, and ``shares`` leaves them out. The
    first step of each epoch, which has no step right before it, does not count.
    """

    def __init__(self) -> None:
        self._steps = self._waits = self._updates = 0.0
        self._images = 0
        self._ended: float | None = None
        self._began = self._update_began = 0.0
        self._on_cpu = True

    @property
    def images_per_second(self) -> float | None:
        """Training images per second, loading included; None before the second step."""
        return self._images / self._steps if self._steps else None

    def shares(self) -> dict[str, str]:
        """Images per second, and which parts of a step the loader and the optimizer take, in words for the report."""
        if self.images_per_second is None:
            return {}
        rate = {"training images per second": f"{self.images_per_second:.3g}"}
        if not self._on_cpu:
            return rate
        wait, update = (f"{part / self._steps:.1%} of a step" for part in (self._waits, self._updates))
        return {**rate, "waiting for images": wait, "update by the optimizer": update}

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The next step has no step right before it."""
        self._ended = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, index: int) -> None:
        """The images have come."""
        self._began = now()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """The gradients have been computed."""
        self._update_began = now()

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, index: int) -> None:
        """The weights have been updated."""
        ended = now()
        if self._ended is not None:
            self._steps += ended - self._ended
            self._waits += self._began - self._ended
            self._updates += ended - self._update_began if self._update_began > self._began else 0.0
            self._images += _count_images(batch) * trainer.world_size
        self._ended, self._on_cpu = ended, pl_module.device.type == "cpu"


def _count_images(batch: Any) -> int:
    image: Tensor = batch["image"]
    return len(image)
