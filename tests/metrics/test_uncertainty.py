from __future__ import annotations

import math

import numpy as np
import pytest

from segnet.errors import ConfigError
from segnet.metrics.uncertainty import (
    MEASURES,
    Measure,
    choose_measure,
    describe_uncertainty,
    entropy,
    largest_uncertainty,
)


def test_entropy_is_the_sum_over_the_classes_and_0_where_one_is_certain() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), (2, 3, 4)).transpose(0, 3, 1, 2).astype(np.float32)
    probabilities[1, :, 2, 3] = [0, 0, 1, 0, 0]
    found = entropy(probabilities)
    assert (found.shape, found.dtype) == ((2, 3, 4), np.float32)
    for n, row, column in np.ndindex(found.shape):
        shares = [float(share) for share in probabilities[n, :, row, column]]
        assert found[n, row, column] == pytest.approx(-sum(p * math.log(p) for p in shares if p), abs=1e-6)
    assert found[1, 2, 3] == 0


@pytest.mark.parametrize("classes", [2, 11])
def test_the_largest_values_are_reached_and_not_passed(classes: int) -> None:
    """By samples that are each certain of another class, and by even probabilities."""
    certain = np.eye(classes)
    assert certain.var(axis=0).mean() == pytest.approx(largest_uncertainty("variance", classes))
    even = np.full((1, classes, 1, 1), 1 / classes, dtype=np.float32)
    assert entropy(even)[0, 0, 0] == pytest.approx(largest_uncertainty("entropy", classes), abs=1e-6)
    assert largest_uncertainty("mutual_information", classes) == largest_uncertainty("entropy", classes)
    for samples in np.random.default_rng(0).dirichlet(np.full(classes, 0.1), (200, 7)):
        assert samples.var(axis=0).mean() <= largest_uncertainty("variance", classes)


def test_the_first_possible_measure_is_taken_unasked() -> None:
    assert choose_measure(None, MEASURES, model="m") == "variance"
    assert choose_measure(None, ("entropy",), model="m") == "entropy"
    assert choose_measure("mutual_information", MEASURES, model="m") == "mutual_information"


@pytest.mark.parametrize("wanted", ["variance", "mutual_information"])
def test_what_needs_samples_is_refused_without(wanted: Measure) -> None:
    with pytest.raises(ConfigError, match=rf"m gives no {wanted} as it is used here, but entropy; .* \(--samples 40\)"):
        choose_measure(wanted, ("entropy",), model="m")


@pytest.mark.parametrize("wanted", [None, "entropy"])
def test_masks_alone_have_no_uncertainty(wanted: Measure | None) -> None:
    with pytest.raises(ConfigError, match=r"m outputs class indices only .no probabilities.; export it with"):
        choose_measure(wanted, (), model="m")


def test_entropies_are_in_nats() -> None:
    assert [describe_uncertainty(measure) for measure in MEASURES] == [
        *("uncertainty: variance", "uncertainty: entropy, in nats", "uncertainty: mutual information, in nats"),
    ]
