"""The memory format of maps and filters that a network trains fastest in."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["pick_memory_format"]

_MOSTLY = 0.9


def pick_memory_format(model: nn.Module, device: torch.device) -> torch.memory_format:
    """``torch.channels_last``, or ``torch.contiguous_format`` for dense convolutions on a CPU that has AVX2 at most.

    There oneDNN's backward passes of dense filters are slow in channels_last. With the instruction sets limited to
    AVX2, a step of ``segnet`` took 25.3 s, and 17.8 s in contiguous_format; of ``segnet_basic`` 12.2 and 9.0 s. But one
    of ``segnet_light``, whose filters are 1x1 and depthwise, took 1.5 and 2.3 s.

    Args:
        model: the network.
        device: that it trains on.
    """
    limited = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    filters = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    dense = sum(each.weight.numel() for each in filters if each.groups == 1 and max(each.kernel_size) > 1)
    mostly_dense = dense > _MOSTLY * sum(each.weight.numel() for each in filters)
    return torch.contiguous_format if limited and mostly_dense else torch.channels_last
