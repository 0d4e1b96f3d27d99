"""Temperature scaling: one number that the logits are divided by, so that probabilities mean what they say.

The class of each pixel stays as it is wherever one labeling decides it. Where a mean does, over samples, views, tiles
or the pixels of what is enlarged, a few may change whose classes are nearly as probable. The temperature with the
smallest negative log-likelihood on a split is looked for among temperatures of even ratio, all of them in one pass over
the images, and between the best and its neighbors by a parabola. The last layer is then divided by it, so that every
use of the model, and every file made of it, has it.

Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", 2017
(https://arxiv.org/abs/1706.04599), section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset, worker_error
from segnet.errors import ConfigError, DataError, ModelError, SegNetError
from segnet.inference.resizing import ResizePolicy
from segnet.labels import IGNORE_INDEX
from segnet.metrics.calibration.counts import SMALLEST
from segnet.models.decoders import Skip
from segnet.models.mc_dropout import Sampler
from segnet.models.segnet import SegNet
from segnet.system.devices import pick_device

__all__ = ["TRIED", "Temperature", "fit_temperature", "scale_logits"]

_CANDIDATES = 2.0 ** (np.arange(-8, 13) / 4)  # 1 is among them

TRIED = (float(_CANDIDATES[0]), float(_CANDIDATES[-1]))
"""The lowest and the highest temperature that is looked at."""


@dataclass(frozen=True)
class Temperature:
    """What was found.

    Attributes:
        value: what the logits are to be divided by; above 1 the model was too sure of itself.
        nll_before, nll_after: negative log-likelihood in nats a pixel, at 1 and, by the parabola, at ``value``.
        pixels: how many were counted.
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
    max_size: int | None = None,
    device: str | torch.device = "auto",
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Temperature:
    """The temperature, from 1/4 to 8, with the smallest negative log-likelihood.

    Args:
        model: stays as it is.
        data: images with masks; none that the model was trained on.
        samples: to draw of each image with dropout; each one's logits are divided, and the mean of their
            probabilities counts. 0: dropout is off.
        seed: decides what is dropped.
        max_size: longest side in pixels at which images are segmented, their probabilities being upsampled as
            ``Predictor`` does; None: all at their own size.
        device: where to compute; ``auto`` takes a GPU if there is one.
        workers: processes that read images meanwhile; see ``evaluate``.
        progress: called with (images done, all images) after every image.

    Raises:
        ConfigError: samples of a network without dropout, or ``max_size`` is below 1.
        DataError: a file cannot be read, or no pixel has a class.
    """
    policy = ResizePolicy(max_size=max_size)
    device = pick_device(device)
    folded = model.folded().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    sampler = Sampler(folded, seed=seed) if samples else None
    total, pixels = torch.zeros(len(_CANDIDATES), dtype=torch.float64), 0
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=workers)
    with torch.inference_mode():
        try:
            for done, sample in enumerate(loader, start=1):
                image = sample["image"][None].to(device, memory_format=torch.channels_last)
                truth = sample["mask"].to(device)
                image = _resize(image, policy)
                drawn = iter([folded(image)]) if sampler is None else sampler.logits(image, samples)
                total += _nll(drawn, truth).cpu()
                pixels += int((truth != IGNORE_INDEX).sum())
                if progress is not None:
                    progress(done, len(data))
        except SegNetError as error:
            raise worker_error(error) from None
    if not pixels:
        raise DataError("no pixel of these images has a class, so there is no temperature; give labeled images")
    return _lowest(total.numpy() / pixels, pixels)


def scale_logits(model: SegNet, temperature: float) -> None:
    """Divide a network's logits by a temperature, in place: its last layer is.

    Raises:
        ConfigError: the temperature is not above 0.
        ModelError: the network adds maps to its logits that no layer of its own has made.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature} is not possible; give a number above 0")
    with torch.no_grad():
        for layer in _last_layers(model):
            layer.weight.div_(temperature)
            if layer.bias is not None:
                layer.bias.div_(temperature)


def _last_layers(model: SegNet) -> list[nn.Conv2d]:
    """What the logits are linear in: the classifier; or, where compressed maps are added up, what compressed them."""
    if isinstance(model.classifier, nn.Conv2d):
        return [model.classifier]
    projections = [skip.project for skip in model.decoder.skips if isinstance(skip, Skip)]
    layers = [part for part in (model.decoder.entrance, *projections) if isinstance(part, nn.Conv2d)]
    if len(layers) != len(projections) + 1:
        raise ModelError(
            f"{model.config.name} adds maps of its encoder to the logits as they are, so its temperature cannot be "
            "set; take a model whose last layer is a convolution"
        )
    return layers


def _resize(image: Tensor, policy: ResizePolicy) -> Tensor:
    """The image batch (1, C, H, W) at its working size."""
    size = policy.working_size(image.shape[2], image.shape[3])
    return image if size == image.shape[2:] else F.interpolate(image, size, mode="bilinear", antialias=True)


def _nll(drawn: Iterator[Tensor], truth: Tensor) -> Tensor:
    """For each temperature tried, the sum over the pixels: float64 (temperatures,)."""
    counted = truth != IGNORE_INDEX
    true = truth.where(counted, 0)
    found = torch.zeros(len(_CANDIDATES), int(counted.sum()), device=truth.device)
    number = 0
    for logits in drawn:
        for sample in logits.float():
            number += 1
            for place, temperature in enumerate(_CANDIDATES):
                probabilities = (sample / temperature).softmax(dim=0)
                if probabilities.shape[1:] != truth.shape:
                    probabilities = F.interpolate(probabilities[None], truth.shape, mode="bilinear")[0]
                found[place] += probabilities.gather(0, true[None])[0, counted]
    return -(found / number).clamp_min(SMALLEST).log().double().sum(dim=1)


def _lowest(nll: NDArray[np.float64], pixels: int) -> Temperature:
    """The bottom of the parabola through the best and its two neighbors, over the logarithm of the temperature."""
    best, before = int(np.argmin(nll)), float(nll[np.flatnonzero(_CANDIDATES == 1)[0]])
    value, after = float(_CANDIDATES[best]), float(nll[best])
    if 0 < best < len(nll) - 1:
        left, middle, right = nll[best - 1 : best + 2]
        bend = left - 2 * middle + right
        if bend > 0:
            step = float((left - right) / (2 * bend))
            value *= (_CANDIDATES[1] / _CANDIDATES[0]) ** step
            after -= float((left - right) ** 2 / (8 * bend))
    return Temperature(float(value), before, after, pixels)
