"""Calibration of many images, against the written-out definitions and by hand."""

from __future__ import annotations

import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest

import calibration_oracle as by_loops
from calibration_oracle import Image
from segnet.errors import ConfigError, DataError, ShapeError
from segnet.labels import IGNORE_INDEX
from segnet.metrics.calibration.counts import BINS, Counts, bin_edges, bin_of
from segnet.metrics.calibration.plot import draw
from segnet.metrics.calibration.scores import PERCENTILES, CalibrationConfig, CalibrationMeter, CalibrationScores

CLASSES = 4
DEFAULT = CalibrationConfig()


def image(seed: int) -> Image:
    """A network that is right more often where it is sure, some of whose truth is void; sides no multiple of 4."""
    chance = np.random.default_rng(seed)
    size = (int(chance.integers(9, 20)), int(chance.integers(9, 20)))
    logits = chance.normal(0, 2, (CLASSES, *size))
    power = np.exp(logits)
    probabilities = (power / power.sum(axis=0)).astype(np.float32)
    drawn = chance.random(size)
    truth = (probabilities.cumsum(axis=0) < drawn).sum(axis=0).clip(0, CLASSES - 1).astype(np.uint8)
    truth[chance.random(size) < 0.1] = IGNORE_INDEX
    uncertainty = (1 - probabilities.max(axis=0) + 0.1 * chance.random(size)).astype(np.float32)
    return Image(probabilities, truth, uncertainty)


IMAGES = [image(seed) for seed in range(8)]
PIXELS = by_loops.pixels_of(IMAGES)


def scores_of(images: list[Image], config: CalibrationConfig = DEFAULT) -> CalibrationScores:
    meter = CalibrationMeter("variance", config=config)
    for each in images:
        meter.add(*each)
    return meter.scores


def scores_of_seeds(seeds: list[int]) -> CalibrationScores:
    return scores_of([image(seed) for seed in seeds])


def with_probabilities(right: np.ndarray, truth: int = 0) -> CalibrationScores:
    """Of an image of one class whose probabilities are given per pixel."""
    meter = CalibrationMeter("entropy")
    meter.add(right.astype(np.float32), np.full(right.shape[1:], truth, dtype=np.uint8))
    return meter.scores


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_is_its_definition(bins: int) -> None:
    found = scores_of(IMAGES, CalibrationConfig(bins=bins)).ece
    assert found == pytest.approx(by_loops.ece(PIXELS, bins), abs=1e-7)


def test_nll_brier_accuracy_and_confidence_are_means_over_the_pixels() -> None:
    scores = scores_of(IMAGES)
    assert scores.pixels == len(PIXELS)
    assert scores.nll == pytest.approx(by_loops.mean([-math.log(p.of_truth) for p in PIXELS]), abs=1e-7)
    assert scores.brier == pytest.approx(by_loops.mean([p.squares for p in PIXELS]), abs=1e-7)
    assert scores.accuracy == by_loops.mean([p.right for p in PIXELS])
    assert scores.confidence == pytest.approx(by_loops.mean([p.confidence for p in PIXELS]), abs=1e-7)


def test_auroc_is_the_sorted_one() -> None:
    assert scores_of(IMAGES).auroc == pytest.approx(by_loops.auroc(PIXELS), abs=1e-3)


def test_auroc_is_exact_where_no_two_values_share_a_bin() -> None:
    chance = np.random.default_rng(0)
    uncertainty = chance.choice(bin_edges()[1000:30000], (40, 50)).astype(np.float32)
    spread = Image(np.eye(2, dtype=np.float32)[chance.integers(0, 2, (40, 50))].transpose(2, 0, 1), *(
        np.zeros((40, 50), dtype=np.uint8), uncertainty
    ))  # fmt: skip
    assert scores_of([spread]).auroc == pytest.approx(by_loops.auroc(by_loops.pixels_of([spread])), rel=1e-12)


@pytest.mark.parametrize("share", [1.0, 0.9, 0.5, 0.1])
def test_what_is_retained_is_the_least_uncertain(share: float) -> None:
    (found,) = scores_of(IMAGES).retained([share])
    assert found == pytest.approx(by_loops.retained(PIXELS, share), abs=0.01)


