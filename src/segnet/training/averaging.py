"""Exponential moving average (EMA) of the weights."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from segnet.training.lightning import WeightAveraging

__all__ = ["ExponentialMovingAverage"]


class ExponentialMovingAverage(WeightAveraging):
    """Averages the weights after each step. The averaged weights are scored and saved.

    Unlike Lightning's ``EMAWeightAveraging``, the decay starts low, so that the initial weights do not linger.

    Args:
        decay: Decay per step, 0 to 1. After n steps at most (1 + n) / (10 + n).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=partial(_average, decay))


@torch.no_grad()
def _average(decay: float, averaged: list[Tensor], current: list[Tensor], steps: Tensor) -> None:
    """Update ``averaged`` in place; ``steps`` is how many updates came before."""
    rate = 1 - min(decay, (1 + int(steps)) / (10 + int(steps)))
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(averaged, current, rate)
    else:  # counters
        torch._foreach_copy_(averaged, current)
