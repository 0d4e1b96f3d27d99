"""The best and the worst images: which they are, and how the page shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset
from segnet.labels import ClassTable
from segnet.metrics.confusion import Scores, confusion
from segnet.system.devices import pick_device
from segnet.visualization.html.markup import percent
from segnet.visualization.html.panels import (
    Panel,
    address,
    commonest_error,
    errors_panel,
    legend,
    mask_panel,
    panel_row,
    panel_size,
    photo_panel,
    smooth,
)
from segnet.visualization.overlay import SCALE, scale_colors

__all__ = ["Example", "choose_examples", "images_section"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A validation image and what the model says of it.

    Attributes:
        name: of the image.
        image: uint8 (H, W, 3), RGB.
        truth: uint8 (H, W), void 255.
        predicted: uint8 (H, W).
        confidence: float32 (H, W), probability of the predicted class, 0 to 1.
        miou: mean intersection over union of this image alone.
        place: 1 for the worst of the images looked at.
        among: how many were looked at.
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    miou: float
    place: int
    among: int


def choose_examples(
    model: nn.Module,
    data: SegmentationDataset,
    *,
    device: str | torch.device = "auto",
    best: int = 3,
    worst: int = 5,
    most: int = 200,
) -> list[Example]:
    """Score images one by one and keep the worst and the best; memory holds two images more than those.

    Args:
        model: image (1, C, H, W) in [0, 1] to logits (1, classes, H, W); it is moved to the device and run in
            evaluation mode, which is restored afterwards.
        data: images with masks; one that is void everywhere is passed over.
        device: where the model runs.
        best, worst: how many to keep; of fewer images than both together, all.
        most: how many to look at, evenly spaced.

    Returns:
        The worst first; no image twice.

    Raises:
        DataError: an image or mask cannot be read.
    """
    place = pick_device(device)
    was_training = model.training
    model.to(place).eval()
    kept: list[tuple[float, int, _Labeled]] = []
    among = 0
    try:
        for index in _evenly(len(data), most):
            labeled = _label(model, data, index, place)
            if np.isnan(labeled.miou):
                continue
            among += 1
            kept = sorted([*kept, (labeled.miou, index, labeled)], key=lambda item: item[:2])
            if len(kept) > best + worst:
                del kept[worst]
    finally:
        model.train(was_training)
    return [
        _example(labeled, position + 1 if position < worst else among - len(kept) + position + 1, among)
        for position, (_, _, labeled) in enumerate(kept)
    ]


def images_section(examples: Sequence[Example], labels: ClassTable) -> str:
    """The legend, then one row of panels for each example: the worst first, then the best."""
    if not examples:
        return "<p>The images come when the run has ended.</p>"
    rows = "".join(
        f"<h3>{title}</h3>" + "".join(_row(example, labels) for example in group)
        for title, group in _groups(examples)
        if group
    )
    return _legend(examples, labels) + rows


def _groups(examples: Sequence[Example]) -> list[tuple[str, list[Example]]]:
    among = examples[0].among
    if among <= len(examples):
        return [(f"All images ({among}), the worst first", list(examples))]
    low = [example for example in examples if 2 * example.place <= among]
    high = [example for example in examples if 2 * example.place > among]
    return [(f"The worst of {among} images", low), (f"The best of {among} images", high)]


@dataclass(frozen=True, eq=False)
class _Labeled:
    """One sample of the data set with the model's answer, all on the CPU."""

    name: str
    image: Tensor
    truth: Tensor
    predicted: Tensor
    confidence: Tensor
    miou: float


def _evenly(images: int, most: int) -> list[int]:
    return [int(place) for place in np.linspace(0, images - 1, min(images, most)).round()]


@torch.inference_mode()
def _label(model: nn.Module, data: SegmentationDataset, index: int, device: torch.device) -> _Labeled:
    sample = data[index]
    image, truth = sample["image"], sample["mask"]
    assert isinstance(image, Tensor)
    assert isinstance(truth, Tensor)
    logits = model(image[None].to(device, memory_format=torch.channels_last)).float()
    highest, predicted = logits.max(dim=1)
    confidence = (highest - logits.logsumexp(dim=1)).exp()[0].cpu()
    predicted = predicted[0].cpu()
    counts = confusion(predicted, truth, data.labels.classes)
    miou = Scores(counts.numpy(), data.labels).miou
    return _Labeled(str(sample["name"]), image, truth, predicted, confidence, miou)


def _example(labeled: _Labeled, place: int, among: int) -> Example:
    image = labeled.image.mul(255).round().byte().permute(1, 2, 0).numpy()
    return Example(
        name=labeled.name,
        image=image if image.shape[2] == 3 else image.repeat(3, axis=2),
        truth=labeled.truth.byte().numpy(),
        predicted=labeled.predicted.byte().numpy(),
        confidence=labeled.confidence.clamp(0, 1).numpy(),
        miou=labeled.miou,
        place=place,
        among=among,
    )


def _row(example: Example, labels: ClassTable) -> str:
    size, name = panel_size(example.truth.shape), example.name
    panels = (
        photo_panel(name, example.image, size),
        mask_panel(name, "truth", example.truth, labels, size),
        mask_panel(name, "prediction", example.predicted, labels, size),
        errors_panel(name, example.image, example.truth, example.predicted, size),
        _confidence_panel(example, size),
    )
    told = [f"mIoU {percent(example.miou)}"]
    if error := commonest_error(example.truth, example.predicted, labels):
        told.append(error)
    return panel_row(name, "; ".join(told), panels, size)


def _confidence_panel(example: Example, size: tuple[int, int]) -> Panel:
    values = smooth((255 * example.confidence).round().astype(np.uint8), size)
    sure = percent(float(example.confidence.mean()), 0)
    return Panel(
        caption=f"confidence, mean {sure}",
        alt=f"{example.name}, confidence: {sure} on average",
        source=address(Image.fromarray(scale_colors()[values]), "jpeg", quality=82),
    )


def _legend(examples: Sequence[Example], labels: ClassTable) -> str:
    stops = ", ".join(f"rgb{color}" for color in SCALE)
    ramp = (
        f'confidence 0 <i class="ramp" style="background:linear-gradient(90deg, {stops})"></i> 100\N{NO-BREAK SPACE}%'
    )
    return legend((mask for one in examples for mask in (one.truth, one.predicted)), labels, [ramp])
