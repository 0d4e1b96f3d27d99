"""Running mean and uncertainty of Monte Carlo dropout samples, in memory independent of their number.

Source: Welford, "Note on a method for calculating corrected sums of squares and products", 1962.
"""

from __future__ import annotations

import torch
from torch import Tensor

from segnet.metrics.uncertainty import Measure

__all__ = ["RunningMoments"]


class RunningMoments:
    """Running mean of class probabilities, with the running sums that one measure of uncertainty needs.

    Args:
        measure: see ``segnet.metrics.uncertainty``; None: mean only.

    Attributes:
        count: number of samples so far.
        mean: float32 (classes, H, W), mean probabilities; a scalar 0 before the first sample.
    """

    def __init__(self, measure: Measure | None = None) -> None:
        self.measure = measure
        self.count = 0
        self.mean = torch.zeros(())
        self._scatter = torch.zeros(())  # (H, W): squared distances from the mean, averaged over the classes
        self._entropy = torch.zeros(())  # (H, W): averaged over the samples

    def add(self, samples: Tensor) -> None:
        """Add probabilities, float32 (samples, classes, H, W)."""
        for sample in samples:
            self.count += 1
            distance = sample - self.mean.to(sample)
            self.mean = self.mean.to(sample) + distance / self.count
            if self.measure == "variance":
                self._scatter = self._scatter.to(sample) + (distance * (sample - self.mean)).mean(dim=0)
            elif self.measure == "mutual_information":
                self._entropy = self._entropy.to(sample) + (_entropy(sample) - self._entropy.to(sample)) / self.count

    @property
    def uncertainty(self) -> Tensor:
        """Uncertainty by the measure: float32 (H, W), 0 or more."""
        if self.measure == "variance":
            return (self._scatter / self.count).clamp_min(0.0)
        # The entropy of the samples was summed for mutual information only: of "entropy" it is 0 here.
        return (_entropy(self.mean) - self._entropy.to(self.mean)).clamp_min(0.0)


def _entropy(probabilities: Tensor) -> Tensor:
    summed: Tensor = torch.special.entr(probabilities).sum(dim=0)
    return summed
