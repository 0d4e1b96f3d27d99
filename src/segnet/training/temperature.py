"""Temperature scaling: confidence calibration by one number that the logits are divided by.

The predicted class of a pixel does not change if one forward pass decides it. If a mean of several probabilities
decides it (Monte Carlo dropout, test-time augmentation, tiles, upsampling), nearly equal classes may swap. The
temperature with the lowest negative log-likelihood is searched on a geometric grid, in one pass over the images, and
refined by a parabola. The last layer is then divided by it, so that every use and every export of the model has it.

Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017
(https://arxiv.org/abs/1706.04599), section 4.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segnet.data.checks import check_masks
from segnet.data.dataset import SegmentationDataset, require_dataset
from segnet.errors import ConfigError, DataError, ModelError
from segnet.inference.inferer import as_batch
from segnet.inference.working_size import ResizePolicy
from segnet.labels import IGNORE_INDEX
from segnet.media.images.resizing import resize_image
from segnet.metrics.calibration.counts import SMALLEST
from segnet.models import checkpoint
from segnet.models.checkpoint import Checkpoint
from segnet.models.decoders import Skip
from segnet.models.mc_dropout import Sampler
from segnet.models.segnet import SegNet, require_segnet
from segnet.system.devices import pick_device
from segnet.system.field_types import require_kind

__all__ = ["TRIED", "Temperature", "fit_temperature", "save_scaled", "scale_logits"]

_CANDIDATES = 2.0 ** (np.arange(-8, 13) / 4)  # contains 1

TRIED = (float(_CANDIDATES[0]), float(_CANDIDATES[-1]))
"""Lowest and highest temperature of the search."""


@dataclass(frozen=True)
class Temperature:
    """Result of ``fit_temperature``.

    Attributes:
        value: Divisor of the logits. Above 1 the model was overconfident.
        nll_before, nll_after: Negative log-likelihood in nats per pixel at temperature 1 and, by the parabola, at
            ``value``.
        pixels: Number of pixels that are not ignored.
    """

    value: float
    nll_before: float
    nll_after: float
    pixels: int


def fit_temperature(
    model: SegNet,
    data: SegmentationDataset,
    *,
    samples: int = 0,
    seed: int = 0,
    resize: ResizePolicy = ResizePolicy(),  # noqa: B008
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Temperature:
    """Find the temperature, from 1/4 to 8, with the lowest negative log-likelihood.

    Args:
        model: The network; it is not changed.
        data: Images with masks that the model was not trained on.
        samples: Monte Carlo dropout samples per image. The logits of each sample are divided, and their probabilities
            averaged. 0 turns dropout off.
        seed: Random seed of Monte Carlo dropout.
        resize: At which size images are segmented; their probabilities are upsampled, as ``Predictor`` does. The
            default keeps the size of every image.
        device: Where the network runs; auto takes a GPU if there is one.
        workers: Threads that read images; see ``evaluate``.
        progress: Called with (images done, all images) after every image.

    Returns:
        The temperature as ``value``, with the negative log-likelihood before and after.

    Raises:
        ConfigError: The network has no dropout to sample.
        DataError: A file cannot be read, or ignored pixels leave one class or none.
        ModelError: The network is no SegNet, or has another number of classes than the data.
    """
    require_segnet(model)
    require_dataset(data)
    require_kind("resize", resize, ResizePolicy, example="max_size=480")
    data.labels.require_classes(model.config.classes)
    check_masks(data)
    device = pick_device(device)
    folded = model.folded().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sampler = Sampler(folded, seed=seed) if samples else None
    total, pixels = torch.zeros(len(_CANDIDATES), dtype=torch.float64), 0
    with torch.inference_mode():
        for done, (_, whole, mask) in enumerate(data.read_all(threads=workers), start=1):
            working = resize_image(whole, resize.working_size(*mask.shape))
            image = torch.from_numpy(as_batch(working)).to(device, memory_format=torch.channels_last)
            truth = torch.from_numpy(mask).to(device, torch.int64)
            drawn = iter([folded(image)]) if sampler is None else sampler.logits(image, samples)
            total += _nll(drawn, truth).cpu()
            pixels += int((truth != IGNORE_INDEX).sum())
            if progress is not None:
                progress(done, len(data))
    if not pixels:
        raise DataError("every pixel of these masks is ignored, so no temperature can be fitted; give labeled images")
    return _lowest(total.numpy() / pixels, pixels)


def scale_logits(model: SegNet, temperature: float) -> None:
    """Divide the logits of a network by a temperature, by dividing its last layer in place.

    Raises:
        ConfigError: The temperature is not a finite number above 0.
        ModelError: The network adds feature maps of its encoder to the logits without a layer in between.
    """
    if not 0 < temperature < math.inf:
        raise ConfigError(f"temperature={temperature} is not possible; give a number above 0")
    with torch.no_grad():
        for layer in _last_layers(model):
            layer.weight.div_(temperature)
            if layer.bias is not None:
                layer.bias.div_(temperature)


def save_scaled(kept: Checkpoint, temperature: Temperature, out: Path, *, fitted_on: Mapping[str, Any]) -> Path:
    """Divide a checkpoint's logits by a temperature and write it to a file.

    Args:
        kept: changed in place.
        temperature: see ``fit_temperature``. The file holds its product with an earlier temperature.
        out: ending in .safetensors.
        fitted_on: data, split and the like; kept in the file.

    Returns:
        The path of the file.
    """
    scale_logits(kept.model, temperature.value)
    earlier = kept.provenance.get("temperature", {}).get("value", 1.0)
    history = {
        "value": temperature.value * earlier,
        **fitted_on,
        "nll_before": temperature.nll_before,
        "nll_after": temperature.nll_after,
    }
    provenance = {**kept.provenance, "temperature": history}
    return checkpoint.save(kept.model, kept.labels, out, provenance=provenance, scores=kept.scores)


def _last_layers(model: SegNet) -> list[nn.Conv2d]:
    """Layers whose sum is the logits: the classifier, or the projections of the feature maps that are added up."""
    if isinstance(model.classifier, nn.Conv2d):
        return [model.classifier]
    projections = [skip.project for skip in model.decoder.skips if isinstance(skip, Skip)]
    layers = [part for part in (model.decoder.entrance, *projections) if isinstance(part, nn.Conv2d)]
    if len(layers) != len(projections) + 1:
        raise ModelError(
            f"{model.config.name} adds feature maps of its encoder to the logits directly, so its temperature "
            "cannot be set; take a model whose last layer is a convolution"
        )
    return layers


def _nll(drawn: Iterator[Tensor], truth: Tensor) -> Tensor:
    """Negative log-likelihood at each temperature, summed over the pixels, float64 (temperatures,)."""
    counted = truth != IGNORE_INDEX
    true = truth.where(counted, 0)
    likelihood = torch.zeros(len(_CANDIDATES), int(counted.sum()), device=truth.device)
    number = 0
    for logits in drawn:
        for sample in logits.float():
            number += 1
            for index, temperature in enumerate(_CANDIDATES):
                probabilities = (sample / temperature).softmax(dim=0)
                if probabilities.shape[1:] != truth.shape:
                    probabilities = F.interpolate(probabilities[None], truth.shape, mode="bilinear")[0]
                likelihood[index] += probabilities.gather(0, true[None])[0, counted]
    return -(likelihood / number).clamp_min(SMALLEST).log().double().sum(dim=1)


def _lowest(nll: NDArray[np.float64], pixels: int) -> Temperature:
    """Minimum of the parabola through the best temperature and its two neighbors, over log temperature."""
    best, before = int(np.argmin(nll)), float(nll[np.flatnonzero(_CANDIDATES == 1)[0]])
    value, after = float(_CANDIDATES[best]), float(nll[best])
    if 0 < best < len(nll) - 1:
        left, middle, right = nll[best - 1 : best + 2]
        curvature = left - 2 * middle + right
        if curvature > 0:
            step = float((left - right) / (2 * curvature))
            value *= (_CANDIDATES[1] / _CANDIDATES[0]) ** step
            after -= float((left - right) ** 2 / (8 * curvature))
    return Temperature(float(value), before, after, pixels)
