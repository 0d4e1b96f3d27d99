"""Images whose labels are probably wrong, by the loss of a model on them.

Outliers are judged against the other images: a model that knows the data well has a low loss on most, and a high one
where labels are wrong, or where an image is unlike all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from segnet.data.check.findings import CheckedData, Finding, sort_findings
from segnet.data.check.report import CheckReport
from segnet.data.masks import MaskReader
from segnet.errors import DataError, ModelError
from segnet.inference.evaluation import check_same_classes
from segnet.inference.predictor import Predictor
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.media.images.stored import read_pixels
from segnet.runtimes.load import open_runtime
from segnet.visualization.html.panels import commonest_error

__all__ = ["ImageLoss", "measure_losses", "open_predictor", "with_losses"]

_LEAST = 1e-6  # probability, so that no pixel has an infinite loss
_DEVIATIONS = 6.0
_SIGMA = 1.4826  # standard deviation of a normal distribution, from its median absolute deviation
_NAMED = 50


@dataclass(frozen=True, kw_only=True)
class ImageLoss:
    """How little a model expects the labels of an image.

    Attributes:
        sample: index of the sample.
        loss: mean cross-entropy over the pixels that count, in nats.
        text: the commonest disagreement, in words; may be empty.
    """

    sample: int
    loss: float
    text: str


def open_predictor(model: str, labels: ClassTable, device: str) -> Predictor:
    """The predictor of a model of the same classes that gives probabilities.

    Raises:
        ModelError: the model has other classes, or outputs class indices only.
    """
    predictor = Predictor(open_runtime(model, device=device))
    if not predictor.runtime.gives_probabilities:
        raise ModelError(f"{model}: outputs class indices only; export it with --output probabilities")
    check_same_classes(predictor.labels, labels, model=model, data="the data set")
    return predictor


def measure_losses(
    data: CheckedData,
    predictor: Predictor,
    reader: MaskReader,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[ImageLoss]:
    """The loss of every image that can be used, the worst first.

    Raises:
        DataError: the model can read none of the images, such as one of other bands.
    """
    losses, refused = [], []
    for index, sample in enumerate(data.samples):
        try:
            truth = reader.read(sample.mask)
        except DataError:  # is a finding already
            continue
        try:
            image = read_pixels(sample.image, predictor.channels)
        except DataError as error:
            if data.facts[index].image_fault is None:  # else it is a finding already
                refused.append(error)
            continue
        if truth.shape == image.shape[:2] and (truth != IGNORE_INDEX).any():
            planes = predictor.predict_pixel_planes(image)[: data.labels.classes]
            losses.append(_loss(index, planes, truth, data.labels))
        if progress is not None:
            progress(index + 1, len(data.samples))
    if refused and not losses:
        raise refused[0]
    return sorted(losses, key=lambda one: -one.loss)


def with_losses(
    report: CheckReport, predictor: Predictor, *, progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """The report with one more finding: images on which the loss is far above the usual."""
    data = report.data
    losses = [] if data.reader is None else measure_losses(data, predictor, data.reader, progress=progress)
    values = np.array([one.loss for one in losses])
    if not len(values):
        return report
    usual = float(np.median(values))
    limit = usual + _DEVIATIONS * _SIGMA * float(np.median(np.abs(values - usual)))
    suspects = [one for one in losses if one.loss > limit]
    listed = [replace(one, text=f"loss {one.loss:.3f}{'; ' * bool(one.text)}{one.text}") for one in losses]
    found = []
    if suspects:
        found.append(
            Finding(
                kind="suspect_labels", severity="warning",
                title=f"images whose labels are probably wrong, by the loss of the model (usual {usual:.3f})",
                remedy="look at them, the worst first",
                marks=tuple(data.mask(one.sample, one.text) for one in listed[: len(suspects)]),
            )
        )  # fmt: skip
    rest = listed[len(suspects) : len(suspects) + _NAMED]
    if rest:
        found.append(
            Finding(
                kind="highest_loss", severity="note",
                title=f"{'further ' * bool(suspects)}images, by the loss of the model, the worst first",
                marks=tuple(data.mask(one.sample, one.text) for one in rest),
            )
        )  # fmt: skip
    return replace(report, findings=sort_findings([*report.findings, *found]))


def _loss(index: int, planes: NDArray[np.float32], truth: NDArray[np.uint8], labels: ClassTable) -> ImageLoss:
    counted = truth != IGNORE_INDEX
    classes = truth[counted].astype(np.int64)
    expected = np.take_along_axis(planes[:, counted], classes[None], axis=0)[0]
    predicted = planes.argmax(axis=0).astype(np.uint8)
    loss = float(-np.log(np.maximum(expected, _LEAST)).mean(dtype=np.float64))
    return ImageLoss(sample=index, loss=loss, text=commonest_error(truth, predicted, labels))
