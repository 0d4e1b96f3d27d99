"""Positions of maxima as bits: four of two bits in each byte.

The h*w positions of a plane, in raster order, are cut into four quarters of q = ceil(h*w/4), and byte k of the code
holds positions k, k+q, k+2q and k+3q from its low bits up: packing and unpacking then only touch contiguous memory.
Positions of four bits are cut into halves, and one of eight bits is a byte.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["is_channels_last", "pack", "packed_length", "unpack"]


def pack(positions: Tensor, bits: int) -> Tensor:
    """Positions as a code.

    Args:
        positions: uint8 (N, C, h, w), each below 2**bits.
        bits: of each: 2, 4 or 8.

    Returns:
        uint8 (N, C, ``packed_length``), contiguous or channels_last as the positions are.
    """
    part = packed_length(positions.shape[2:].numel(), bits)
    flat = _resize(positions.flatten(2), 8 // bits * part, is_channels_last(positions))
    parts = [flat[:, :, k * part : (k + 1) * part] << bits * k for k in range(8 // bits)]
    return reduce(torch.bitwise_or, parts)


def unpack(code: Tensor, pooled: tuple[int, int], bits: int) -> Tensor:
    """Positions, uint8 (N, C, h, w), of a code, in its layout; ``pooled`` is (h, w)."""
    channels_last = code.stride(1) == 1
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=code.device)[:, None]
    if channels_last:
        flat = (code.transpose(1, 2)[:, None] >> shifts[:, None] & 2**bits - 1).flatten(1, 2).transpose(1, 2)
    else:
        flat = (code[:, :, None] >> shifts & 2**bits - 1).flatten(2)
    return _resize(flat, pooled[0] * pooled[1], channels_last).view(*code.shape[:2], *pooled)


def _resize(flat: Tensor, length: int, channels_last: bool) -> Tensor:
    """Pad or cut (N, C, length); unlike a slice, F.pad leaves torch.compile nothing to ask about the lengths."""
    change = length - flat.shape[2]
    if channels_last:  # F.pad keeps the layout of (N, length, C) only
        return F.pad(flat.transpose(1, 2), (0, 0, 0, change)).transpose(1, 2)
    return F.pad(flat, (0, change))


def is_channels_last(x: Tensor) -> bool:
    """Whether the channels of a map (N, C, H, W) are its innermost axis in memory."""
    # Strides decide, not is_contiguous: a map of 1x1 pixels is contiguous in both layouts, its unpooled map is not.
    return x.shape[1] > 1 and x.stride(3) >= x.shape[1] * x.stride(1)


def packed_length(windows: int, bits: int) -> int:
    """Bytes of the code of a plane: ceil(windows * bits / 8)."""
    return (windows + 8 // bits - 1) // (8 // bits)
