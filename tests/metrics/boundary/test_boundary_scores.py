"""Boundary scores of many images, against the written-out formulas and by hand."""

from __future__ import annotations

import json
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from operator import add

import numpy as np
import pytest
import torch

import boundary_oracle as by_loops
from segnet.errors import ConfigError, ShapeError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.metrics.boundary.counts import BoundaryConfig, boundary_counts
from segnet.metrics.boundary.scores import CONVENTIONS, BoundaryMeter, BoundaryScores
from segnet.metrics.confusion import Scores, confusion

LABELS = ClassTable.from_names(["sky", "road", "car"])
WIDE = BoundaryConfig(tolerance=0.1, radii=(1, 3))

Image = tuple[str, np.ndarray, np.ndarray]


def image(seed: int) -> Image:
    """A name, a prediction, and a truth with void in it."""
    chance = np.random.default_rng(seed)
    size = (int(chance.integers(8, 20)), int(chance.integers(8, 20)))
    predicted = np.kron(chance.integers(0, 3, (5, 5)), np.ones((4, 4)))[: size[0], : size[1]].astype(np.uint8)
    truth = np.kron(chance.choice([0, 1, 2, IGNORE_INDEX], (5, 5)), np.ones((4, 4)))[: size[0], : size[1]].astype(
        np.uint8
    )
    return f"image {seed}", predicted, truth


def scores_of(images: list[Image], config: BoundaryConfig = WIDE) -> BoundaryScores:
    meter = BoundaryMeter(LABELS, config=config)
    for each in images:
        meter.add(*each)
    return meter.scores


def scores_of_seeds(seeds: list[int]) -> BoundaryScores:
    return scores_of([image(seed) for seed in seeds])


def with_counts(*images: list[list[int]]) -> BoundaryScores:
    names = tuple(f"image {index}" for index in range(len(images)))
    counts = np.array(images, dtype=np.int64).reshape(-1, 3, 4)
    return BoundaryScores(LABELS, BoundaryConfig(radii=()), names, counts, np.zeros((0, 3, 3), dtype=np.int64))


def bf_by_hand(images: list[Image], convention: str) -> float:
    means = []
    for _, predicted, truth in images:
        radius = WIDE.tolerance * float(np.hypot(*truth.shape))
        found = []
        for hits, ours, met, true in by_loops.counts(predicted, truth, 3, radius, void_ignored=False):
            if true or (convention == "script" and ours):
                found.append(2 * (hits / ours) * (met / true) / (hits / ours + met / true) if hits and met else 0.0)
        if found:
            means.append(sum(found) / len(found))
    return sum(means) / len(means)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_bf_is_the_mean_over_images_of_the_mean_over_their_classes(convention):
    images = [image(seed) for seed in range(8)]
    assert scores_of(images).bf(convention) == pytest.approx(bf_by_hand(images, convention), rel=1e-12)


