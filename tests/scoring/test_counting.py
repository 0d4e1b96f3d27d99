"""Pairs of label maps, counted one by one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.metrics.confusion import Scores, score_mask
from segnet.metrics.extremes import Extremes
from segnet.scoring.counting import ScoredImage, score_pairs
from segnet.scoring.pairs import Pair, Pairing, open_truth, pair_up

LABELS = ClassTable.from_names(["road", "sky", "car"])


def write(folder: Path, maps: dict[str, np.ndarray]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in maps.items():
        Image.fromarray(values.astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def random_maps(seed: int) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    return {f"{index}": chance.choice([0, 1, 2, IGNORE_INDEX], (5, 4 + index)) for index in range(6)}


def pairing_of(folder: Path, predicted: dict[str, np.ndarray], truth: dict[str, np.ndarray]) -> Pairing:
    return pair_up(write(folder / "found", predicted), open_truth(str(write(folder / "truth", truth)), labels=LABELS))


def test_each_image_has_its_own_scores_and_their_sum_is_that_of_all_pixels(tmp_path: Path) -> None:
    predicted, truth = random_maps(0), random_maps(1)
    images = list(score_pairs(pairing_of(tmp_path, predicted, truth)))
    assert [image.pair.name for image in images] == [*truth]
    total = Scores(np.zeros((3, 3), dtype=np.int64), LABELS)
    for image in images:
        name = image.pair.name
        np.testing.assert_array_equal(image.predicted, predicted[name])
        np.testing.assert_array_equal(image.truth, truth[name])
        total += image.scores
    every = [np.concatenate([part.ravel() for part in maps.values()]).astype(np.uint8) for maps in (predicted, truth)]
    assert total.to_dict() == score_mask(*every, LABELS).to_dict()
    assert total.unlabeled_pixels > 0


def test_any_number_of_threads_gives_the_same_images_in_the_same_order(tmp_path: Path) -> None:
    pairing = pairing_of(tmp_path, random_maps(0), random_maps(1))
    alone, many = (
        [(one.pair.name, json.dumps(one.scores.to_dict())) for one in score_pairs(pairing, workers=threads)]
        for threads in (1, 3)
    )
    assert alone == many


def test_another_size_is_refused_with_both_files(tmp_path: Path) -> None:
    pairing = pairing_of(tmp_path, {"a": np.zeros((4, 6))}, {"a": np.zeros((4, 8))})
    told = r"^\S*found.a\.png is 6x4 pixels but its truth \S*truth.a\.png is 8x4; write predictions at the size"
    with pytest.raises(DataError, match=told):
        list(score_pairs(pairing))


def test_a_value_that_is_no_class_is_refused_with_the_file(tmp_path: Path) -> None:
    pairing = pairing_of(tmp_path, {"a": np.full((2, 2), 3)}, {"a": np.zeros((2, 2))})
    with pytest.raises(
        DataError, match=r"found.a\.png: value 3 on 4 pixels.* other ignored values with --ignore-index"
    ):
        list(score_pairs(pairing))


def image_of(name: str, right: int) -> ScoredImage:
    """Of ten pixels so many are right; -1: void everywhere."""
    truth = np.full(10, IGNORE_INDEX if right < 0 else 0, dtype=np.uint8)
    predicted = np.where(np.arange(10) < right, 0, 1).astype(np.uint8)
    pair = Pair(name=name, predicted=Path(), truth=Path(), image=None)
    return ScoredImage(pair=pair, predicted=predicted, truth=truth, scores=score_mask(predicted, truth, LABELS))


def test_the_worst_are_those_with_the_lowest_miou_and_of_equals_the_first() -> None:
    worst = Extremes[ScoredImage](lowest=3)
    for name, right in (("a", 9), ("b", 4), ("void", -1), ("c", 4), ("d", 1), ("e", 4)):
        image = image_of(name, right)
        worst.add(image.scores.miou, image)
    assert [image.pair.name for image in worst.items] == ["d", "b", "c"]
