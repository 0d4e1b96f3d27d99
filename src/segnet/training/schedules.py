"""Learning-rate schedules: the factor of the highest learning rate over the run."""

from __future__ import annotations

import math

from segnet.training.settings import TrainConfig

__all__ = ["lr_factor"]

_ONE_CYCLE_WARMUP = 0.3  # as in PyTorch's OneCycleLR


def lr_factor(config: TrainConfig, progress: float) -> float:
    """Factor of the highest learning rate, 0 to 1, after ``progress`` (0 to 1) of the run.

    Sources: one_cycle, Smith, "Super-convergence", 2018, in the form of PyTorch's ``OneCycleLR`` (30 % up from a 25th,
    cosine); poly, Chen et al., "DeepLab", 2017.
    """
    warmup = _ONE_CYCLE_WARMUP if config.schedule == "one_cycle" else config.warmup
    if progress < warmup:
        if config.schedule == "one_cycle":
            return 1 - 0.96 * _cosine(progress / warmup)
        return max(progress / warmup, 1e-3)
    decayed = min(1.0, (progress - warmup) / (1 - warmup))
    if config.schedule == "constant":
        return 1.0
    return (1 - decayed) ** 0.9 if config.schedule == "poly" else _cosine(decayed)


def _cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * progress))