def test_figures_written_out():
    scores = with_counts(
        [[6, 8, 5, 10], [0, 4, 0, 5], [0, 0, 0, 0]],  # sky P 3/4, R 1/2, F1 3/5; road missed
        [[9, 9, 9, 9], [0, 0, 0, 0], [0, 7, 0, 0]],  # car seen by mistake
    )
    assert scores.f1("paper").tolist() == [[pytest.approx(0.6), 0, pytest.approx(math.nan, nan_ok=True)], [
        1, pytest.approx(math.nan, nan_ok=True), pytest.approx(math.nan, nan_ok=True)
    ]]  # fmt: skip
    assert scores.image_bf("paper").tolist() == pytest.approx([0.3, 1])
    assert scores.image_bf("script").tolist() == pytest.approx([0.3, 0.5])
    assert (scores.bf("paper"), scores.bf("script")) == pytest.approx((0.65, 0.4))
    assert scores.class_bf("paper").tolist() == pytest.approx([0.8, 0, math.nan], nan_ok=True)
    assert scores.class_bf("script").tolist() == pytest.approx([0.8, 0, 0])
    assert scores.precision.tolist() == pytest.approx([0.875, 0, 0])
    assert scores.recall.tolist() == pytest.approx([0.75, 0, math.nan], nan_ok=True)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0():
    scores = with_counts([[0, 0, 0, 12], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert scores.class_bf()[0] == scores.recall[0] == 0
    assert math.isnan(scores.precision[0])


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "config", [WIDE, BoundaryConfig(), BoundaryConfig(ignored_regions="ignored"), BoundaryConfig(one_to_one=True)]
)
def test_truth_against_itself_is_one(convention, config: BoundaryConfig):
    truths = [(name, predicted, predicted) for name, predicted, _ in map(image, range(5))]
    scores = scores_of(truths, config)
    assert scores.bf(convention) == 1.0
    assert all(near.miou == 1.0 for near in scores.trimap)


def test_truth_with_void_against_itself_is_one():
    truths = [(name, truth, truth) for name, _, truth in map(image, range(5))]
    assert scores_of(truths).bf("paper") == scores_of(truths).bf("script") == 1.0


def test_road_everywhere_draws_no_boundary():
    truths = [(name, np.ones_like(truth), truth) for name, _, truth in map(image, range(5))]
    scores = scores_of(truths)
    assert scores.bf("paper") == scores.bf("script") == 0
    assert np.isnan(scores.precision).all()


def test_images_without_a_class_that_counts_are_left_out_and_told():
    flat, edge = np.zeros((8, 8), dtype=np.uint8), np.zeros((8, 8), dtype=np.uint8)
    edge[:, 4:] = 1
    scores = scores_of([("whole", edge, edge), ("flat b", flat, flat), ("flat a", edge, flat)])
    assert scores.bf("paper") == 1.0
    assert scores.bf("script") == 0.5
    assert scores.left_out("paper") == ["flat a", "flat b"]
    assert scores.left_out("script") == ["flat b"]


def test_without_any_image_everything_is_nan():
    scores = BoundaryMeter(LABELS).scores
    assert math.isnan(scores.bf())
    assert np.isnan(scores.class_bf()).all()
    assert np.isnan(scores.precision).all()
    assert all(math.isnan(near.miou) for near in scores.trimap)
    assert scores.names == ()


@pytest.mark.parametrize("cut", [0, 1, 7, 20])
def test_scores_of_parts_add_up_to_the_same_bits(cut: int):
    seeds = list(range(20))
    whole, parts = scores_of_seeds(seeds), [scores_of_seeds(seeds[cut:]), scores_of_seeds(seeds[:cut])]
    assert json.dumps(reduce(add, parts).to_dict()) == json.dumps(whole.to_dict())
    assert reduce(add, parts).names == whole.names[cut:] + whole.names[:cut]


def test_image_by_image_in_any_order_gives_the_same_bits():
    seeds = np.random.default_rng(0).permutation(20).tolist()
    single = reduce(add, [scores_of_seeds([seed]) for seed in seeds])
    assert json.dumps(single.to_dict()) == json.dumps(scores_of_seeds(sorted(seeds)).to_dict())


def test_two_processes_give_the_same_bits_as_one():
    seeds = list(range(12))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        other = pool.submit(scores_of_seeds, seeds[1::2])
        halves = [scores_of_seeds(seeds[::2]), other.result()]
    assert json.dumps(reduce(add, halves).to_dict()) == json.dumps(scores_of_seeds(seeds).to_dict())


@pytest.mark.parametrize(
    "other",
    [BoundaryMeter(LABELS, config=BoundaryConfig(tolerance=0.2, radii=(1, 3))), BoundaryMeter(CAMVID, config=WIDE)],
)
def test_scores_of_other_settings_or_classes_do_not_add_up(other: BoundaryMeter):
    with pytest.raises(ConfigError, match="of other classes or settings cannot be added"):
        _ = BoundaryMeter(LABELS, config=WIDE).scores + other.scores


def test_an_unknown_convention_is_refused():
    with pytest.raises(ConfigError, match="convention 'berkeley' is not known; give one of paper, script"):
        BoundaryMeter(LABELS).scores.bf("berkeley")  # type: ignore[arg-type]


def test_the_trimap_counts_the_pixels_near_true_borders_alone():
    images = [image(seed) for seed in range(4)]
    for radius, near in zip(WIDE.radii, scores_of(images).trimap, strict=True):
        expected = torch.zeros(3, 3, dtype=torch.int64)
        for _, predicted, truth in images:
            band = by_loops.near_border(truth, radius)
            expected += confusion(torch.from_numpy(predicted[band]), torch.from_numpy(truth[band]), 3)
        np.testing.assert_array_equal(near.counts, expected.numpy())


def test_the_trimap_of_a_large_radius_is_the_whole_image():
    name, predicted, truth = image(0)
    near = scores_of([(name, predicted, truth)], BoundaryConfig(radii=(60,))).trimap[0]
    whole = Scores(confusion(torch.from_numpy(predicted), torch.from_numpy(truth), 3).numpy(), LABELS)
    assert near.miou == whole.miou


def test_the_meter_keeps_what_boundary_counts_says():
    _, predicted, truth = image(3)
    scores = scores_of([image(3)])
    np.testing.assert_array_equal(scores.counts[0], boundary_counts(predicted, truth, 3, WIDE))
    assert scores.names == ("image 3",)


def test_earlier_scores_do_not_change_when_the_meter_goes_on():
    meter = BoundaryMeter(LABELS, config=WIDE)
    meter.add(*image(0))
    before = meter.scores
    kept = json.dumps(before.to_dict())
    meter.add(*image(1))
    assert json.dumps(before.to_dict()) == kept


def test_void_that_is_predicted_counts_as_wrong_near_borders():
    truth = np.repeat([[0] * 8 + [1] * 8], 8, axis=0).astype(np.uint8)
    predicted = truth.copy()
    predicted[:, 6:8] = IGNORE_INDEX  # 16 of the 32 pixels of class 0 that are within 4 of the border
    near = scores_of([("p", predicted, truth)], BoundaryConfig(radii=(4,))).trimap[0]
    assert near.unlabeled.tolist() == [16, 0, 0]
    assert near.iou.tolist()[:2] == [0.5, 1.0]
    assert near.global_accuracy == 0.75


def test_void_everywhere_has_no_boundary_and_no_right_pixel():
    name, _, truth = image(0)
    scores = scores_of([(name, np.full_like(truth, IGNORE_INDEX), truth)])
    assert scores.bf() == 0
    assert all(near.miou == near.global_accuracy == 0 for near in scores.trimap)


def test_a_refused_image_leaves_the_meter_as_it_was():
    meter = BoundaryMeter(LABELS, config=WIDE)
    with pytest.raises(ShapeError):
        meter.add("p", np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8))
    assert meter.scores.names == ()


def test_scores_go_to_json_with_nothing_in_place_of_nan():
    flat = np.zeros((8, 8), dtype=np.uint8)
    edge = flat.copy()
    edge[:, 4:] = 1
    table = json.loads(json.dumps(scores_of([("a", edge, edge), ("b", flat, flat)]).to_dict(), allow_nan=False))
    assert table["settings"] == {"tolerance": 0.1, "ignored_regions": "border", "one_to_one": False, "radii": [1, 3]}
    assert (table["images"], table["bf_paper"], table["bf_script"]) == (2, 1.0, 1.0)
    assert table["left_out_paper"] == table["left_out_script"] == ["b"]
    assert table["per_class"]["sky"] == {"bf_paper": 1, "bf_script": 1, "precision": 1, "recall": 1, "images": 1}
    assert table["per_class"]["car"] == {
        "bf_paper": None, "bf_script": None, "precision": None, "recall": None, "images": 0,
    }  # fmt: skip
    assert table["trimap"] == [{"radius": 1, "pixels": 16, "miou": 1.0}, {"radius": 3, "pixels": 48, "miou": 1.0}]
