"""Scores, against plain loops."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segnet
from segnet.errors import ConfigError, DataError, ModelError, ShapeError
from segnet.labels import CAMVID, IGNORE_INDEX, ClassTable
from segnet.metrics.confusion import Scores, confusion, score_mask

ROAD = 3


def counted_by_hand(predicted: torch.Tensor, truth: torch.Tensor, classes: int) -> list[list[int]]:
    table = [[0] * classes for _ in range(classes)]
    for ours, true in zip(predicted.flatten().tolist(), truth.flatten().tolist(), strict=True):
        if true != IGNORE_INDEX:
            table[true][ours] += 1
    return table


def figures_by_loops(predicted: np.ndarray, truth: np.ndarray, classes: int) -> dict[str, float]:
    """Every mean from the pixels themselves, in Python alone; a predicted void is of no class, and wrong."""
    pairs = [
        (t, p) for t, p in zip(truth.ravel().tolist(), predicted.ravel().tolist(), strict=True) if t != IGNORE_INDEX
    ]
    accuracies, ious, weighted = [], [], 0.0
    for index in range(classes):
        true = sum(t == index for t, _ in pairs)
        either = sum(index in pair for pair in pairs)
        hits = sum(t == p == index for t, p in pairs)
        if true:
            accuracies.append(hits / true)
            weighted += true / len(pairs) * hits / either
        if either:
            ious.append(hits / either)
    return {
        "global_accuracy": sum(t == p for t, p in pairs) / len(pairs),
        "class_average": sum(accuracies) / len(accuracies),
        "miou": sum(ious) / len(ious),
        "frequency_weighted_iou": weighted,
        "class_average_of_all": sum(accuracies) / classes,
        "miou_of_all": sum(ious) / classes,
    }


def masks(seed: int, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth with void in both; the last class is in neither, the one before only predicted."""
    chance = np.random.default_rng(seed)
    truth = chance.integers(0, classes - 2, (9, 13), dtype=np.uint8)
    predicted = np.where(chance.random(truth.shape) < 0.6, truth, chance.integers(0, classes - 1, truth.shape))
    truth[chance.random(truth.shape) < 0.2] = IGNORE_INDEX
    predicted[chance.random(truth.shape) < 0.1] = IGNORE_INDEX
    return predicted.astype(np.uint8), truth


def scores_of(counts: list[list[int]]) -> Scores:
    return Scores(np.array(counts), ClassTable.from_names([f"class {index}" for index in range(len(counts))]))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_confusion_equals_a_loop_over_the_pixels(dtype: torch.dtype):
    truth, predicted = torch.randint(5, (2, 9, 7)), torch.randint(5, (2, 9, 7))
    truth[torch.rand(truth.shape) < 0.2] = IGNORE_INDEX
    counts = confusion(predicted.to(dtype), truth.to(dtype), 5)
    assert counts.dtype == torch.int64
    assert counts.tolist() == counted_by_hand(predicted, truth, 5)


def test_confusion_of_255_classes_does_not_overflow_bytes():
    every = torch.arange(255, dtype=torch.uint8)
    assert torch.equal(confusion(every, every, 255), torch.eye(255, dtype=torch.int64))


def test_confusions_of_parts_add_up():
    truth, predicted = torch.randint(4, (6, 8)), torch.randint(4, (6, 8))
    whole = confusion(predicted, truth, 4)
    assert torch.equal(whole, sum(confusion(p, t, 4) for p, t in zip(predicted, truth, strict=True)))


def test_void_truth_counts_for_nothing_whatever_is_predicted_there():
    truth = torch.full((3, 3), IGNORE_INDEX)
    assert not confusion(torch.randint(300, (3, 3)), truth, 4).any()


@pytest.mark.parametrize(("predicted", "truth", "kind"), [(4, 0, "prediction"), (-1, 3, "prediction"), (0, 4, "truth")])
def test_a_value_that_is_no_class_is_refused_instead_of_counted_elsewhere(predicted: int, truth: int, kind: str):
    with pytest.raises(DataError, match=f"the {kind} holds values from .* but the classes are 0 to 3"):
        confusion(torch.tensor([predicted, 0]), torch.tensor([truth, 0]), 4)


