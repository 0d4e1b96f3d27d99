"""The image section of the report: the best and the worst validation images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from segnet.data.dataset import SegmentationDataset
from segnet.inference.evaluation import as_predictor
from segnet.inference.predictor import Predictor
from segnet.inference.working_size import ResizePolicy
from segnet.labels import ClassTable
from segnet.media.images.stored import stretch_bands
from segnet.metrics.confusion import score_mask
from segnet.metrics.extremes import Extremes
from segnet.visualization.html.embedding import address, smooth
from segnet.visualization.html.markup import percent
from segnet.visualization.html.panels import (
    Panel,
    commonest_error,
    errors_panel,
    legend,
    mask_panel,
    panel_row,
    panel_size,
    photo_panel,
)
from segnet.visualization.legends import SCALE, scale_colors
from segnet.visualization.overlay import as_rgb

__all__ = ["Example", "choose_examples", "images_section"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A validation image and its prediction.

    Attributes:
        name: Name of the image.
        image: uint8 (H, W, 3), RGB.
        truth: Mask, uint8 (H, W), 255 where ignored.
        predicted: Predicted mask, uint8 (H, W).
        confidence: Probability of the predicted class, float32 (H, W), 0 to 1.
        miou: Mean intersection over union of this image, 0 to 1.
        rank: Rank by mIoU among the scored images; 1 is the worst.
        scored: Number of scored images.
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    predicted: NDArray[np.uint8]
    confidence: NDArray[np.float32]
    miou: float
    rank: int = 0
    scored: int = 0


def choose_examples(
    model: nn.Module,
    data: SegmentationDataset,
    *,
    resize: ResizePolicy = ResizePolicy(),  # noqa: B008
    device: str | torch.device = "auto",
    best: int = 3,
    worst: int = 5,
    most: int = 200,
) -> list[Example]:
    """Score images one by one and return the worst and the best. Memory holds two images more than those.

    Args:
        model: Takes an image (1, C, H, W) in [0, 1] to logits (1, classes, H, W). It is moved to the device and run
            in evaluation mode; its mode is restored afterwards.
        data: Images with masks. An image whose mask is ignored everywhere is skipped.
        resize: At which size images are segmented. The default keeps the size of every image.
        device: Where the model runs.
        best, worst: Number of images to return. If there are fewer than both together, all are returned.
        most: Maximum number of images to score, evenly spaced.

    Returns:
        The worst first; no image twice.

    Raises:
        DataError: An image or mask cannot be read.
    """
    extremes = Extremes[Example](lowest=worst, highest=best)
    with as_predictor(model, data, device, resize=resize, confidence=True) as predictor:
        for index in _spread_indices(len(data), most):
            example = _predict(predictor, data, index)
            extremes.add(example.miou, example)
    ranked = zip(extremes.items, extremes.ranks, strict=True)
    return [replace(example, rank=rank, scored=extremes.count) for example, rank in ranked]


def images_section(examples: Sequence[Example], labels: ClassTable) -> str:
    """The legend, then one row of panels for each example: the worst first, then the best first."""
    if not examples:
        return "<p>Images are added when the run has ended.</p>"
    rows = "".join(
        f"<h3>{title}</h3>" + "".join(_row(example, labels) for example in group)
        for title, group in _groups(examples)
        if group
    )
    return _legend(examples, labels) + rows


def _groups(examples: Sequence[Example]) -> list[tuple[str, list[Example]]]:
    scored = examples[0].scored
    if scored <= len(examples):
        return [(f"All {scored} images, the worst first", list(examples))]
    low = [example for number, example in enumerate(examples, start=1) if example.rank == number]
    high = list(examples[len(low) :])
    worst, best = f"The {len(low)} worst of {scored} images", f"The {len(high)} best of {scored} images"
    return [(f"{worst}, the worst first", low), (f"{best}, the best first", high[::-1])]


def _spread_indices(images: int, most: int) -> list[int]:
    return [int(index) for index in np.linspace(0, images - 1, min(images, most)).round()]


def _predict(predictor: Predictor, data: SegmentationDataset, index: int) -> Example:
    """An image with its prediction, not ranked yet."""
    image, truth = data.read(index)
    prediction = predictor.predict_pixels(image)
    assert prediction.confidence is not None
    return Example(
        name=data.samples[index].name,
        image=as_rgb(stretch_bands(image, data.channels)),
        truth=truth,
        predicted=prediction.mask,
        confidence=prediction.confidence.clip(0, 1),
        miou=score_mask(prediction.mask, truth, data.labels).miou,
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
    facts = [f"mIoU {percent(example.miou)}"]
    if error := commonest_error(example.truth, example.predicted, labels):
        facts.append(error)
    return panel_row(name, "; ".join(facts), panels, size)


def _confidence_panel(example: Example, size: tuple[int, int]) -> Panel:
    values = smooth((255 * example.confidence).round().astype(np.uint8), size)
    mean = percent(float(example.confidence.mean()), 0)
    return Panel(
        caption=f"confidence, mean {mean}",
        alt=f"{example.name}, confidence: {mean} on average",
        source=address(Image.fromarray(scale_colors()[values]), "jpeg", quality=82),
    )


def _legend(examples: Sequence[Example], labels: ClassTable) -> str:
    stops = ", ".join(f"rgb{color}" for color in SCALE)
    ramp = (
        f'confidence 0 <i class="ramp" style="background:linear-gradient(90deg, {stops})"></i> 100\N{NO-BREAK SPACE}%'
    )
    return legend((mask for example in examples for mask in (example.truth, example.predicted)), labels, [ramp])
