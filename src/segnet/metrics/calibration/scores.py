"""Calibration of confidence over a data set, and how well uncertainty predicts errors.

ECE                 expected calibration error: mean over the pixels of |accuracy - confidence| of their bin
NLL                 mean negative logarithm of the true class's probability, in nats
Brier               mean of the squared distances of the probabilities from the truth's 0 and 1, summed over the classes
retained            accuracy of the pixels that are left when the most uncertain ones are taken out
AUROC               probability that a wrong pixel is more uncertain than a right one
PAvPU               share of patches that are accurate and certain, or inaccurate and uncertain

Sources: Guo et al., "On calibration of modern neural networks", 2017 (ECE, NLL); Brier, 1950; Kendall, Badrinarayanan,
Cipolla, "Bayesian SegNet" (arXiv:1511.02680) for accuracy at confidence percentiles; Mukhoti and Gal, "Evaluating
Bayesian deep learning methods for semantic segmentation" (arXiv:1811.12709) for PAvPU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.errors import ConfigError
from segnet.metrics.calibration.counts import BINS, UNIT, Counts, bin_edges, counts_of
from segnet.metrics.confusion import finite_or_none
from segnet.metrics.uncertainty import Measure, entropy
from segnet.system.field_types import check_types, require_kind

__all__ = ["PERCENTILES", "CalibrationConfig", "CalibrationMeter", "CalibrationScores", "Pavpu"]

PERCENTILES = (0, 10, 50, 90)
"""Of confidence, as in the paper: at 90 the tenth of the pixels that is least uncertain is left, at 0 all."""

_CURVE_POINTS = 200

Values = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How calibration is counted.

    Attributes:
        bins: of confidence, of equal width, for ECE and the reliability diagram; 15 as Guo et al.
        patch: side of the patches of PAvPU, in pixels.

    Raises:
        ConfigError: one is below 1.
    """

    bins: int = 15
    patch: int = 4

    def __post_init__(self) -> None:
        check_types(self)
        if self.bins < 1 or self.patch < 1:
            raise ConfigError(f"bins={self.bins} and patch={self.patch} are not possible; give 1 or more each")


@dataclass(frozen=True)
class Pavpu:
    """Patches against a threshold of uncertainty, from 0 to 1; NaN where there is none to count.

    Attributes:
        threshold: patches whose mean uncertainty is at least this are uncertain.
        share: of the patches that are accurate and certain, or inaccurate and uncertain.
        accurate_if_certain: share of the certain patches that are accurate.
        uncertain_if_inaccurate: share of the inaccurate patches that are uncertain.
    """

    threshold: float
    share: float
    accurate_if_certain: float
    uncertain_if_inaccurate: float


