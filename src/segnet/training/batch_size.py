"""The batch that fits the memory."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from segnet.data.dataset import SegmentationDataset
from segnet.models.segnet import SegNet
from segnet.system.hardware import memory
from segnet.training.settings import TrainConfig

__all__ = ["fit_batch"]

_LARGEST = 32
_MEMORY_SHARE = 0.4  # for tensors saved for the backward pass; gradients and temporaries take the rest
_STEPS_PER_EPOCH = 8  # at least, or the learning rate has nothing to schedule


def fit_batch(model: SegNet, data: SegmentationDataset, config: TrainConfig, device: torch.device) -> int:
    """Estimate how many images per step fit 40 % of the memory: 1 to 32, at most an eighth of the data set.

    The estimate counts the bytes that one image of the run's size saves for the backward pass.
    """
    sample = data[0]["image"]
    assert isinstance(sample, Tensor)
    size = config.augment.crop or (sample.shape[-2], sample.shape[-1])
    image = torch.rand(1, model.config.in_channels, *size)
    fits = int(_MEMORY_SHARE * _free_memory(device) / _saved_bytes(model, image))
    return max(1, min(fits, _LARGEST, len(data) // _STEPS_PER_EPOCH))


def _saved_bytes(model: SegNet, image: Tensor) -> int:
    """Bytes that the forward pass of one image saves for the backward pass."""
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    copy = deepcopy(model).cpu().eval()  # in training mode, batch norm needs more than one value per channel
    weights = {parameter.untyped_storage().data_ptr() for parameter in copy.parameters()}
    with saved_tensors_hooks(note, lambda tensor: tensor):
        copy(image).sum()
    return max(1, sum(size for address, size in saved.items() if address not in weights))


def _free_memory(device: torch.device) -> int:
    """Bytes that a step may use."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory()
