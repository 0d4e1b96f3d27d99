"""The arithmetic of pooling codes on plain tensors, without gradients: pool, scatter and gather.

Positions are uint8 (N, C, h, w) here; `segnet.nn.codes` packs them into bits and makes the operations differentiable.
PyTorch's own pooling runs inside; its int64 indices are gone before `pool` returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.nn.packing import is_channels_last
from segnet.nn.unpooling import Windows

__all__ = ["Layout", "gather", "pool", "scatter"]

_PIXELS_AT_ONCE = 2**20  # on the CPU; keeps the temporary buffers at 8 MB, and was the fastest of 2**18 to 2**24


class Layout(NamedTuple):
    """How a map was pooled: its size, its windows, and whether its channels are the innermost axis of its memory."""

    size: tuple[int, int]
    windows: Windows
    channels_last: bool


def pool(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    """The maximum of every window, and its position: row * columns of the window + column."""
    if is_channels_last(x) or not _in_runs(x):
        return _native_pool(x, windows)
    # On the CPU only the channels_last kernel is vectorised: turning planes there and back takes a third of the time.
    planes = x.reshape(1, x.shape[0] * x.shape[1], *x.shape[2:])
    pooled = x.new_empty((*x.shape[:2], *windows.pooled(_size(x))))  # autograd refuses to change a returned view
    values = pooled.view(1, planes.shape[1], *pooled.shape[2:])
    positions = torch.empty_like(values, dtype=torch.uint8)
    # Fewer planes would not fill the vectors of that kernel; so the buffers of large maps are larger.
    at_once = max(32, _PIXELS_AT_ONCE // x.shape[2:].numel())
    for start in range(0, planes.shape[1], at_once):
        part = slice(start, start + at_once)
        turned = planes[:, part].contiguous(memory_format=torch.channels_last)
        values[:, part], positions[:, part] = _native_pool(turned, windows)
    return pooled, positions.view(pooled.shape)


def scatter(values: Tensor, positions: Tensor, layout: Layout) -> Tensor:
    """Put every value at its position, and zero everywhere else: (N, C, h, w) -> (N, C, H, W)."""
    shape = torch.Size((*values.shape[:2], *layout.size))
    x, flat = _empty(values, shape, layout.channels_last).zero_(), _flatten(values, layout.channels_last)
    places = _flatten(x, layout.channels_last)
    for windows, pixels, index in _runs(positions, layout):
        places[pixels].index_copy_(0, index, flat[windows])
    return x


def gather(x: Tensor, positions: Tensor, layout: Layout) -> Tensor:
    """Take the value at each position: (N, C, H, W) -> (N, C, h, w)."""
    values, flat = _empty(x, positions.shape, layout.channels_last), _flatten(x, layout.channels_last)
    taken = _flatten(values, layout.channels_last)
    for windows, pixels, index in _runs(positions, layout):
        taken[windows] = flat[pixels].take(index)
    return values


def _native_pool(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    kernel, stride, padding, ceil_mode = windows
    values, index = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
    width = x.shape[3]
    offset = index.to(dtype := _offset_dtype(x.shape[2] * width))
    del index  # the largest of all buffers
    tops, lefts = _window_starts(_size(values), windows, x.device, dtype)
    starts = tops * width + lefts
    if x.is_cuda or torch.compiler.is_compiling():
        # Of windows that hold nothing but -inf, the channels_last kernel of CUDA gives index 0, and compiled code the
        # first place, even in the padding. The products are a clamp, at which PyTorch's compiler fails.
        inside = tops * (tops > 0) * width + lefts * (lefts > 0) if any(padding) else starts
        offset = torch.maximum(offset, inside)
    if kernel != (2, 2) or any(padding):
        rows, columns = offset // width - tops, offset % width - lefts
        return values, rows.mul_(kernel[1]).add_(columns).to(torch.uint8)
    offset -= starts
    # In a window the offsets are 0, 1, width and width + 1; in a map one pixel wide 0 and 1 are its two rows.
    row = offset > min(width - 1, 1)
    return values, offset.add_(row, alpha=2 - width).to(torch.uint8)


def _runs(positions: Tensor, layout: Layout) -> Iterator[tuple[slice, slice, Tensor]]:
    """Cut a flattened map into runs: its windows, its pixels, and which of these pixels are remembered (int64)."""
    n, c, h, w = positions.shape
    size, windows, channels_last = layout
    across, blocks, inner = windows.kernel[1], *((n, c) if channels_last else (n * c, 1))
    block = size[0] * size[1] * inner
    parts = _flatten(positions, channels_last).view(blocks, h, w, inner)
    at_once = max(1, _PIXELS_AT_ONCE // block) if _in_runs(positions) else blocks
    dtype = _offset_dtype(at_once * block)
    tops, lefts = _window_starts((h, w), windows, positions.device, dtype)
    starts = (tops * size[1] + lefts)[:, :, None] * inner + torch.arange(inner, device=positions.device, dtype=dtype)
    for start in range(0, blocks, at_once) if _in_runs(positions) else [0]:
        part = parts[start : start + at_once]
        row, column = (part >> 1, part & 1) if across == 2 else (part // across, part % across)
        index = row.to(dtype).mul_(size[1] * inner).add_(column.to(dtype), alpha=inner).add_(starts)
        index += torch.arange(len(part), device=positions.device, dtype=dtype)[:, None, None, None] * block
        places = slice(start * h * w * inner, (start + at_once) * h * w * inner)
        yield places, slice(start * block, (start + at_once) * block), index.view(-1).to(torch.int64)


def _in_runs(x: Tensor) -> bool:
    # In the caches of a CPU small pieces are faster, and no large buffer comes and goes; elsewhere one piece is best.
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _offset_dtype(pixels: int) -> torch.dtype:
    """Of offsets in so many pixels: int32, which is faster, where it holds them."""
    return torch.int32 if pixels < 2**31 else torch.int64


def _window_starts(
    pooled: tuple[int, int], windows: Windows, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Top row (h, 1) and left column (w,) of each window; with padding they may be below zero."""
    rows, columns = (
        torch.arange(count, device=device, dtype=dtype) * windows.stride[axis] - windows.padding[axis]
        for axis, count in enumerate(pooled)
    )
    return rows[:, None], columns


def _flatten(x: Tensor, channels_last: bool) -> Tensor:
    """All of `x` in the order of memory; with `channels_last` the channels are the innermost axis there."""
    return x.permute(0, 2, 3, 1).reshape(-1) if channels_last else x.reshape(-1)


def _empty(x: Tensor, shape: torch.Size, channels_last: bool) -> Tensor:
    """A map in the dtype of `x`; not a view, since autograd refuses to change a view that a function returns."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[2], x.shape[3]
