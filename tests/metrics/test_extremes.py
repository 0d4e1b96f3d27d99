from __future__ import annotations

import math

import numpy as np
import pytest

from segnet.metrics.extremes import Extremes


@pytest.mark.parametrize(("lowest", "highest"), [(3, 0), (0, 3), (2, 4), (0, 0), (30, 30)])
def test_items_and_ranks_are_those_of_a_sorted_list(lowest: int, highest: int) -> None:
    scores = np.random.default_rng(0).permutation(20).tolist()
    extremes = Extremes[int](lowest=lowest, highest=highest)
    for score in scores:
        extremes.add(score, score)
    expected = [score for score in range(20) if score < lowest or score >= 20 - highest]
    assert extremes.items == expected
    assert extremes.ranks == [score + 1 for score in expected]
    assert extremes.count == 20


def test_of_equal_scores_the_first_is_the_lowest() -> None:
    extremes = Extremes[str](lowest=2)
    for item in "abc":
        extremes.add(1.0, item)
    assert extremes.items == ["a", "b"]


def test_an_item_without_a_score_does_not_count() -> None:
    extremes = Extremes[str](lowest=2)
    extremes.add(math.nan, "a")
    assert (extremes.items, extremes.ranks, extremes.count) == ([], [], 0)