def test_minus_one_in_signed_bytes_is_not_the_ignore_value():
    with pytest.raises(DataError, match="the truth holds values from -1 to 3"):
        confusion(torch.tensor([0, 3]), torch.tensor([-1, 3], dtype=torch.int8), 4)


@pytest.mark.parametrize(("kinds", "kind"), [((0.9, 0), "prediction"), ((0, 0.9), "truth"), ((1j, 0), "prediction")])
def test_numbers_that_are_no_integers_are_refused_instead_of_cut_off(kinds: tuple[float, float], kind: str):
    with pytest.raises(DataError, match=f"the {kind} is torch.* give class numbers as integers"):
        confusion(*(torch.tensor([value]) for value in kinds), 4)


def test_other_shapes_are_refused():
    with pytest.raises(ShapeError, match="must have one shape"):
        confusion(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, 2, dtype=torch.int64), 4)


def test_scores_equal_the_written_out_formulas():
    counts = [[5, 1, 0], [2, 7, 3], [0, 0, 4]]
    scores = scores_of(counts)
    accuracy, iou = [], []
    for c in range(3):
        row, column = sum(counts[c]), sum(line[c] for line in counts)
        accuracy.append(counts[c][c] / row)
        iou.append(counts[c][c] / (row + column - counts[c][c]))
    assert scores.global_accuracy == pytest.approx(16 / 22)
    assert scores.accuracy.tolist() == pytest.approx(accuracy)
    assert scores.iou.tolist() == pytest.approx(iou)
    assert scores.class_average == pytest.approx(sum(accuracy) / 3)
    assert scores.miou == pytest.approx(sum(iou) / 3)


def test_truth_against_itself_scores_one():
    truth = torch.arange(11).repeat(4)
    scores = Scores(confusion(truth, truth, 11).numpy(), CAMVID)
    assert scores.global_accuracy == scores.class_average == scores.miou == scores.frequency_weighted_iou == 1.0
    assert scores.class_average_of_all == scores.miou_of_all == 1.0
    assert scores.absent == []


@pytest.mark.parametrize("seed", range(6))
def test_every_mean_equals_a_loop_over_the_pixels(seed: int):
    predicted, truth = masks(seed)
    scores = score_mask(predicted, truth, ClassTable.numbered(6))
    expected = figures_by_loops(predicted, truth, 6)
    assert {name: getattr(scores, name) for name in expected} == pytest.approx(expected, rel=1e-12)
    assert scores.absent == ["class5"]


def test_frequency_weighted_iou_by_hand():
    scores = scores_of([[6, 2], [0, 2]])  # IoU 6/8 of 8 pixels, 2/4 of 2
    assert scores.frequency_weighted_iou == pytest.approx(0.8 * 0.75 + 0.2 * 0.5)


def test_a_predicted_void_is_wrong_and_of_no_class():
    truth = np.array([[0, 0, 0, 0, 1, 1, IGNORE_INDEX]], dtype=np.uint8)
    predicted = np.array([[0, 0, IGNORE_INDEX, 1, 1, IGNORE_INDEX, IGNORE_INDEX]], dtype=np.uint8)
    scores = score_mask(predicted, truth, ClassTable.from_names(["a", "b"]))
    assert scores.counts.tolist() == [[2, 1], [0, 1]]
    assert scores.unlabeled.tolist() == [1, 1]
    assert scores.pixels.tolist() == [4, 2]
    assert scores.global_accuracy == 3 / 6
    assert scores.accuracy.tolist() == [2 / 4, 1 / 2]
    assert scores.iou.tolist() == [2 / 4, 1 / 3]
    assert scores.to_dict()["unlabeled_pixels"] == scores.unlabeled_pixels == 2


