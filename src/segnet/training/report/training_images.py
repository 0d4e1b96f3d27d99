"""The training images of the report: their masks as annotated, and crops as the network sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from segnet.bands import stored_bands
from segnet.data.dataset import SegmentationDataset
from segnet.data.tensors import Batch
from segnet.labels import ClassTable
from segnet.media.images.stored import stretch_bands
from segnet.visualization.html.embedding import address, nearest, smooth
from segnet.visualization.html.panels import (
    Panel,
    legend,
    mask_panel,
    panel_row,
    panel_size,
    photo_panel,
)
from segnet.visualization.overlay import as_rgb, largest_shares, overlay

__all__ = ["TrainingExample", "choose_training_examples", "training_images_section"]


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingExample:
    """A training image with its mask, as annotated and after one random crop and augmentation.

    Attributes:
        name: Name of the image.
        image: uint8 (H, W, 3), RGB.
        truth: Mask, uint8 (H, W), 255 where ignored.
        seen: Image that the network sees, uint8 (h, w, 3).
        seen_truth: Its mask, uint8 (h, w).
    """

    name: str
    image: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    seen: NDArray[np.uint8]
    seen_truth: NDArray[np.uint8]


def choose_training_examples(
    batch: Batch, data: SegmentationDataset, augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], *, most: int
) -> list[TrainingExample]:
    """The labeled images of a batch as the network sees them, and as they lie on disk. The run's random numbers stay.

    Args:
        batch: Training images, randomly cropped.
        data: The labeled ones.
        augment: Augmentation of a batch: image float32 (N, C, H, W) in [0, 1] and mask int64 (N, H, W).
        most: Number of images to choose.

    Raises:
        DataError: An image or mask cannot be read.
    """
    indices = {sample.name: index for index, sample in enumerate(data.samples)}
    chosen = [place for place, name in enumerate(batch["name"]) if name in indices][:most]
    if not chosen:
        return []
    with torch.random.fork_rng(devices=[]):
        seen, masks = augment(batch["image"][chosen], batch["mask"][chosen])
    pixels = seen.clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    if stored_bands(data.channels) is None:
        pixels = np.rint(255 * pixels).astype(np.uint8)
    truths = masks.byte().cpu().numpy()
    examples = []
    for name, image, mask in zip((batch["name"][place] for place in chosen), pixels, truths, strict=True):
        whole, truth = data.read(indices[name])
        whole, image = (as_rgb(stretch_bands(one, data.channels)) for one in (whole, image))
        examples.append(
            TrainingExample(name=name, image=whole, truth=truth.astype(np.uint8), seen=image, seen_truth=mask)
        )
    return examples


def training_images_section(examples: Sequence[TrainingExample], labels: ClassTable) -> str:
    """The legend, then one row of panels for each image."""
    if not examples:
        return ""
    text = (
        "<p>Look whether the masks fit their images, and whether the crops, which are drawn anew in every epoch, still "
        "look like images that the model will get.</p>"
    )
    masks = (mask for example in examples for mask in (example.truth, example.seen_truth))
    return text + legend(masks, labels, errors=False) + "".join(_row(example, labels) for example in examples)


def _row(example: TrainingExample, labels: ClassTable) -> str:
    name, size, seen_size = example.name, panel_size(example.truth.shape), panel_size(example.seen_truth.shape)
    classes = ", ".join(largest_shares(example.truth, labels)) or "ignored everywhere"
    panels = (
        photo_panel(name, example.image, size),
        _overlay_panel(example, size, labels),
        mask_panel(name, "mask", example.truth, labels, size),
        photo_panel(name, example.seen, seen_size, caption="as the network sees it"),
        mask_panel(name, "mask of that", example.seen_truth, labels, seen_size),
    )
    return panel_row(name, classes, panels, size)


def _overlay_panel(example: TrainingExample, size: tuple[int, int], labels: ClassTable) -> Panel:
    mixed = overlay(smooth(example.image, size), nearest(example.truth, size), labels)
    source = address(Image.fromarray(mixed), "jpeg", quality=82)
    return Panel(caption="overlay of its mask", alt=f"{example.name} with its mask over it", source=source)
