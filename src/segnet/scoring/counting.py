"""Counts predictions against the truth, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.data.checks import is_two_tone, require_two_classes, warn_of_orientation, warn_of_two_tone
from segnet.data.samples import describe_mismatch
from segnet.errors import DataError
from segnet.labels import IGNORE_INDEX
from segnet.metrics.boundary.scores import BoundaryMeter
from segnet.metrics.confusion import Scores, score_mask
from segnet.metrics.extremes import Extremes
from segnet.scoring.pairs import Pair, Pairing
from segnet.system.threads import read_ahead

__all__ = ["ScoredImage", "score_all", "score_pairs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredImage:
    """One image.

    Attributes:
        pair: its files.
        predicted: uint8 (H, W), 0 .. classes-1, or 255 where nothing is predicted.
        truth: uint8 (H, W), 0 .. classes-1, or 255 (ignored).
        scores: of this image alone.
    """

    pair: Pair
    predicted: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    scores: Scores


def score_pairs(pairing: Pairing, *, workers: int = 1) -> Iterator[ScoredImage]:
    """Read and count one pair after the other; the sum of their ``scores`` is the data set's.

    Args:
        pairing: what to score.
        workers: threads that read the files meanwhile, at least 1; the figures are the same with any number.

    Raises:
        DataError: a mask cannot be read, holds values that are no class, or differs in size from its truth.
    """
    for pair, masks in read_ahead(pairing.pairs, partial(_read, pairing), ahead=2 * workers, threads=workers):
        predicted, truth = masks.result()
        scores = score_mask(predicted, truth, pairing.labels)
        yield ScoredImage(pair=pair, predicted=predicted, truth=truth, scores=scores)


def score_all(
    pairing: Pairing,
    *,
    worst: Extremes[ScoredImage] | None = None,
    boundary: BoundaryMeter | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Sum of the scores of all pairs.

    Args:
        pairing: what to score.
        worst: keeps the images with the lowest mIoU; one whose pixels are all ignored is passed over.
        boundary: counts the boundaries of every image, too.
        workers: see ``score_pairs``.
        progress: called with (pairs done, all pairs) after every pair.

    Raises:
        DataError: see ``score_pairs``; or ignored pixels leave one class only, in the truth or the predictions.
    """
    warn_of_orientation([(pair.image or pair.predicted, pair.truth) for pair in pairing.pairs])
    classes, ignored = pairing.labels.classes, 0
    scores = Scores(np.zeros((classes, classes), dtype=np.int64), pairing.labels)
    two_tone: list[Path] = []
    for done, image in enumerate(score_pairs(pairing, workers=workers), start=1):
        scores += image.scores
        ignored += int((image.truth == IGNORE_INDEX).sum())
        sides = ((image.pair.truth, image.truth), (image.pair.predicted, image.predicted))
        two_tone += [path for path, mask in sides if is_two_tone(mask)]
        if worst is not None:
            worst.add(image.scores.miou, image)
        if boundary is not None:
            boundary.add(image.pair.name, image.predicted, image.truth)
        if progress is not None:
            progress(done, len(pairing.pairs))
    _check_classes(scores, ignored, pairing)
    warn_of_two_tone(two_tone, 2 * len(pairing.pairs), pairing.labels)
    return scores


def _check_classes(scores: Scores, ignored: int, pairing: Pairing) -> None:
    """Refuse black-and-white masks of 0 and 255, whose white is no class, on either side."""
    first = pairing.pairs[0]
    require_two_classes(scores.pixels, ignored, pairing.labels, masks=f"true masks, such as {first.truth}")
    missed, predicted = scores.unlabeled_pixels, scores.counts.sum(axis=0)
    if missed and np.count_nonzero(predicted) < 2:
        masks = f"predicted masks, such as {first.predicted}"
        require_two_classes(predicted, missed, pairing.labels, masks=masks)


def _read(pairing: Pairing, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Predicted and true mask of a pair, uint8 (H, W)."""
    truth, predicted = pairing.truth.read(pair.truth), pairing.predicted.read(pair.predicted)
    if predicted.shape != truth.shape:
        raise DataError(
            f"{pair.predicted} is {predicted.shape[1]}x{predicted.shape[0]} pixels but its truth {pair.truth} "
            f"is {truth.shape[1]}x{truth.shape[0]}; write predictions at the size of the truth; "
            f"{describe_mismatch(pair.predicted, pair.truth)}"
        )
    return predicted, truth
