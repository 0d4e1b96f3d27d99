"""Whether a file that draws samples gives what PyTorch gives, as far as chance lets it be told.

Both draw as many, PyTorch with its own dropout. The variance that PyTorch is seen to have says how far apart the two
means may lie.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ModelError
from segnet.exporting.comparison import Comparison
from segnet.exporting.programs import Pipeline
from segnet.models.mc_dropout import dropouts
from segnet.runtimes.base import FileRuntime, Image, argmax

__all__ = ["compare_samples"]

_DRAWN = 32  # at least so many samples of each image on either side
_ROUNDING = 1e-6  # of a probability, squared: what is left where nothing is left to chance


def compare_samples(runtime: FileRuntime, network: Pipeline, name: str, image: Image) -> Comparison:
    """Run one batch through the file some times, and as often through the network in PyTorch with dropout.

    PyTorch's random numbers are the same every time, the file's are not; the caller's generator stays as it is.

    Args:
        runtime: the file.
        network: what it is to compute, in evaluation mode, with ``config.samples``.
        name: what the image shows.
        image: the batch.

    Raises:
        ModelError: the file gives another shape, or the same at each run.
    """
    samples = network.config.samples or 1
    runs = max(2, -(-_DRAWN // samples))
    means, variance = _drawn(network, image, runs, samples)
    found = [runtime.outputs(image) for _ in range(runs)]
    is_mask = network.config.output == "mask"
    wanted = [argmax(means[0]).shape if is_mask else means[0].shape, variance.shape[:1] + variance.shape[2:]]
    shapes = [output.shape for output in found[0]]
    if shapes != wanted:
        raise ModelError(f"the exported file gives {shapes} where PyTorch gives {wanted}; please report it")
    if variance.max() > _ROUNDING and np.array_equal(found[0][1], found[1][1]):
        raise ModelError("the exported file drops the same at each run; please report it; nothing was written")
    masks = [argmax(mean) for mean in means]
    labeled = [first if is_mask else argmax(first) for first, _ in found]
    uncertainty = float(np.mean([one for _, one in found]))
    expected = float(variance.mean()) * (samples - 1) / samples
    return Comparison(
        image=name,
        shape=image.shape,
        pixels=masks[0].size,
        agreement=_agreement(labeled, masks),
        repeat=_agreement(masks[1:] + masks[:1], masks),
        spread=(uncertainty + _ROUNDING) / (expected + _ROUNDING),
        excess=None if is_mask else _excess([first for first, _ in found], means, variance, runs * samples),
    )


@torch.no_grad()
def _drawn(network: Pipeline, image: Image, runs: int, samples: int) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """The mean probabilities of each run, and the variance over all samples: both (N, classes, H, W)."""
    places = dropouts(network.model).values()
    batch = torch.from_numpy(image)
    sums: list[Tensor] = []
    squares = torch.zeros(())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for place in places:
            place.train()
        for _ in range(runs):
            total = torch.zeros(())
            for _ in range(samples):
                sample = network.logits(batch).softmax(dim=1)
                total, squares = total + sample, squares + sample * sample
            sums.append(total)
        for place in places:
            place.eval()
    count = runs * samples
    mean = torch.stack(sums).sum(dim=0) / count
    variance = ((squares / count - mean * mean) * (count / (count - 1))).clamp_min(0.0)
    return [(total / samples).numpy() for total in sums], variance.numpy()


def _agreement(masks: list[NDArray[np.uint8]], others: list[NDArray[np.uint8]]) -> float:
    return float(np.mean([mask == other for mask, other in zip(masks, others, strict=True)]))


def _excess(found: list[NDArray[Any]], means: list[NDArray[Any]], variance: NDArray[Any], count: int) -> float:
    """The squared distance of the two means over the one that is expected, if both have the same distribution."""
    distance = np.mean(found, axis=0, dtype=np.float64) - np.mean(means, axis=0, dtype=np.float64)
    return float(np.mean(distance**2) / (variance.mean(dtype=np.float64) * 2 / count + _ROUNDING))
