"""Scores of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Pixels, describe_channels, same_input
from segnet.data.checks import check_masks
from segnet.data.dataset import SegmentationDataset, require_dataset
from segnet.errors import ConfigError, DataError, ModelError
from segnet.inference.predictor import Predictor
from segnet.inference.working_size import ResizePolicy
from segnet.labels import ClassTable
from segnet.metrics.confusion import Scores, score_mask
from segnet.runtimes.base import argmax

if TYPE_CHECKING:
    import torch
    from torch import nn

    from segnet.metrics.calibration.scores import CalibrationMeter

__all__ = ["as_predictor", "check_same_classes", "evaluate"]

_Sample = tuple[str, Pixels, NDArray[np.uint8]]
"""Name, image (H, W, C) and mask (H, W)."""


def evaluate(
    model: Predictor | nn.Module,
    data: SegmentationDataset,
    *,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[str, NDArray[np.uint8], NDArray[np.uint8]], None] | None = None,
    calibration: CalibrationMeter | None = None,
) -> Scores:
    """Predict every image and compare with its mask, at the size that the dataset gives.

    Images of one size that follow each other are predicted together.

    Args:
        model: a predictor, with its own resizing, tiles and augmentation; or a network, images (N, C, H, W) in [0, 1]
            to logits (N, classes, H, W), which gets each image at its own size. A network is moved to the device and
            scored in evaluation mode; the mode of each module is restored.
        data: images with masks.
        device: of a network; ``auto`` takes a GPU if there is one. A predictor has its own.
        workers: number of threads that read images in the background.
        progress: called with (done, all) after every image.
        observe: called with (name, predicted mask, true mask) of every image, both uint8 (H, W) with
            ``IGNORE_INDEX``, for further metrics: ``BoundaryMeter.add``.
        calibration: counts the probabilities and the uncertainty of every image, too. Its measure must be the
            predictor's, or the entropy.

    Raises:
        DataError: the data is of another type or has other channels than the predictor, an image or mask cannot be
            read, or ignored pixels leave one class only.
        ConfigError: the predictor does not compute the measure of ``calibration``, or there are less than 0 workers.
        ModelError: the model is of another type; a predictor has other classes than the data, by number, names or
            order; a network gives no logits of the data's classes at the image's size; or ``calibration`` is given, and
            the model outputs class indices only.
    """
    require_dataset(data)
    if isinstance(model, Predictor):
        _require_same_input(model, data)
    check_masks(data)
    classes = data.labels.classes
    scores = Scores(np.zeros((classes, classes), dtype=np.int64), data.labels)
    with as_predictor(model, data, device) as predictor:
        _require_measure(predictor, calibration)
        samples = data.read_all(threads=workers)
        for done, (name, predicted, truth) in enumerate(_predict_all(predictor, samples, calibration), start=1):
            scores += score_mask(predicted, truth, data.labels)
            if observe is not None:
                observe(name, predicted, truth)
            if progress is not None:
                progress(done, len(data))
    return scores


def _require_same_input(predictor: Predictor, data: SegmentationDataset) -> None:
    """Refuse a data set of other classes or bands than the predictor's, whose scores would mean nothing."""
    if not same_input(predictor.channels, data.channels):
        raise DataError(
            f"the data set is read as {describe_channels(data.channels)}, and the model takes "
            f"{describe_channels(predictor.channels)}; open it with channels=predictor.channels"
        )
    check_same_classes(predictor.labels, data.labels, model=predictor.runtime.name, data="the data set")


def _predict_all(
    predictor: Predictor, samples: Iterable[_Sample], calibration: CalibrationMeter | None
) -> Iterator[tuple[str, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Name, predicted mask and true mask of each sample; the meter has counted it."""
    if calibration is not None:
        for name, image, truth in samples:
            yield name, _calibrated(predictor, image, truth, calibration), truth
        return
    for batch in _batches(predictor, samples):
        predictions = predictor.predict_batch([image for _, image, _ in batch])
        for (name, _, truth), prediction in zip(batch, predictions, strict=True):
            yield name, prediction.mask, truth


def _batches(predictor: Predictor, samples: Iterable[_Sample]) -> Iterator[list[_Sample]]:
    """Samples in order, those of one size that follow each other together."""
    for (height, width), group in groupby(samples, key=lambda sample: sample[1].shape[:2]):
        most = predictor.batch_size(*predictor.working_size(height, width))
        while batch := list(islice(group, most)):
            yield batch


def _calibrated(
    predictor: Predictor, image: Pixels, truth: NDArray[np.uint8], calibration: CalibrationMeter
) -> NDArray[np.uint8]:
    """Predicted mask; the meter has counted the image."""
    planes = predictor.predict_pixel_planes(image)
    probabilities = planes[: predictor.labels.classes]
    uncertainty = planes[-1] if predictor.measure == calibration.measure else None
    calibration.add(probabilities, truth, uncertainty)
    predicted: NDArray[np.uint8] = argmax(probabilities[None])[0]
    return predicted


def _require_measure(predictor: Predictor, calibration: CalibrationMeter | None) -> None:
    if calibration is None:
        return
    if not predictor.runtime.gives_probabilities:
        raise ModelError(
            f"{predictor.runtime.name}: outputs class indices only; export it with --output probabilities to measure "
            "its calibration"
        )
    if calibration.measure not in (predictor.measure, "entropy"):
        raise ConfigError(
            f"the calibration counts {calibration.measure}, and the predictor computes {predictor.measure or 'none'}; "
            f"load it with uncertainty=True, measure={calibration.measure!r}"
        )


@contextmanager
def as_predictor(
    model: Predictor | nn.Module,
    data: SegmentationDataset,
    device: str | torch.device,
    *,
    resize: ResizePolicy = ResizePolicy(),  # noqa: B008
    confidence: bool = False,
) -> Iterator[Predictor]:
    """The predictor itself; or one of the network, which is in evaluation mode meanwhile.

    Args:
        model: see ``evaluate``.
        data: what is predicted.
        device: of a network.
        resize: working sizes of a network; the default is the images' own.
        confidence: whether predictions of a network have a confidence.
    """
    if isinstance(model, Predictor):
        yield model
        return
    from torch import nn  # which exported models do not need

    from segnet.nn.modes import in_evaluation
    from segnet.runtimes.pytorch import ModuleRuntime
    from segnet.system.devices import pick_device

    if not isinstance(model, nn.Module):
        raise ModelError(f"the model is a {type(model).__name__}; give a network, or a file or name to Predictor.load")
    device = pick_device(device)
    runtime = ModuleRuntime(model.to(device), data.labels, channels=data.channels, device=device)
    predictor = Predictor(runtime, max_size=None, tiles=None, confidence=confidence)
    predictor.resize = resize
    with in_evaluation(model):
        yield predictor


def check_same_classes(model_labels: ClassTable, data_labels: ClassTable, *, model: str, data: str) -> None:
    """Check that a model and a data set have the same classes.

    Args:
        model_labels, data_labels: the class tables.
        model, data: names for the error message.

    Raises:
        ModelError: number or names of the classes differ.
    """
    if model_labels.names == data_labels.names:
        return
    if model_labels.classes != data_labels.classes:
        raise ModelError(
            f"{model} knows {model_labels.classes} classes but {data} has {data_labels.classes}; "
            "use a model trained on these classes"
        )
    pairs = zip(model_labels.names, data_labels.names, strict=True)
    mine, theirs = next((a, b) for a, b in pairs if a != b)
    raise ModelError(f"{model} calls a class {mine!r} that {data} calls {theirs!r}; names and order must agree")
