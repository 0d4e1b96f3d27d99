"""The best and the worst pictures: which they are, and how the page shows them."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset
from segnet.devices import pick_device
from segnet.labels import VOID, Labels
from segnet.metrics import Scores, confusion
from segnet.training.report.markup import class_name, percent
from segnet.visualize import class_shares

__all__ = ["RIGHT", "UNCOUNTED", "WRONG", "Example", "choose_examples", "pictures_section"]

WRONG = (230, 30, 40)
"""Colour of a wrong pixel among the errors."""

UNCOUNTED = (150, 150, 158)
"""Colour of a void pixel among the errors."""

RIGHT = 0.4
"""How bright the picture is where the labelling is right, among the errors."""

_WIDEST, _HIGHEST = 320, 480  # pixels of a panel
_GREYS = 32
# The five supports of Matplotlib's viridis: even steps of brightness, also for colour-blind readers.
_VIRIDIS = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """A validation picture and what the model says of it.

    Attributes:
        name: of the picture.
        image: uint8 (H, W, 3), RGB.
        truth: uint8 (H, W), void 255.
        predicted: uint8 (H, W).
        confidence: float32 (H, W), probability of the predicted class, 0 to 1.
        miou: mean intersection over union of this picture alone.
        place: 1 for the worst of the pictures looked at.
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
    """Score pictures one by one and keep the worst and the best; memory holds two pictures more than those.

    Args:
        model: image (1, C, H, W) in [0, 1] to logits (1, classes, H, W); it is moved to the device and run in
            evaluation mode, which is restored afterwards.
        data: pictures with masks; one that is void everywhere is passed over.
        device: where the model runs.
        best, worst: how many to keep; of fewer pictures than both together, all.
        most: how many to look at, evenly spaced.

    Returns:
        The worst first; no picture twice.

    Raises:
        DataError: a picture or mask cannot be read.
    """
    place = pick_device(device)
    was_training = model.training
    model.to(place).eval()
    kept: list[tuple[float, int, _Labelled]] = []
    among = 0
    try:
        for index in _evenly(len(data), most):
            labelled = _label(model, data, index, place)
            if np.isnan(labelled.miou):
                continue
            among += 1
            kept = sorted([*kept, (labelled.miou, index, labelled)], key=lambda item: item[:2])
            if len(kept) > best + worst:
                del kept[worst]
    finally:
        model.train(was_training)
    return [
        _example(labelled, position + 1 if position < worst else among - len(kept) + position + 1, among)
        for position, (_, _, labelled) in enumerate(kept)
    ]


def pictures_section(examples: Sequence[Example], labels: Labels) -> str:
    """The legend, then one row of panels for each example: the worst first, then the best."""
    if not examples:
        return "<p>The pictures come when the run has ended.</p>"
    rows = "".join(
        f"<h3>{title}</h3>" + "".join(_row(example, labels) for example in group)
        for title, group in _groups(examples)
        if group
    )
    return _legend(examples, labels) + rows


def _groups(examples: Sequence[Example]) -> list[tuple[str, list[Example]]]:
    among = examples[0].among
    if among <= len(examples):
        return [(f"All pictures ({among}), the worst first", list(examples))]
    low = [example for example in examples if 2 * example.place <= among]
    high = [example for example in examples if 2 * example.place > among]
    return [(f"The worst of {among} pictures", low), (f"The best of {among} pictures", high)]


@dataclass(frozen=True, eq=False)
class _Labelled:
    """One sample of the data set with the model's answer, all on the CPU."""

    name: str
    image: Tensor
    truth: Tensor
    predicted: Tensor
    confidence: Tensor
    miou: float


def _evenly(pictures: int, most: int) -> list[int]:
    return [int(place) for place in np.linspace(0, pictures - 1, min(pictures, most)).round()]


@torch.inference_mode()
def _label(model: nn.Module, data: SegmentationDataset, index: int, device: torch.device) -> _Labelled:
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
    return _Labelled(str(sample["name"]), image, truth, predicted, confidence, miou)


def _example(labelled: _Labelled, place: int, among: int) -> Example:
    image = labelled.image.mul(255).round().byte().permute(1, 2, 0).numpy()
    return Example(
        name=labelled.name,
        image=image if image.shape[2] == 3 else image.repeat(3, axis=2),
        truth=labelled.truth.byte().numpy(),
        predicted=labelled.predicted.byte().numpy(),
        confidence=labelled.confidence.clamp(0, 1).numpy(),
        miou=labelled.miou,
        place=place,
        among=among,
    )


