"""Cost of a network: weights, multiply-accumulates, and memory for codes and skip connections.

All of it is counted on the meta device, where tensors have shapes and no memory.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from itertools import chain

import torch
from torch.utils.flop_counter import FlopCounterMode

from segnet.models.encoders import Kept
from segnet.models.segnet import SegNet, SegNetConfig

__all__ = ["Cost", "cost_of"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Cost of a network.

    Attributes:
        parameters: how many numbers are learned.
        macs: multiply-accumulates of all convolutions (and matrix products) for one image.
        code_bytes: what one image's pooling codes take.
        kept_bytes: what one image's float32 maps take that the encoder keeps for the decoder to add.
    """

    parameters: int
    macs: int
    code_bytes: int
    kept_bytes: int


def cost_of(network: SegNet | SegNetConfig, size: tuple[int, int] = (360, 480)) -> Cost:
    """Count the cost of a network, on the meta device; the model is not changed.

    >>> cost_of(MODELS["segnet"]).code_bytes
    1321216

    Args:
        network: a model, or the settings of one.
        size: (H, W) of the image.

    Raises:
        ConfigError: the settings describe no network, or one around a module of the user's; give the model then.
    """
    model = _without_memory(network)
    kept: list[Kept] = []
    model.encoder.register_forward_hook(lambda _module, _inputs, output: kept.extend(output[1]))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(torch.empty(1, model.config.in_channels, *size, device="meta"))
    return Cost(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,
        code_bytes=sum(entry.code.nbytes for entry in kept if entry.code is not None),
        kept_bytes=sum(entry.features.nbytes for entry in kept if entry.features is not None),
    )


def _without_memory(network: SegNet | SegNetConfig) -> SegNet:
    """A float32 copy in evaluation mode on the meta device."""
    if isinstance(network, SegNetConfig):
        with torch.device("meta"):
            return SegNet(network).eval()
    # What deepcopy finds in its memo it does not copy.
    tensors = chain(network.parameters(), network.buffers())
    return deepcopy(network, {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}).float().eval()