@dataclass(frozen=True, eq=False)
class CalibrationScores:
    """What the counts of many images say. Scores of parts add up, in any order, to the same figures.

    Attributes:
        config: how it was counted.
        measure: of uncertainty.
        counts: the sums over all images.
    """

    config: CalibrationConfig
    measure: Measure
    counts: Counts

    def __add__(self, other: CalibrationScores) -> CalibrationScores:
        """Scores of the images of both.

        Raises:
            ConfigError: settings or measure differ.
        """
        if (self.config, self.measure) != (other.config, other.measure):
            raise ConfigError("calibrations of other settings or measures cannot be added; count both the same way")
        return CalibrationScores(self.config, self.measure, self.counts + other.counts)

    @property
    def pixels(self) -> int:
        """How many were counted."""
        return int(self.counts.reliability[0].sum())

    @property
    def accuracy(self) -> float:
        """Share of the pixels that are right."""
        return _ratio(int(self.counts.reliability[1].sum()), self.pixels)

    @property
    def confidence(self) -> float:
        """Mean probability of the predicted class."""
        return _ratio(sum(self.counts.confidences) * UNIT, self.pixels)

    @property
    def ece(self) -> float:
        """Expected calibration error, 0 to 1."""
        gaps = np.abs(self.counts.reliability[1] - np.array(self.counts.confidences, dtype=np.float64) * UNIT)
        return _ratio(math.fsum(gaps), self.pixels)

    @property
    def nll(self) -> float:
        """Negative log-likelihood, in nats a pixel."""
        return _ratio(self.counts.nll * UNIT, self.pixels)

    @property
    def brier(self) -> float:
        """Brier score, 0 to 2."""
        return _ratio(self.counts.brier * UNIT, self.pixels)

    @property
    def reliability(self) -> tuple[Values, Values, Values]:
        """Per bin of confidence: its share of the pixels, mean confidence, accuracy; NaN where it is empty."""
        many, right = self.counts.reliability.astype(np.float64)
        confidences = np.array(self.counts.confidences, dtype=np.float64) * UNIT
        with np.errstate(invalid="ignore"):
            return many / max(self.pixels, 1), confidences / many, right / many

    @property
    def auroc(self) -> float:
        """Of uncertainty as a detector of wrong pixels, 0.5 is chance; NaN if all or none are wrong.

        Pixels of one bin of uncertainty count as equally uncertain, which is half a hit.
        """
        wrong, right = self.counts.pixels.astype(np.float64)
        below = np.cumsum(right) - right
        return _ratio(float((wrong * (below + right / 2)).sum()), float(wrong.sum() * right.sum()))

    def retained(self, shares: Sequence[float]) -> Values:
        """Accuracy of the least uncertain pixels, for each share of all pixels, above 0 to 1.

        Of the bin of uncertainty at the limit, as many pixels count as there is room for, right and wrong alike.
        """
        wrong, right = self.counts.pixels.astype(np.float64)
        left = np.concatenate([[0.0], np.cumsum(wrong + right)])
        hits = np.concatenate([[0.0], np.cumsum(right)])
        wanted = np.asarray(shares, dtype=np.float64) * left[-1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.interp(wanted, left, hits) / wanted)

    @property
    def percentiles(self) -> dict[int, float]:
        """Accuracy of the pixels above each of ``PERCENTILES`` of confidence."""
        found = self.retained([1 - percentile / 100 for percentile in PERCENTILES])
        return dict(zip(PERCENTILES, found.tolist(), strict=True))

    @property
    def pavpu(self) -> Pavpu:
        """At the mean uncertainty of the patches, rounded down to the edge of its bin; what has none is certain."""
        patches = int(self.counts.patches.sum())
        mean = np.float32(self.counts.uncertainty * UNIT / max(patches, 1))
        edge = int(np.searchsorted(bin_edges()[: BINS - 256], mean, side="right")) - 1
        return self.pavpu_at(max(edge, 1))

    def pavpu_at(self, edge: int) -> Pavpu:
        """With the lower edge of a bin of uncertainty as threshold."""
        (wrong_certain, right_certain), (wrong_unsure, right_unsure) = (
            part.sum(axis=1).tolist() for part in (self.counts.patches[:, :edge], self.counts.patches[:, edge:])
        )
        patches = wrong_certain + right_certain + wrong_unsure + right_unsure
        return Pavpu(
            threshold=float(bin_edges()[edge]),
            share=_ratio(right_certain + wrong_unsure, patches),
            accurate_if_certain=_ratio(right_certain, right_certain + wrong_certain),
            uncertain_if_inaccurate=_ratio(wrong_unsure, wrong_unsure + wrong_certain),
        )

    def to_dict(self) -> dict[str, Any]:
        """All figures in a form that JSON can hold; NaN becomes None."""
        shares = np.linspace(0, 1, _CURVE_POINTS + 1)[1:]
        table = zip(*self.reliability, strict=True)
        return {
            "settings": asdict(self.config),
            "measure": self.measure,
            "pixels": self.pixels,
            **{name: finite_or_none(getattr(self, name)) for name in ("accuracy", "confidence", "ece", "nll", "brier")},
            "auroc": finite_or_none(self.auroc),
            "accuracy_at_confidence_percentile": {
                str(key): finite_or_none(found) for key, found in self.percentiles.items()
            },
            "pavpu": {key: finite_or_none(value) for key, value in asdict(self.pavpu).items()},
            "reliability": [
                {"share": float(share), "confidence": finite_or_none(confidence), "accuracy": finite_or_none(accuracy)}
                for share, confidence, accuracy in table
            ],
            "retained": [
                {"share": round(float(share), 6), "accuracy": finite_or_none(found)}
                for share, found in zip(shares, self.retained(shares.tolist()), strict=True)
            ],
        }


class CalibrationMeter:
    """Counts image by image, in memory that does not grow with them; give it to ``evaluate`` as ``calibration``.

    Args:
        measure: of uncertainty, as it will be handed over; see ``segnet.metrics.uncertainty``.
        config: see ``CalibrationConfig``.
    """

    def __init__(
        self,
        measure: Measure = "entropy",
        *,
        config: CalibrationConfig = CalibrationConfig(),
    ) -> None:
        require_kind("config", config, CalibrationConfig, example="bins=10")
        self.measure = measure
        self.config = config
        self._counts = Counts.none(config.bins)

    def add(
        self,
        probabilities: NDArray[np.float32],
        truth: NDArray[np.uint8],
        uncertainty: NDArray[np.float32] | None = None,
    ) -> None:
        """Count one image.

        Args:
            probabilities: float32 (classes, H, W), of samples their mean.
            truth: uint8 (H, W), 0 .. classes-1, or 255 (ignored).
            uncertainty: float32 (H, W), 0 or more; None: the entropy of the probabilities.

        Raises:
            ConfigError: there is none, and the measure is not the entropy.
            ShapeError, DataError: see ``counts_of``.
        """
        if uncertainty is None:
            if self.measure != "entropy":
                raise ConfigError(f"{self.measure} cannot be had of mean probabilities; hand the uncertainty over too")
            uncertainty = entropy(probabilities[None])[0]
        bins, patch = self.config.bins, self.config.patch
        self._counts += counts_of(probabilities, uncertainty, truth, bins=bins, patch=patch)

    @property
    def scores(self) -> CalibrationScores:
        """Of the images so far."""
        return CalibrationScores(self.config, self.measure, self._counts)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