def test_without_a_predicted_void_a_mask_is_scored_as_its_confusion():
    predicted, truth = masks(0)
    predicted[predicted == IGNORE_INDEX] = 0
    scores = score_mask(predicted, truth, ClassTable.numbered(6))
    assert scores.counts.tolist() == confusion(torch.from_numpy(predicted), torch.from_numpy(truth), 6).tolist()
    assert not scores.unlabeled.any()


def test_scores_of_parts_add_up():
    predicted, truth = masks(1)
    labels = ClassTable.numbered(6)
    whole = score_mask(predicted, truth, labels)
    parts = score_mask(predicted[:4], truth[:4], labels) + score_mask(predicted[4:], truth[4:], labels)
    assert parts.to_dict() == whole.to_dict()
    with pytest.raises(ConfigError, match="scores of other classes cannot be added"):
        _ = whole + scores_of([[1]])


@pytest.mark.parametrize(
    ("predicted", "truth", "told"),
    [
        (7, 0, "the prediction holds 7, but the classes are 0 to 5 and the ignore value is 255"),
        (IGNORE_INDEX, 6, "the truth holds 6, but the classes are 0 to 5 and the ignore value is 255"),
    ],
)
def test_a_mask_with_a_value_that_is_no_class_is_refused(predicted: int, truth: int, told: str):
    with pytest.raises(DataError, match=told):
        score_mask(np.array([predicted], np.uint8), np.array([truth], np.uint8), ClassTable.numbered(6))


def test_masks_of_another_shape_or_type_are_refused():
    mask = np.zeros((2, 3), dtype=np.uint8)
    with pytest.raises(ShapeError, match="must have one shape"):
        score_mask(mask, mask.T, CAMVID)
    with pytest.raises(DataError, match="the prediction is int64 and the truth uint8; give both as uint8"):
        score_mask(mask.astype(np.int64), mask, CAMVID)  # type: ignore[arg-type]


def test_whatever_is_predicted_where_the_truth_is_void_counts_for_nothing():
    every = np.arange(256, dtype=np.uint8)
    assert score_mask(every, np.full_like(every, IGNORE_INDEX), CAMVID).pixels.sum() == 0


def test_all_road_on_the_published_test_set_scores_what_the_reference_says():
    # Test pixels by class as the authors ship them; G 26.8, C 9.09, mIoU 2.44 follow from them.
    pixels = [
        6_870_982,
        9_906_732,
        473_895,
        10_390_661,
        3_731_857,
        4_530_895,
        406_612,
        476_807,
        1_599_124,
        255_232,
        76_220,
    ]
    counts = np.zeros((11, 11), dtype=np.int64)
    counts[:, ROAD] = pixels
    scores = Scores(counts, CAMVID)
    assert scores.global_accuracy == pytest.approx(0.268, abs=5e-4)
    assert scores.class_average == pytest.approx(1 / 11)
    assert scores.miou == scores.miou_of_all == pytest.approx(scores.global_accuracy / 11)
    assert scores.frequency_weighted_iou == pytest.approx(scores.global_accuracy**2)
    assert scores.absent == []


def test_all_road_where_classes_are_absent_has_the_script_s_miou_over_all_eleven():
    counts = np.zeros((11, 11), dtype=np.int64)
    counts[[0, 1, ROAD], ROAD] = [20, 30, 50]
    scores = Scores(counts, CAMVID)
    assert scores.global_accuracy == 0.5
    assert scores.miou == pytest.approx(0.5 / 3)
    assert scores.miou_of_all == pytest.approx(0.5 / 11)
    assert scores.class_average_of_all == pytest.approx(1 / 11)
    assert scores.to_dict()["over_all_classes"] == {
        "class_average": scores.class_average_of_all,
        "miou": scores.miou_of_all,
    }


def test_a_class_that_never_occurs_is_left_out_of_the_means():
    scores = scores_of([[4, 0, 0], [0, 6, 0], [0, 0, 0]])
    assert math.isnan(scores.iou[2])
    assert scores.miou == scores.class_average == 1.0
    assert scores.absent == ["class 2"]


