"""The figures of a calibration as their definitions say, one pixel at a time and with all pixels in memory."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

import numpy as np

IGNORE_INDEX = 255


class Image(NamedTuple):
    """What a meter is given."""

    probabilities: np.ndarray  # (classes, H, W)
    truth: np.ndarray  # (H, W)
    uncertainty: np.ndarray  # (H, W)


class Pixel(NamedTuple):
    """One whose truth is not void."""

    confidence: float
    right: bool
    of_truth: float
    squares: float
    uncertainty: float


def pixels_of(images: list[Image]) -> list[Pixel]:
    found = []
    for probabilities, truth, uncertainty in images:
        for row, column in np.ndindex(truth.shape):
            true = int(truth[row, column])
            if true == IGNORE_INDEX:
                continue
            shares = [float(value) for value in probabilities[:, row, column]]
            best = shares.index(max(shares))
            squares = sum((share - (index == true)) ** 2 for index, share in enumerate(shares))
            unsure = float(uncertainty[row, column])
            found.append(Pixel(shares[best], best == true, max(shares[true], 1e-12), squares, unsure))
    return found


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def ece(pixels: list[Pixel], bins: int) -> float:
    error = 0.0
    for index in range(bins):
        low, high = index / bins, (index + 1) / bins
        inside = [p for p in pixels if low < p.confidence <= high or (index == 0 and p.confidence == 0)]
        if inside:
            gap = abs(mean([p.right for p in inside]) - mean([p.confidence for p in inside]))
            error += gap * len(inside) / len(pixels)
    return error


def auroc(pixels: list[Pixel]) -> float:
    """By sorting: for each wrong pixel, the right ones that are less uncertain, equal ones as half."""
    right = sorted(p.uncertainty for p in pixels if p.right)
    wrong = [p.uncertainty for p in pixels if not p.right]
    hits = 0.0
    for value in wrong:
        below, upto = bisect_left(right, value), bisect_left(right, math.nextafter(value, math.inf))
        hits += below + (upto - below) / 2
    return hits / (len(right) * len(wrong))


def retained(pixels: list[Pixel], share: float) -> float:
    least = sorted(pixels, key=lambda p: p.uncertainty)[: round(share * len(pixels))]
    return mean([p.right for p in least])


def patches_of(images: list[Image], side: int) -> list[tuple[float, bool]]:
    """Mean uncertainty, and whether more than half is right, of each with a pixel that counts."""
    found = []
    for probabilities, truth, uncertainty in images:
        height, width = truth.shape
        predicted = probabilities.argmax(axis=0)
        for top in range(0, height, side):
            for left in range(0, width, side):
                places = [
                    (row, column)
                    for row in range(top, min(top + side, height))
                    for column in range(left, min(left + side, width))
                    if truth[row, column] != IGNORE_INDEX
                ]
                if places:
                    hits = sum(predicted[place] == truth[place] for place in places)
                    unsure = mean([float(uncertainty[place]) for place in places])
                    found.append((unsure, bool(hits > len(places) / 2)))
    return found


def pavpu(patches: list[tuple[float, bool]], threshold: float) -> tuple[float, float, float]:
    accurate_certain = sum(right and unsure < threshold for unsure, right in patches)
    inaccurate_uncertain = sum(not right and unsure >= threshold for unsure, right in patches)
    certain = sum(unsure < threshold for unsure, _ in patches)
    inaccurate = sum(not right for _, right in patches)
    return (
        (accurate_certain + inaccurate_uncertain) / len(patches),
        accurate_certain / certain,
        inaccurate_uncertain / inaccurate,
    )
