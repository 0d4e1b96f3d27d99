"""Boundary counts written out: loops over pixels and pairs of points; slow, and nothing shared with the package."""

from __future__ import annotations

import itertools

import numpy as np

Point = tuple[int, int]


def outline(mask: np.ndarray, value: int) -> list[Point]:
    """Corners around which some pixels hold the value and some do not."""
    height, width = mask.shape
    points = []
    for row, column in itertools.product(range(height), range(width)):
        around = {
            int(mask[y, x])
            for y in (row, min(row + 1, height - 1))
            for x in (column, min(column + 1, width - 1))
        }  # fmt: skip
        if value in around and len(around) > 1:
            points.append((row, column))
    return points


def near(one: Point, other: Point, radius: float) -> bool:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2 <= radius**2 + 1e-9


def touches(mask: np.ndarray, point: Point, value: int) -> bool:
    return bool((mask[point[0] : point[0] + 2, point[1] : point[1] + 2] == value).any())


def counts(predicted: np.ndarray, truth: np.ndarray, classes: int, radius: float, *, void_ignored: bool) -> list:
    """Per class: predicted points with a true one, predicted, true points with a predicted one, true."""
    rows = []
    for value in range(classes):
        found, true = outline(predicted, value), outline(truth, value)
        counted = [
            [point for point in points if not (void_ignored and touches(truth, point, 255))] for points in (found, true)
        ]
        rows.append([
            sum(any(near(point, other, radius) for other in true) for point in counted[0]), len(counted[0]),
            sum(any(near(point, other, radius) for other in found) for point in counted[1]), len(counted[1]),
        ])  # fmt: skip
    return rows


def most_pairs(found: list[Point], true: list[Point], radius: float) -> int:
    """Kuhn's algorithm: each point in turn takes a free partner, or one whose partner can move."""
    partner_of: dict[Point, Point] = {}

    def settle(point: Point, tried: set[Point]) -> bool:
        for other in true:
            if near(point, other, radius) and other not in tried:
                tried.add(other)
                if other not in partner_of or settle(partner_of[other], tried):
                    partner_of[other] = point
                    return True
        return False

    return sum(settle(point, set()) for point in found)


def near_border(mask: np.ndarray, radius: float) -> np.ndarray:
    places = list(itertools.product(range(mask.shape[0]), range(mask.shape[1])))
    return np.array([
        any(mask[one] != mask[other] and near(one, other, radius) for other in places) for one in places
    ]).reshape(mask.shape)  # fmt: skip
