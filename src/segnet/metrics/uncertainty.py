"""Measures of uncertainty, in NumPy only, so that they need no torch.

variance             of a class's probability over the samples (population), the mean over the classes; the paper's
entropy              of the mean probabilities, in nats: all that is unsure
mutual_information   entropy of the mean less the mean entropy of the samples, in nats: what the samples disagree on

Source: Kendall, Badrinarayanan, Cipolla, "Bayesian SegNet" (arXiv:1511.02680), section 3, and the authors'
test_bayesian_segnet.py for the variance; Houlsby et al., "Bayesian active learning" (arXiv:1112.5745) for the rest.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError

__all__ = [
    "CONFIDENCE", "MEASURES", "Measure", "choose_measure", "describe_uncertainty", "entropy", "largest_uncertainty",
]  # fmt: skip

Measure = Literal["variance", "entropy", "mutual_information"]

MEASURES: tuple[Measure, ...] = ("variance", "entropy", "mutual_information")


def entropy(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """In nats, over the classes: (N, classes, H, W) to float32 (N, H, W)."""
    tiny = np.finfo(np.float32).tiny  # 0 times a finite logarithm is 0
    terms = probabilities * np.log(np.maximum(probabilities, tiny))
    found: NDArray[np.float32] = np.maximum(-terms.sum(axis=1), 0)
    return found


def largest_uncertainty(measure: Measure, classes: int) -> float:
    """The largest value that a measure can have; the smallest is 0.

    The variance is largest where each sample is certain of another class; entropy and mutual information are at most
    the logarithm of the number of classes.
    """
    return (1 - 1 / classes) / classes if measure == "variance" else math.log(classes)


CONFIDENCE = "probability of the predicted class"
"""What a confidence is, in words."""


def describe_uncertainty(measure: Measure) -> str:
    """The measure and its unit in words, as a title."""
    return "uncertainty: variance" if measure == "variance" else f"uncertainty: {measure.replace('_', ' ')}, in nats"


def choose_measure(wanted: Measure | None, possible: tuple[Measure, ...], *, model: str) -> Measure:
    """The measure that is wanted, or the first that is possible.

    Raises:
        ConfigError: the model cannot give it.
    """
    if wanted is None and possible:
        return possible[0]
    if wanted in possible:
        return wanted
    if not possible:
        raise ConfigError(
            f"{model} outputs class indices only (no probabilities); export it with --output logits or probabilities"
        )
    raise ConfigError(
        f"{model} gives no {wanted} as it is used here, but {', '.join(possible)}; variance and mutual_information "
        "need samples of a model with dropout, drawn by this program (--samples 40), of one view of each image"
    )