def test_a_class_that_is_only_predicted_counts_as_zero_in_the_miou_and_not_in_the_class_average():
    scores = scores_of([[4, 0, 2], [0, 6, 0], [0, 0, 0]])
    assert scores.iou[2] == 0.0
    assert math.isnan(scores.accuracy[2])
    assert scores.class_average == pytest.approx((4 / 6 + 1) / 2)
    assert scores.miou == pytest.approx((4 / 6 + 1 + 0) / 3)
    assert scores.absent == []


def test_without_any_counted_pixel_every_score_is_nan():
    scores = scores_of([[0, 0], [0, 0]])
    means = (scores.global_accuracy, scores.class_average, scores.miou, scores.frequency_weighted_iou)
    assert all(math.isnan(value) for value in (*means, scores.class_average_of_all, scores.miou_of_all))


def test_scores_go_to_json_with_nothing_in_place_of_nan():
    table = json.loads(json.dumps(scores_of([[4, 0, 0], [1, 6, 0], [0, 0, 0]]).to_dict(), allow_nan=False))
    assert table["pixels"] == 11
    assert table["confusion"] == [[4, 0, 0], [1, 6, 0], [0, 0, 0]]
    assert table["absent_classes"] == ["class 2"]
    assert table["per_class"]["class 2"] == {"iou": None, "accuracy": None, "pixels": 0}
    assert table["per_class"]["class 1"] == {"iou": pytest.approx(6 / 7), "accuracy": pytest.approx(6 / 7), "pixels": 7}
    assert table["global_accuracy"] == pytest.approx(10 / 11)
    assert "ignored" in table["convention"]
    empty = json.loads(json.dumps(scores_of([[0]]).to_dict(), allow_nan=False))
    assert empty["miou"] is empty["global_accuracy"] is empty["class_average"] is None
    assert empty["frequency_weighted_iou"] is empty["over_all_classes"]["miou"] is None


def test_scores_are_equal_to_themselves_alone():
    scores = scores_of([[3, 1], [0, 2]])
    assert scores == scores
    assert scores != scores_of([[3, 1], [0, 2]])


def test_the_representation_names_the_scores() -> None:
    found = Scores(np.array([[3, 1], [0, 4]]), ClassTable.from_names(["a", "b"]))
    assert repr(found) == "Scores(mIoU 0.775, class average 0.875, global accuracy 0.875, 8 pixels)"


def test_arrays_and_tensors_in_each_others_place_are_refused():
    mask = np.zeros((2, 2), dtype=np.uint8)
    with pytest.raises(DataError, match=r"the truth is of type ndarray; give tensors, or arrays to segnet.score_mask"):
        confusion(mask, mask, 2)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"prediction is of type Tensor .* tensors to segnet.confusion"):
        score_mask(torch.tensor(mask), mask, CAMVID)  # type: ignore[arg-type]


def test_scores_take_what_confusion_returns():
    counts = confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), 2)
    scores = Scores(counts, ClassTable.numbered(2))  # type: ignore[arg-type]
    assert isinstance(scores.counts, np.ndarray)
    assert scores.to_dict() == Scores(counts.numpy(), ClassTable.numbered(2)).to_dict()


@pytest.mark.parametrize("shape", [(2, 2), (9,), (3, 4)])
def test_counts_of_another_number_of_classes_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ShapeError, match=r"counts have the shape .* the class table has 3 classes; expected \(3, 3\)"):
        Scores(np.ones(shape, dtype=np.int64), ClassTable.numbered(3))


@pytest.mark.parametrize(
    "make",
    [
        lambda names, folder: Scores(np.eye(2, dtype=np.int64), names),
        lambda names, folder: segnet.BoundaryMeter(names),
        lambda names, folder: segnet.CocoFile(folder / "a.json", names),
        lambda names, folder: segnet.RecordFile(folder / "a.csv", names),
    ],
)
def test_names_are_no_class_table(make: Callable[[Any, Path], object], tmp_path: Path):
    with pytest.raises(ModelError, match=r"a list was given as class table; give segnet.ClassTable.from_names"):
        make(["sky", "road"], tmp_path)
    assert not list(tmp_path.iterdir())
