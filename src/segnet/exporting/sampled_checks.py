"""Statistical comparison of a file that draws Monte Carlo dropout samples with PyTorch.

Both draw equally many samples, PyTorch with its own dropout. The variance of PyTorch's samples gives the expected
distance of the two means.
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
from segnet.runtimes.base import FileRuntime, ImageBatch, argmax

__all__ = ["compare_samples"]

_LEAST_SAMPLES = 32  # of each image on either side
_ROUNDING = 1e-6  # of a probability, squared: differences that dropout does not cause


def compare_samples(runtime: FileRuntime, network: Pipeline, name: str, image: ImageBatch) -> Comparison:
    """Run one batch several times through the file, and equally often through the network in PyTorch with dropout.

    PyTorch's random numbers are the same every time, the file's are not. The caller's generator keeps its state.

    Args:
        runtime: the file.
        network: the network in PyTorch, in evaluation mode, with ``config.samples``.
        name: name of the image for the report.
        image: the batch.

    Raises:
        ModelError: the output has another shape, or is the same in each run.
    """
    samples = network.config.samples or 1
    runs = max(2, -(-_LEAST_SAMPLES // samples))
    means, variance = _draw_samples(network, image, runs, samples)
    outputs = [runtime.outputs(image) for _ in range(runs)]
    is_mask = network.config.output == "mask"
    expected_shapes = [argmax(means[0]).shape if is_mask else means[0].shape, variance.shape[:1] + variance.shape[2:]]
    shapes = [output.shape for output in outputs[0]]
    if shapes != expected_shapes:
        raise ModelError(f"the exported file gives {shapes} where PyTorch gives {expected_shapes}; please report it")
    if variance.max() > _ROUNDING and np.array_equal(outputs[0][1], outputs[1][1]):
        raise ModelError("the exported file drops the same at each run; please report it; nothing was written")
    masks = [argmax(mean) for mean in means]
    file_masks = [first if is_mask else argmax(first) for first, _ in outputs]
    uncertainty = float(np.mean([one for _, one in outputs]))
    expected = float(variance.mean()) * (samples - 1) / samples
    return Comparison(
        image=name,
        shape=image.shape,
        pixels=masks[0].size,
        agreement=_agreement(file_masks, masks),
        repeat=_agreement(masks[1:] + masks[:1], masks),
        spread=(uncertainty + _ROUNDING) / (expected + _ROUNDING),
        excess=None if is_mask else _excess([first for first, _ in outputs], means, variance, runs * samples),
    )


@torch.no_grad()
def _draw_samples(
    network: Pipeline, image: ImageBatch, runs: int, samples: int
) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    """The mean probabilities of each run, and the variance over all samples: both (N, classes, H, W)."""
    layers = dropouts(network.model).values()
    batch = torch.from_numpy(image)
    sums: list[Tensor] = []
    squares = torch.zeros(())
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed GPUs as well
        for layer in layers:
            layer.train()
        for _ in range(runs):
            total = torch.zeros(())
            for _ in range(samples):
                sample = network.logits(batch).softmax(dim=1)
                total, squares = total + sample, squares + sample * sample
            sums.append(total)
        for layer in layers:
            layer.eval()
    count = runs * samples
    mean = torch.stack(sums).sum(dim=0) / count
    variance = ((squares / count - mean * mean) * (count / (count - 1))).clamp_min(0.0)
    return [(total / samples).numpy() for total in sums], variance.numpy()


def _agreement(masks: list[NDArray[np.uint8]], others: list[NDArray[np.uint8]]) -> float:
    return float(np.mean([mask == other for mask, other in zip(masks, others, strict=True)]))


def _excess(outputs: list[NDArray[Any]], means: list[NDArray[Any]], variance: NDArray[Any], count: int) -> float:
    """Squared distance of the two means, divided by its expectation if both have the same distribution."""
    distance = np.mean(outputs, axis=0, dtype=np.float64) - np.mean(means, axis=0, dtype=np.float64)
    return float(np.mean(distance**2) / (variance.mean(dtype=np.float64) * 2 / count + _ROUNDING))
