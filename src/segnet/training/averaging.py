"""Averages of weights: over the steps of a run (EMA), and over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from segnet.training.lightning import WeightAveraging

__all__ = ["ExponentialMovingAverage", "mean_weights"]


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


def mean_weights(models: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The mean of the weights of networks that began with the same ones (Wortsman et al., Model soups, 2022).

    Args:
        models: of one architecture. Counters are those of the first.

    Returns:
        For ``load_state_dict``.
    """
    first, *others = [model.state_dict() for model in models]
    return {
        name: torch.stack([value, *(each[name] for each in others)]).mean(dim=0) if value.is_floating_point() else value
        for name, value in first.items()
    }
