"""Batch norms for pretrained weights that have none: they leave the encoder's features as they were learned.

VGG16's published weights are of a network without batch norm, SegNet's encoder has one behind each convolution. A new
batch norm brings every channel to mean 0 and variance 1. That cuts the rectified features anew: in the third stage of
VGG16 a channel is then active in half of the pixels instead of an eighth. Here scale and shift of each batch norm are
measured so that it undoes its own normalization. Only the mean deviation of a layer becomes 1, which rectification,
max-pooling and the next batch norm do not notice; VGG16's own maps have deviations of up to 170.

Source: the idea of initializing by the statistics of data is that of Mishkin and Matas, "All you need is a good init"
(2016), who use it for random filters.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from segnet.data.dataset import SegmentationDataset
from segnet.models.segnet import SegNet, normed_convolutions
from segnet.nn.modes import in_evaluation

__all__ = ["fit_batch_norms"]

log = logging.getLogger("segnet")

_IMAGES = 8
_LARGEST = (480, 640)  # of the part of an image that is looked at


@torch.no_grad()
def fit_batch_norms(model: SegNet, data: SegmentationDataset) -> bool:
    """Fit new batch norms of a pretrained encoder to images, so that its features stay as they are.

    Args:
        model: Changed in place, if its encoder is a chain of convolutions whose batch norms are all new.
        data: Some of its images are read.

    Returns:
        Whether the batch norms were fitted.

    Raises:
        DataError: An image cannot be read.
    """
    units = [(conv, norm) for _, _, conv, norm in normed_convolutions(model.encoder)]
    if model.config.encoder.kind != "convolutions" or not units or not all(_is_new(norm) for _, norm in units):
        return False
    crops = _crops(data)
    with in_evaluation(model), _fitting(units):
        model(crops.contiguous(memory_format=torch.channels_last))
    log.info("fitted %d new batch norms to %d images, so that they keep the learned features", len(units), len(crops))
    return True


def _is_new(norm: nn.BatchNorm2d) -> bool:
    assert norm.running_mean is not None
    return not norm.running_mean.any()


@contextmanager
def _fitting(units: list[tuple[nn.Conv2d, nn.BatchNorm2d]]) -> Iterator[None]:
    """Fit each batch norm when its input passes. Each bias follows the maps before it, which were divided."""
    divisor = 1.0

    def rescale(conv: nn.Module, _: tuple[Any, ...]) -> None:
        if isinstance(conv.bias, Tensor):
            conv.bias /= divisor

    def fit(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        nonlocal divisor
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(inputs[0].float(), (0, 2, 3), correction=0)
        deviation = (variance + norm.eps).sqrt()
        size = max(deviation.mean().item(), norm.eps)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(deviation / size)
        norm.bias.copy_(mean / size)
        divisor *= size

    hooks = [conv.register_forward_pre_hook(rescale) for conv, _ in units]
    hooks += [norm.register_forward_pre_hook(fit) for _, norm in units]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _crops(data: SegmentationDataset) -> Tensor:
    """(N, C, H, W): the middles of images from the whole data set, of the size that all of them have."""
    step = max(1, len(data) // _IMAGES)
    images = [cast("Tensor", data[index]["image"]) for index in range(0, len(data), step)[:_IMAGES]]
    height, width = (
        min(most, *(image.shape[axis] for image in images)) for axis, most in zip((1, 2), _LARGEST, strict=True)
    )
    crops = []
    for image in images:
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        crops.append(image[:, top : top + height, left : left + width])
    return torch.stack(crops)