def test_percentiles_are_the_papers_and_0_is_the_accuracy() -> None:
    scores = scores_of(IMAGES)
    assert tuple(scores.percentiles) == PERCENTILES == (0, 10, 50, 90)
    assert scores.percentiles[0] == pytest.approx(scores.accuracy)
    assert scores.percentiles[90] == scores.retained([0.1])[0] > scores.percentiles[50] > scores.accuracy


def test_pavpu_is_its_definition_at_its_threshold() -> None:
    scores = scores_of(IMAGES)
    patches = by_loops.patches_of(IMAGES, 4)
    found, mean = scores.pavpu, by_loops.mean([unsure for unsure, _ in patches])
    assert found.threshold <= mean < found.threshold * (1 + 1 / 256)
    wanted = by_loops.pavpu(patches, found.threshold)
    assert (found.share, found.accurate_if_certain, found.uncertain_if_inaccurate) == pytest.approx(wanted)
    assert int(scores.counts.patches.sum()) == len(patches)


def test_a_perfect_prediction() -> None:
    scores = with_probabilities(np.stack([np.ones((8, 8)), np.zeros((8, 8))]))
    assert (scores.accuracy, scores.confidence) == (1.0, 1.0)
    assert scores.ece == scores.nll == scores.brier == 0.0
    assert math.isnan(scores.auroc)
    assert (scores.pavpu.share, scores.pavpu.accurate_if_certain) == (1.0, 1.0)  # what has no uncertainty is certain


def test_a_uniform_prediction() -> None:
    scores = with_probabilities(np.full((5, 8, 8), 0.2), truth=3)
    assert scores.nll == pytest.approx(math.log(5), abs=1e-7)
    assert scores.brier == pytest.approx(4 * 0.2**2 + 0.8**2, abs=1e-6)
    assert scores.accuracy == 0.0  # of equal classes the first is chosen
    assert scores.ece == pytest.approx(0.2, abs=1e-7)


def test_a_certain_mistake_is_bounded() -> None:
    scores = with_probabilities(np.stack([np.zeros((8, 8)), np.ones((8, 8))]))
    assert scores.nll == pytest.approx(-math.log(1e-12), rel=1e-9)
    assert (scores.brier, scores.ece) == (2.0, 1.0)


def test_figures_by_hand() -> None:
    probabilities = np.array([[[0.95, 0.75, 0.65, 0.55]], [[0.05, 0.25, 0.35, 0.45]]], dtype=np.float32)
    truth, uncertainty = (
        np.array([[0, 1, 0, IGNORE_INDEX]], dtype=np.uint8),
        np.array([[1, 8, 16, 4]], dtype=np.float32),
    )
    scores = scores_of([Image(probabilities, truth, uncertainty)], CalibrationConfig(bins=2, patch=2))
    assert scores.pixels == 3
    assert scores.ece == pytest.approx(abs(2 - (0.95 + 0.75 + 0.65)) / 3)
    assert scores.auroc == 0.5  # the wrong pixel is above one right pixel and below the other
    assert scores.retained([1 / 3, 2 / 3, 1]).tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    # Patches of means 4.5, half of it right and so inaccurate, and 16, right; their mean is 10.25.
    assert scores.pavpu.threshold == 10.25
    assert scores.pavpu.share == 0.0


def test_without_uncertainty_the_entropy_is_taken() -> None:
    probabilities, truth, _ = image(0)
    meter, other = CalibrationMeter("entropy"), CalibrationMeter("entropy")
    meter.add(probabilities, truth)
    entropy = -(probabilities.astype(np.float64) * np.log(probabilities)).sum(axis=0)
    other.add(probabilities, truth, entropy.astype(np.float32))
    assert meter.scores.auroc == pytest.approx(other.scores.auroc, abs=1e-3)
    with pytest.raises(ConfigError, match="variance cannot be had of mean probabilities"):
        CalibrationMeter("variance").add(probabilities, truth)


