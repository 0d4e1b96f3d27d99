"""Loss functions, alone or as a weighted sum such as ``cross_entropy+0.5*lovasz``.

Sources: cross_entropy, the published code (caffe-segnet, softmax_loss_layer.cpp);
focal, Lin et al., Focal Loss for Dense Object Detection, 2017;
dice, Milletari et al., V-Net, 2016, with sums of probabilities in place of sums of their squares;
lovasz, Berman et al., The Lovász-Softmax Loss, 2018;
ohem, Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, 2016, applied to
pixels as in HRNet-Semantic-Segmentation, lib/core/criterion.py (a threshold, and a minimum number of pixels);
boundary, Ronneberger et al., U-Net, 2015, equation 2, with the distance to the nearest boundary in place of those to
the two nearest cells, and multiplied by the class weight instead of added to it;
prior correction, King and Zeng, Logistic Regression in Rare Events Data, 2001, section 4.1, as offsets of the logits in
the loss (Menon et al., Long-tail Learning via Logit Adjustment, 2021, which uses them to favor rare classes).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.labels import IGNORE_INDEX
from segnet.training.settings import Divisor

__all__ = ["LOSSES", "SMOOTHED", "Loss", "Reduction", "check_loss", "make_loss"]

SMOOTHED = ("cross_entropy", "ohem", "boundary")
"""Losses that label smoothing changes."""

_HARD_PROBABILITY = 0.7  # HRNet's default
_HARD_SHARE = 4  # HRNet keeps at least 131,072 pixels: a quarter of its 1024x512 crop
_BOUNDARY_WEIGHT = 10.0  # U-Net's w0
_BOUNDARY_SIGMA = 5.0  # pixels; U-Net's
_BOUNDARY_REACH = 15  # pixels, three sigma; beyond, the weight would grow by at most 0.11


def check_loss(text: str) -> None:
    """Check the text of a loss.

    Raises:
        ConfigError: A name is unknown, a factor is not a number above 0, or a term is empty.
    """
    _parse(text)


def make_loss(
    text: str,
    weights: Tensor,
    *,
    divisor: Divisor = "pixels",
    label_smoothing: float = 0.0,
    prior_correction: float = 0.0,
    mean_over_processes: Callable[[Tensor], Tensor] = lambda amount: amount,
) -> Loss:
    """Build a loss.

    Gradients are averaged over processes. cross_entropy, focal and boundary divide by the mean divisor of all
    processes, so that they do not depend on how the batch is split. dice, lovasz and ohem do depend on it, since each
    process computes them from its own pixels.

    Args:
        text: Names of ``LOSSES`` joined by ``+``, each with an optional factor: ``cross_entropy+0.5*lovasz``.
        weights: Class weights, float (classes,). dice and lovasz ignore them.
        divisor: What the sum over pixels is divided by: their number (``pixels``, as the published code does) or the
            sum of their class weights (``weights``, as PyTorch does).
        label_smoothing: Share of the target that is spread over all classes, 0 to below 1; in cross_entropy, ohem and
            boundary.
        prior_correction: Share of the logarithms of the class weights that is added to the logits, 0 to 1. A network
            that is trained so predicts rare classes less often: with cross_entropy and 1, by their own frequency.
        mean_over_processes: Returns the mean of a scalar over all processes.

    Raises:
        ConfigError: The text, the divisor, the label smoothing or the prior correction is not valid.
    """
    if divisor not in get_args(Divisor):
        raise ConfigError(f"loss divisor {divisor!r} is unknown; choose one of {', '.join(get_args(Divisor))}")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing={label_smoothing} is not possible; give 0 to below 1")
    if not 0 <= prior_correction <= 1:
        raise ConfigError(f"prior_correction={prior_correction} is not possible; give 0 to 1")
    return Loss(_parse(text), Reduction(weights, divisor, label_smoothing, mean_over_processes), prior_correction)


@dataclass(frozen=True, eq=False)
class Reduction:
    """How the losses of the pixels are reduced to one number. ``make_loss`` documents the fields."""

    weights: Tensor
    divisor: Divisor
    label_smoothing: float
    mean_over_processes: Callable[[Tensor], Tensor]

    def pixel_weights(self, mask: Tensor) -> Tensor:
        """Class weight of each pixel, (N, H, W); 0 where ignored."""
        counted = mask != IGNORE_INDEX
        return self.weights[mask.where(counted, 0)] * counted

    def divisor_of(self, mask: Tensor, factors: Tensor | float = 1.0) -> Tensor:
        """Divisor of a sum over pixels, a scalar above 0. ``factors`` are further weights of the pixels."""
        own = (mask != IGNORE_INDEX).sum() if self.divisor == "pixels" else (self.pixel_weights(mask) * factors).sum()
        mean = self.mean_over_processes(own.to(self.weights.dtype))
        return mean.where(mean > 0, 1)

    def cross_entropy(self, logits: Tensor, mask: Tensor, reduction: str) -> Tensor:
        """Weighted, smoothed cross entropy: ``none`` of each pixel, (N, H, W), 0 where ignored; ``sum`` a scalar."""
        return F.cross_entropy(
            logits,
            mask,
            weight=self.weights,
            ignore_index=IGNORE_INDEX,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )


class Loss(nn.Module):
    """A weighted sum of losses, from ``make_loss``.

    ``forward`` takes logits (N, classes, H, W) of any floating type and a mask, int64 (N, H, W), 255 where ignored. It
    returns a float32 scalar (float64 for float64 logits). Ignored pixels only give 0, with zero gradients.
    """

    weights: Tensor

    def __init__(self, terms: tuple[tuple[float, str], ...], reduction: Reduction, prior_correction: float) -> None:
        super().__init__()
        self.terms = terms
        self.divisor = reduction.divisor
        self.label_smoothing = reduction.label_smoothing
        self.mean_over_processes = reduction.mean_over_processes
        self.prior_correction = prior_correction
        self.register_buffer("weights", reduction.weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Loss of one batch, a scalar."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = self.weights.to(logits.dtype)
        if self.prior_correction:
            logits = logits + self.prior_correction * weights.where(weights > 0, 1).log()[:, None, None]
        reduction = Reduction(weights, self.divisor, self.label_smoothing, self.mean_over_processes)
        return torch.stack([factor * LOSSES[name](logits, mask, reduction) for factor, name in self.terms]).sum()


def _parse(text: str) -> tuple[tuple[float, str], ...]:
    """``a+0.5*b`` -> ((1.0, "a"), (0.5, "b"))."""
    return tuple(_parse_term(part.strip(), text) for part in text.split("+"))


def _parse_term(part: str, text: str) -> tuple[float, str]:
    number, star, name = part.rpartition("*")
    name = name.strip()
    remedy = f"join names of {', '.join(LOSSES)} by +, with optional factors: cross_entropy+0.5*lovasz"
    if name not in LOSSES:
        raise ConfigError(f"loss {text!r} asks for {name!r}, which is unknown; {remedy}")
    try:
        factor = float(number) if star else 1.0
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ConfigError(f"loss {text!r} has the factor {number!r}, which is not a number above 0; {remedy}")
    return factor, name


def _cross_entropy(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    return reduction.cross_entropy(logits, mask, "sum") / reduction.divisor_of(mask)


# Kornia's focal_loss is the same, but with class weights it builds tensors of all classes: 101 ms instead of 14 ms on
# one core, forward and backward, at (4, 11, 240, 320).
def _focal(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    surprise = F.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    missed = -torch.expm1(-surprise)  # 1 - probability of the truth
    return (missed**2 * surprise * reduction.pixel_weights(mask)).sum() / reduction.divisor_of(mask)


# Kornia's dice_loss averages over absent classes too before its release 0.9 (0.784 instead of 0.713 with 3 of 4
# classes present), and returns 1 for ignored pixels only.
def _dice(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    truth = _one_hot(mask, logits.shape[1])
    probability = logits.softmax(1) * (mask != IGNORE_INDEX)[:, None]
    overlap = (probability * truth).sum((0, 2, 3))
    pixels = truth.sum((0, 2, 3))
    return _mean_of_present(1 - 2 * overlap / (probability.sum((0, 2, 3)) + pixels).clamp(min=1), pixels)


# Kornia's lovasz_softmax_loss has no ignore_index, averages over absent classes too, is NaN without pixels, and takes
# the Jaccard steps as float32 differences: with 300,000 pixels the median gradient is off by 0.5 percent.
def _lovasz(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    truth = _one_hot(mask, logits.shape[1]).movedim(1, 0).flatten(1)  # (classes, pixels)
    probability = logits.softmax(1).movedim(1, 0).flatten(1)
    # Ignored pixels have error 0: they are sorted behind every wrong pixel, and change nothing.
    errors = torch.where(truth, 1 - probability, probability) * (mask != IGNORE_INDEX).flatten()
    return _mean_of_present((errors * _jaccard_growth(errors.detach(), truth)).sum(1), truth.sum(1))


def _jaccard_growth(errors: Tensor, truth: Tensor) -> Tensor:
    """How the Jaccard loss of each class grows with each pixel, if pixels become wrong from the largest error on.

    It is the gradient of the Lovász extension, float (classes, pixels), for bool ``truth`` of that shape.
    """
    order = _descending(errors)
    return torch.empty_like(errors).scatter_(1, order, _jaccard_steps(truth.gather(1, order), errors.dtype))


def _descending(values: Tensor) -> Tensor:
    """Order of each row of (rows, columns) of values from 0 to 1, the largest first, int64.

    On a CPU values that are equal in 16 bits keep their order. The Lovász loss and its gradient are then those of
    errors that differ by 8e-6 at most; the growths of a class sum up to 1, so the loss differs by 2e-5 at most.
    """
    if values.device.type == "cpu":
        # NumPy sorts 16 bits by counting, on every processor, and floats by comparing.
        falling = ((1 - values) * 65535).round().to(torch.uint16).numpy()
        return torch.from_numpy(np.argsort(falling, axis=1, kind="stable"))
    return values.argsort(dim=1, descending=True)


def _jaccard_steps(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """The growth in the order in which pixels become wrong, for bool (classes, pixels) in that order.

    This is the difference of neighbors in algorithm 1 of Berman et al., rearranged to avoid cancellation.
    """
    pixels = truth.sum(1, keepdim=True, dtype=torch.int32)
    missed = truth.cumsum(1, dtype=torch.int32)
    wrong = torch.arange(1, truth.shape[1] + 1, dtype=torch.int32, device=truth.device)
    intersection = (pixels - missed).to(dtype)
    union = (pixels + wrong - missed).to(dtype)
    return torch.where(truth, 1 / union, intersection / (union * (union - 1)).clamp(min=1))


def _ohem(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    return _cross_entropy(logits, mask.where(_hard(logits.detach(), mask), IGNORE_INDEX), reduction)


def _hard(logits: Tensor, mask: Tensor) -> Tensor:
    """Pixels whose true class has a probability below 0.7, at least the hardest quarter; bool (N, H, W)."""
    counted = mask != IGNORE_INDEX
    surprise = F.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    ranked = surprise.masked_fill(~counted, -1).flatten().sort(descending=True).values
    least = (counted.sum() + _HARD_SHARE - 1) // _HARD_SHARE
    last = ranked.gather(0, (least - 1).clamp(min=0).reshape(1))
    easy = (surprise <= -math.log(_HARD_PROBABILITY)) & (surprise < last)
    return counted & ~easy  # NaN counts as hard, so that it shows in the loss


def _boundary(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    factors = 1 + _BOUNDARY_WEIGHT * _nearness(mask)
    return (reduction.cross_entropy(logits, mask, "none") * factors).sum() / reduction.divisor_of(mask, factors)


def _nearness(mask: Tensor) -> Tensor:
    """exp(-d^2 / (2 sigma^2)) of the distance d to the nearest boundary pixel, float32 (N, H, W).

    A boundary pixel has another class among its eight neighbors. Ignored pixels have no class.
    """
    counted, classes = mask != IGNORE_INDEX, mask.to(torch.float32)
    highest = F.max_pool2d(classes.masked_fill(~counted, -1), 3, stride=1, padding=1)
    lowest = -F.max_pool2d(-classes, 3, stride=1, padding=1)  # ignore_index, 255, is above every class
    near = (counted & (highest != lowest)).to(torch.float32)
    return _spread(_spread(near, 1), 2)  # a Gaussian is separable into rows and columns


def _spread(near: Tensor, dim: int) -> Tensor:
    """Maximum along one axis of values that fade with their distance."""
    size, reach = near.shape[dim], _BOUNDARY_REACH
    padded = F.pad(near, (reach, reach) if dim == 2 else (0, 0, reach, reach))
    for offset in range(1, reach + 1):
        both = torch.maximum(padded.narrow(dim, reach - offset, size), padded.narrow(dim, reach + offset, size))
        near = torch.maximum(near, both * math.exp(-(offset**2) / (2 * _BOUNDARY_SIGMA**2)))
    return near


def _one_hot(mask: Tensor, classes: int) -> Tensor:
    """Bool (N, classes, H, W); False where ignored."""
    return mask[:, None] == torch.arange(classes, device=mask.device)[:, None, None]


def _mean_of_present(losses: Tensor, pixels: Tensor) -> Tensor:
    """Mean of the losses (classes,) over the classes that have pixels; 0 if none has."""
    present = pixels > 0
    return (losses * present).sum() / present.sum().clamp(min=1)


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Reduction], Tensor]] = MappingProxyType(
    {
        "cross_entropy": _cross_entropy,
        "focal": _focal,
        "dice": _dice,
        "lovasz": _lovasz,
        "ohem": _ohem,
        "boundary": _boundary,
    }
)
"""Losses by name. Each takes logits (N, classes, H, W), float32 or float64, a mask and a reduction to a scalar.

cross_entropy: class-weighted. focal: class-weighted, times (1 - probability)^2. dice: 1 - soft Dice, mean over the
classes present in the batch. lovasz: the Jaccard loss's convex extension, mean over the classes present in the batch.
ohem: cross entropy of the pixels whose true class has a probability below 0.7, at least the hardest quarter (with
all ties). boundary: cross entropy times 1 + 10 exp(-d^2 / 50), where d is the distance in pixels to the nearest
boundary between two classes.
"""
