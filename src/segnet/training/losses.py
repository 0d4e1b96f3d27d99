"""The losses that a network can be trained with, alone or as a sum such as ``cross_entropy+0.5*lovasz``.

Sources, beside the published code's cross entropy (caffe-segnet, softmax_loss_layer.cpp):
focal, Lin et al., Focal Loss for Dense Object Detection, 2017;
dice, Milletari et al., V-Net, 2016;
lovasz, Berman et al., The Lovász-Softmax Loss, 2018;
ohem, Shrivastava et al., Training Region-based Object Detectors with Online Hard Example Mining, 2016, as for pixels in
HRNet-Semantic-Segmentation, lib/core/criterion.py (a threshold, and a least number that is kept);
boundary, Ronneberger et al., U-Net, 2015, equation 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.labels import IGNORE_INDEX

__all__ = ["LOSSES", "Divisor", "Loss", "Weighing", "check_loss", "make_loss"]

Divisor = Literal["pixels", "weights"]

_HARD_PROBABILITY = 0.7  # HRNet's default
_HARD_SHARE = 4  # HRNet keeps 131,072 pixels at least: a quarter of its 1024x512 crop
_BOUNDARY_WEIGHT = 10.0  # U-Net's w0
_BOUNDARY_SIGMA = 5.0  # pixels; U-Net's
_BOUNDARY_REACH = 15  # pixels, three sigma; beyond, the weight would still grow by at most 0.11


def check_loss(text: str) -> None:
    """See that ``text`` names a loss.

    Raises:
        ConfigError: an unknown name, a factor that is no number above 0, or an empty part.
    """
    _parse(text)


def make_loss(
    text: str,
    weights: Tensor,
    *,
    divisor: Divisor = "pixels",
    label_smoothing: float = 0.0,
    mean_over_processes: Callable[[Tensor], Tensor] = lambda amount: amount,
) -> Loss:
    """Build a loss.

    Gradients are averaged over processes. So that the result is the loss of the whole batch, however its pixels are
    spread over the processes, cross_entropy, focal and boundary divide by the mean of their divisors. Dice and lovasz
    are of each process's own pixels, and ohem chooses among them; these depend on how the batch is spread.

    Args:
        text: names of ``LOSSES`` joined by ``+``, each with a factor in front if wanted: ``cross_entropy+0.5*lovasz``.
        weights: (classes,), of the classes; dice and lovasz take all classes alike and leave them out.
        divisor: the sum over pixels is divided by their number (``pixels``), as the published code does, or by the sum
            of their weights (``weights``), as PyTorch does, which changes with the batch.
        label_smoothing: share of the target spread over all classes, in cross_entropy, ohem and boundary.
        mean_over_processes: takes a scalar to its mean over all processes.

    Raises:
        ConfigError: the text is not understood, the divisor is unknown, or the share is not in [0, 1).
    """
    if divisor not in get_args(Divisor):
        raise ConfigError(f"loss divisor {divisor!r} is unknown; choose one of {', '.join(get_args(Divisor))}")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"label_smoothing={label_smoothing} is not possible; give 0 to below 1")
    return Loss(_parse(text), Weighing(weights, divisor, label_smoothing, mean_over_processes))


@dataclass(frozen=True, eq=False)
class Weighing:
    """How the losses of pixels become one number; ``make_loss`` says what the fields are."""

    weights: Tensor
    divisor: Divisor
    label_smoothing: float
    mean_over_processes: Callable[[Tensor], Tensor]

    def of_pixels(self, mask: Tensor) -> Tensor:
        """Weight of each pixel's class, (N, H, W); 0 where void."""
        counted = mask != IGNORE_INDEX
        return self.weights[mask.where(counted, 0)] * counted

    def amount(self, mask: Tensor, factors: Tensor | float = 1.0) -> Tensor:
        """What a sum over pixels is divided by, a scalar above 0; ``factors`` are further weights of the pixels."""
        own = (mask != IGNORE_INDEX).sum() if self.divisor == "pixels" else (self.of_pixels(mask) * factors).sum()
        mean = self.mean_over_processes(own.to(self.weights.dtype))
        return mean.where(mean > 0, 1)

    def cross_entropy(self, logits: Tensor, mask: Tensor, reduction: str) -> Tensor:
        """Weighted and smoothed cross entropy of each pixel (``none``), 0 where void, or its ``sum``."""
        return F.cross_entropy(
            logits,
            mask,
            weight=self.weights,
            ignore_index=IGNORE_INDEX,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
        )