def _row(example: Example, labels: Labels) -> str:
    size = _panel_size(example.truth.shape)
    counted = example.truth != VOID
    wrong = (example.predicted != example.truth) & counted
    share = float(wrong.sum()) / max(int(counted.sum()), 1)
    sure = percent(float(example.confidence.mean()), 0)
    name = example.name
    panels = (
        ("picture", f"{name}", _photo(example.image, size)),
        ("truth", f"{name}, truth: {_told(example.truth, labels)}", _mask(example.truth, labels, size)),
        (
            "prediction",
            f"{name}, prediction: {_told(example.predicted, labels)}",
            _mask(example.predicted, labels, size),
        ),
        (f"errors {percent(share)}", f"{name}: {percent(share)} of the pixels are wrong", _errors(example, size)),
        (f"confidence, mean {sure}", f"{name}, confidence: {sure} on average", _confidence(example, size)),
    )
    height, width = size
    figures = "".join(
        f'<figure><img src="{source}" alt="{escape(alt)}" width="{width}" height="{height}">'
        f"<figcaption>{caption}</figcaption></figure>"
        for caption, alt, source in panels
    )
    head = f"<h4>{escape(name)} <span>mIoU {percent(example.miou)}{_worst_error(example, labels)}</span></h4>"
    return f'<article class="example">{head}<div class="panels">{figures}</div></article>'


def _worst_error(example: Example, labels: Labels) -> str:
    """The commonest error of the picture, in words."""
    truth, predicted = torch.from_numpy(example.truth).long(), torch.from_numpy(example.predicted).long()
    counts = confusion(predicted, truth, labels.classes).fill_diagonal_(0)
    row, column = divmod(int(counts.argmax()), labels.classes)
    if counts[row, column] == 0:
        return ""
    share = int(counts[row, column]) / int((example.truth != VOID).sum())
    return f"; {percent(share)} are {escape(labels.names[row])} taken for {escape(labels.names[column])}"


def _told(mask: NDArray[np.uint8], labels: Labels) -> str:
    shares = class_shares(mask, labels)
    largest = [int(index) for index in np.argsort(-shares, kind="stable")[:3] if shares[index] > 0]
    return ", ".join(f"{labels.names[index]} {percent(float(shares[index]), 0)}" for index in largest) or "void"


def _panel_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) that fits a panel; a small picture stays as it is."""
    height, width = shape
    scale = min(1, _WIDEST / width, _HIGHEST / height)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _nearest(values: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(values).resize((size[1], size[0]), Image.Resampling.NEAREST))


def _smooth(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BOX))


def _photo(image: NDArray[np.uint8], size: tuple[int, int]) -> str:
    return _address(Image.fromarray(_smooth(image, size)), "jpeg", quality=82)


def _mask(mask: NDArray[np.uint8], labels: Labels, size: tuple[int, int]) -> str:
    return _indexed(_nearest(mask, size), labels.palette())


def _errors(example: Example, size: tuple[int, int]) -> str:
    """Dim greys where the labelling is right, and two colours; few enough for a small PNG with sharp edges."""
    truth, predicted = _nearest(example.truth, size), _nearest(example.predicted, size)
    places = (_smooth(example.image, size).mean(axis=2) * (_GREYS / 256)).astype(np.uint8)
    places[predicted != truth] = _GREYS
    places[truth == VOID] = _GREYS + 1
    greys = np.linspace(0, 255 * RIGHT, _GREYS).astype(np.uint8)
    table = np.concatenate([np.repeat(greys[:, None], 3, axis=1), np.array([WRONG, UNCOUNTED], dtype=np.uint8)])
    return _indexed(places, table)


def _confidence(example: Example, size: tuple[int, int]) -> str:
    supports = np.linspace(0, 255, len(_VIRIDIS))
    table = np.stack([np.interp(np.arange(256), supports, channel) for channel in zip(*_VIRIDIS, strict=True)], axis=1)
    values = _smooth((255 * example.confidence).round().astype(np.uint8), size)
    return _address(Image.fromarray(table.round().astype(np.uint8)[values]), "jpeg", quality=82)


def _indexed(values: NDArray[np.uint8], table: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(values)
    picture.putpalette(table.tobytes())
    return _address(picture, "png", optimize=True)


def _address(picture: Image.Image, kind: str, **options: int) -> str:
    """The picture itself as an address."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"


def _legend(examples: Sequence[Example], labels: Labels) -> str:
    seen = np.unique(np.concatenate([np.unique(mask) for one in examples for mask in (one.truth, one.predicted)]))
    entries = [class_name(labels.names[index], labels.colors[index]) for index in seen.tolist() if index != VOID]
    if VOID in seen:
        entries.append(class_name("void in the truth", (0, 0, 0)))
        entries.append(class_name("void among the errors", UNCOUNTED))
    entries.append(class_name("wrong", WRONG))
    stops = ", ".join(f"rgb{color}" for color in _VIRIDIS)
    ramp = (
        f'confidence 0 <i class="ramp" style="background:linear-gradient(90deg, {stops})"></i> 100\N{NO-BREAK SPACE}%'
    )
    items = "".join(f"<li>{entry}</li>" for entry in [*entries, ramp])
    return f'<ul class="legend" aria-label="Legend">{items}</ul>'
