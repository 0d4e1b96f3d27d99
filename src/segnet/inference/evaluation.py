"""Scores of a model on a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset, worker_error
from segnet.errors import ModelError, SegNetError
from segnet.labels import ClassTable
from segnet.metrics.confusion import Scores, confusion
from segnet.system.devices import pick_device

if TYPE_CHECKING:
    from segnet.metrics.calibration.scores import CalibrationMeter
    from segnet.runtimes.protocol import Runtime

__all__ = ["check_same_classes", "evaluate"]


def evaluate(
    model: nn.Module | Runtime,
    data: SegmentationDataset,
    *,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
    observe: Callable[[str, NDArray[np.uint8], NDArray[np.uint8]], None] | None = None,
    calibration: CalibrationMeter | None = None,
) -> Scores:
    """Label every image and count, at the size the dataset gives.

    Args:
        model: a network, image (1, C, H, W) in [0, 1] to logits (1, classes, H, W), or a runtime. A network is moved to
            the device and scored in evaluation mode; its mode is restored afterwards.
        data: images with masks.
        device: where a network runs and its images go; ``auto`` takes a GPU if there is one.
        workers: processes that read images meanwhile; with any, a script needs ``if __name__ == "__main__"`` on
            systems that start processes anew.
        progress: called with (done, all) after every image.
        observe: called with (name, predicted, truth) of every image, both uint8 (H, W) with void 255, for whatever
            else is to be measured: ``BoundaryMeter.add``.
        calibration: counts probabilities and uncertainty of every image too; of a network that is not a runtime, its
            measure has to be the entropy.

    Raises:
        DataError: an image or mask cannot be read.
        ConfigError: the model cannot give the measure of ``calibration``.
        ModelError: calibration is to be counted of a file that gives masks alone.
    """
    device = pick_device(device)
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers)
    counts = torch.zeros(data.labels.classes, data.labels.classes, dtype=torch.int64)
    with torch.inference_mode(), _evaluation_mode(model, device):
        try:
            for done, sample in enumerate(loader, start=1):
                if calibration is None:
                    predicted = _mask(model, sample["image"][None], device)
                else:
                    predicted = _weighed(model, sample["image"][None], sample["mask"], device, calibration)
                counts += confusion(predicted, sample["mask"][None], data.labels.classes)
                if observe is not None:
                    observe(sample["name"], _bytes(predicted[0]), _bytes(sample["mask"]))
                if progress is not None:
                    progress(done, len(data))
        except SegNetError as error:
            raise worker_error(error) from None
    return Scores(counts.numpy(), data.labels)


def _mask(model: nn.Module | Runtime, image: Tensor, device: torch.device) -> Tensor:
    """Class of each pixel, on the CPU."""
    if not isinstance(model, nn.Module):
        return torch.from_numpy(model.mask(image.numpy())).long()
    logits: Tensor = model(image.to(device, memory_format=torch.channels_last))
    return logits.argmax(dim=1).cpu()


def _weighed(
    model: nn.Module | Runtime, image: Tensor, truth: Tensor, device: torch.device, calibration: CalibrationMeter
) -> Tensor:
    """Class of each pixel, on the CPU; the meter has counted the image."""
    if isinstance(model, nn.Module):
        logits: Tensor = model(image.to(device, memory_format=torch.channels_last))
        probabilities = logits.float().softmax(dim=1).cpu()
        calibration.add(probabilities[0].numpy(), _bytes(truth))
        return probabilities.argmax(dim=1)
    found = model.estimate(image.numpy(), calibration.measure)
    if found.probabilities is None:
        raise ModelError(f"{model.info.name}: gives masks alone; export it with --output probabilities to calibrate it")
    calibration.add(found.probabilities[0], _bytes(truth), found.uncertainty[0])
    return torch.from_numpy(found.mask).long()


def _bytes(mask: Tensor) -> NDArray[np.uint8]:
    """Classes, of which there are 255 at most."""
    return mask.numpy().astype(np.uint8)


@contextmanager
def _evaluation_mode(model: object, device: str | torch.device) -> Iterator[None]:
    if not isinstance(model, nn.Module):
        yield
        return
    was_training = model.training
    model.to(device).eval()
    try:
        yield
    finally:
        model.train(was_training)


def check_same_classes(model_labels: ClassTable, data_labels: ClassTable, *, model: str, data: str) -> None:
    """Refuse to score a model on classes that are not its own.

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