class Loss(nn.Module):
    """A weighted sum of losses; ``make_loss`` builds it.

    ``forward`` takes logits (N, classes, H, W) of any floating type and an int64 mask (N, H, W) with void 255, and
    gives a float32 scalar, computed in float32 (both float64 if the logits are). Void alone gives 0, with zero
    gradients.
    """

    weights: Tensor

    def __init__(self, terms: tuple[tuple[float, str], ...], weighing: Weighing) -> None:
        super().__init__()
        self.terms = terms
        self.divisor = weighing.divisor
        self.label_smoothing = weighing.label_smoothing
        self.mean_over_processes = weighing.mean_over_processes
        self.register_buffer("weights", weighing.weights, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor) -> Tensor:
        """Loss of one batch, a scalar."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        weights = self.weights.to(logits.dtype)
        weighing = Weighing(weights, self.divisor, self.label_smoothing, self.mean_over_processes)
        return torch.stack([factor * LOSSES[name](logits, mask, weighing) for factor, name in self.terms]).sum()


def _parse(text: str) -> tuple[tuple[float, str], ...]:
    """``a+0.5*b`` -> ((1.0, "a"), (0.5, "b"))."""
    return tuple(_parse_term(part.strip(), text) for part in text.split("+"))


def _parse_term(part: str, text: str) -> tuple[float, str]:
    number, star, name = part.rpartition("*")
    name = name.strip()
    remedy = f"write names of {', '.join(LOSSES)}, joined by +, with a factor if wanted: cross_entropy+0.5*lovasz"
    if name not in LOSSES:
        raise ConfigError(f"loss {text!r} asks for {name!r}, which is unknown; {remedy}")
    try:
        factor = float(number) if star else 1.0
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise ConfigError(f"loss {text!r} has the factor {number!r}, which is no number above 0; {remedy}")
    return factor, name


def _cross_entropy(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    return weighing.cross_entropy(logits, mask, "sum") / weighing.amount(mask)


# Kornia's focal_loss gives the same, but with class weights it builds maps of all classes: 101 ms for 14 ms of one
# core, forward and backward, at (4, 11, 240, 320).
def _focal(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    surprise = F.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    missed = -torch.expm1(-surprise)  # 1 - probability of the truth
    return (missed**2 * surprise * weighing.of_pixels(mask)).sum() / weighing.amount(mask)


# Kornia's dice_loss averages over absent classes too before its release 0.9 (0.784 for 0.713 with 3 of 4 classes
# present), and gives 1 for void alone.
def _dice(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    truth = _one_hot(mask, logits.shape[1])
    probability = logits.softmax(1) * (mask != IGNORE_INDEX)[:, None]
    overlap = (probability * truth).sum((0, 2, 3))
    pixels = truth.sum((0, 2, 3))
    return _mean_of_present(1 - 2 * overlap / (probability.sum((0, 2, 3)) + pixels).clamp(min=1), pixels)


# Kornia's lovasz_softmax_loss knows no void, averages over absent classes too, is NaN without pixels, and takes the
# steps of the Jaccard index as differences in float32: of 300,000 pixels the median gradient is wrong by 0.5 percent.
def _lovasz(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    truth = _one_hot(mask, logits.shape[1]).movedim(1, 0).flatten(1)  # (classes, pixels)
    probability = logits.softmax(1).movedim(1, 0).flatten(1)
    # Void has error 0: it stands behind every pixel that is wrong, and changes nothing.
    errors = torch.where(truth, 1 - probability, probability) * (mask != IGNORE_INDEX).flatten()
    errors, order = errors.sort(dim=1, descending=True)
    steps = _jaccard_steps(truth.gather(1, order), errors.dtype)
    return _mean_of_present((errors * steps).sum(1), truth.sum(1))


def _jaccard_steps(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """By how much the Jaccard loss of a class grows as each further pixel is wrong, for bool (classes, pixels).

    The difference of neighbors in Berman et al.'s algorithm 1, worked out so that nothing cancels.
    """
    pixels = truth.sum(1, keepdim=True)
    intersection = (pixels - truth.cumsum(1)).to(dtype)
    union = (pixels + (~truth).cumsum(1)).to(dtype)
    return torch.where(truth, 1 / union, intersection / (union * (union - 1)).clamp(min=1))


def _ohem(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    return _cross_entropy(logits, mask.where(_hard(logits.detach(), mask), IGNORE_INDEX), weighing)


def _hard(logits: Tensor, mask: Tensor) -> Tensor:
    """Pixels whose truth has a probability below 0.7, and in any case the hardest quarter; bool (N, H, W)."""
    counted = mask != IGNORE_INDEX
    surprise = F.cross_entropy(logits, mask, ignore_index=IGNORE_INDEX, reduction="none")
    ranked = surprise.masked_fill(~counted, -1).flatten().sort(descending=True).values
    least = (counted.sum() + _HARD_SHARE - 1) // _HARD_SHARE
    last = ranked.gather(0, (least - 1).clamp(min=0).reshape(1))
    easy = (surprise <= -math.log(_HARD_PROBABILITY)) & (surprise < last)
    return counted & ~easy  # what is not a number is not easy, and shows


def _boundary(logits: Tensor, mask: Tensor, weighing: Weighing) -> Tensor:
    factors = 1 + _BOUNDARY_WEIGHT * _nearness(mask)
    return (weighing.cross_entropy(logits, mask, "none") * factors).sum() / weighing.amount(mask, factors)


def _nearness(mask: Tensor) -> Tensor:
    """exp(-d^2 / (2 sigma^2)) of the distance d to the nearest boundary pixel, float32 (N, H, W).

    A boundary pixel touches, of its eight neighbors, one of another class; void is no class.
    """
    counted, classes = mask != IGNORE_INDEX, mask.to(torch.float32)
    highest = F.max_pool2d(classes.masked_fill(~counted, -1), 3, stride=1, padding=1)
    lowest = -F.max_pool2d(-classes, 3, stride=1, padding=1)  # void, 255, is above every class
    near = (counted & (highest != lowest)).to(torch.float32)
    return _spread(_spread(near, 1), 2)  # the Gaussian of a distance is a product over rows and columns


def _spread(near: Tensor, dim: int) -> Tensor:
    """The largest value along one axis, each fading with its distance."""
    size, reach = near.shape[dim], _BOUNDARY_REACH
    padded = F.pad(near, (reach, reach) if dim == 2 else (0, 0, reach, reach))
    for offset in range(1, reach + 1):
        both = torch.maximum(padded.narrow(dim, reach - offset, size), padded.narrow(dim, reach + offset, size))
        near = torch.maximum(near, both * math.exp(-(offset**2) / (2 * _BOUNDARY_SIGMA**2)))
    return near


def _one_hot(mask: Tensor, classes: int) -> Tensor:
    """Bool (N, classes, H, W); nowhere true where void."""
    return mask[:, None] == torch.arange(classes, device=mask.device)[:, None, None]


def _mean_of_present(losses: Tensor, pixels: Tensor) -> Tensor:
    """Mean of the (classes,) losses over the classes that have pixels; 0 if none has."""
    present = pixels > 0
    return (losses * present).sum() / present.sum().clamp(min=1)


LOSSES: Mapping[str, Callable[[Tensor, Tensor, Weighing], Tensor]] = MappingProxyType(
    {
        "cross_entropy": _cross_entropy,
        "focal": _focal,
        "dice": _dice,
        "lovasz": _lovasz,
        "ohem": _ohem,
        "boundary": _boundary,
    }
)
"""Takes logits (N, classes, H, W), float32 or float64, a mask and the weighing to a scalar.

cross_entropy: class-weighted. focal: class-weighted, times (1 - probability)^2. dice: 1 - soft Dice, mean over the
classes present in the batch. lovasz: the Jaccard loss's convex extension, mean over the classes present in the batch.
ohem: the cross entropy of the pixels whose truth has a probability below 0.7, at least of the hardest quarter (and of
all that tie with its last). boundary: the cross entropy times 1 + 10 exp(-d^2 / 50), d being the distance in pixels to
the nearest place where two classes touch.
"""