def same(one: CalibrationScores, other: CalibrationScores) -> bool:
    return all(np.array_equal(getattr(one.counts, f.name), getattr(other.counts, f.name)) for f in fields(Counts))


def test_parts_add_up_to_the_same_figures_in_any_order() -> None:
    parts = [scores_of([each]) for each in IMAGES]
    whole = scores_of(IMAGES)
    for order in (parts, parts[::-1], parts[3:] + parts[:3]):
        summed = reduce(add, order)
        assert same(summed, whole)
        assert summed.to_dict() == whole.to_dict()


def test_scores_of_several_processes_add_up() -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(scores_of_seeds, [[0, 1, 2], [3, 4, 5, 6, 7]]))
    assert same(reduce(add, parts), scores_of(IMAGES))


def test_counts_of_other_settings_are_not_added() -> None:
    with pytest.raises(ConfigError, match="count both the same way"):
        scores_of(IMAGES[:1]) + scores_of(IMAGES[:1], CalibrationConfig(bins=10))


def test_bins_of_uncertainty_rise_and_are_a_256th_wide() -> None:
    values = np.geomspace(1e-9, 1e3, 5000).astype(np.float32)
    places, edges = bin_of(values), bin_edges()
    assert (np.diff(places) >= 0).all()
    assert ((edges[places] <= values) & (values < edges[places] * (1 + 1 / 256) * (1 + 1e-6))).all()
    assert bin_of(np.array([0.0, -0.0], dtype=np.float32)).tolist() == [0, 0]
    assert bin_of(np.array([np.finfo(np.float32).max], dtype=np.float32)).max() < BINS


def test_an_image_without_truth_and_no_image_give_no_figures() -> None:
    nothing = CalibrationMeter("entropy").scores
    told = nothing.to_dict()
    assert told["pixels"] == 0
    assert {told[name] for name in ("accuracy", "ece", "nll", "brier", "auroc")} == {None}
    blank = with_probabilities(np.full((2, 4, 4), 0.5), truth=IGNORE_INDEX)
    assert blank.to_dict() == told
    json.dumps(told)


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"truth": np.zeros((3, 3), dtype=np.uint8)}, ShapeError, "must have one height and width"),
        ({"uncertainty": np.zeros((3, 3), dtype=np.float32)}, ShapeError, "must have one height and width"),
        ({"truth": np.full((4, 4), -1)}, DataError, "the truth is int64; give class numbers as uint8"),
        ({"probabilities": np.full((2, 4, 4), 3, dtype=np.float32)}, DataError, "probabilities are 3 to 3; give"),
        ({"probabilities": np.full((2, 4, 4), np.nan, dtype=np.float32)}, DataError, "probabilities are nan to nan"),
        ({"truth": np.full((4, 4), 2, dtype=np.uint8)}, DataError, "the truth holds the value 2"),
        ({"uncertainty": np.full((4, 4), np.nan, dtype=np.float32)}, DataError, "uncertainty must be 0 or more"),
        ({"uncertainty": np.full((4, 4), -1, dtype=np.float32)}, DataError, "uncertainty must be 0 or more"),
        ({"uncertainty": np.full((4, 4), np.inf, dtype=np.float32)}, DataError, "infinite or no number"),
    ],
)
def test_what_cannot_be_counted_is_refused(change: dict[str, np.ndarray], error: type[Exception], told: str) -> None:
    fine = Image(
        np.full((2, 4, 4), 0.5, np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)
    )._replace(**change)
    with pytest.raises(error, match=told):
        CalibrationMeter("variance").add(*fine)


@pytest.mark.parametrize("wrong", [{"bins": 0}, {"patch": 0}])
def test_settings_are_1_or_more(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="give 1 or more each"):
        CalibrationConfig(**wrong)


def test_a_title_is_no_formula(tmp_path: Path) -> None:
    draw(CalibrationMeter("entropy").scores, tmp_path / "plot.svg", title="model $x_$")
    assert "model $x_$" in (tmp_path / "plot.svg").read_text()
