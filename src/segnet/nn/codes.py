"""Max-pooling that remembers where each maximum was, in two bits, and the unpooling that puts it back there.

SegNet, section 3 (https://arxiv.org/abs/1511.00561): two bits for each 2x2 window are all the decoder needs of the
encoder. The two operations are each other's backward pass, so the code is also all that training keeps of them.

A position in a window is row * 2 + column, 0 to 3 in raster order. `segnet.nn.packing` puts four into each byte.

`segnet.nn.kernels` computes both. Exporters get the form of `segnet.nn.unpooling`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from segnet.errors import ConfigError, ShapeError
from segnet.nn.kernels import Layout, gather, pool, scatter
from segnet.nn.packing import is_channels_last, pack, packed_length, unpack
from segnet.nn.unpooling import Windows, is_tracing, portable_pool, portable_unpool, repeated

__all__ = ["COMPILES", "TWO_BY_TWO", "is_exporting", "max_pool", "max_unpool", "require_compiling", "require_windows"]

TWO_BY_TWO = Windows(ceil_mode=True)
"""SegNet's windows: 2x2 pixels, those at the end of an odd side smaller."""

COMPILES = torch.__version__ >= "2.12"  # a TorchVersion, which compares numbers
"""Whether `torch.compile` can be used. Before PyTorch 2.12 it says that it exports (its issue 176347), so it would
spread the gradients of equal maxima, and for processors with AVX-512 it writes C++ of these operations, forward and
backward, that no compiler takes."""


def require_compiling(flag: str) -> None:
    """Refuse `torch.compile` where it cannot be used.

    Args:
        flag: that asks for it, for the message.

    Raises:
        ConfigError: PyTorch is older than 2.12.
    """
    if not COMPILES:
        raise ConfigError(f"{flag} needs PyTorch 2.12, not {torch.__version__}; update it, or leave {flag} out")


def require_windows(windows: Windows) -> None:
    """Refuse windows in which a position does not replace an index.

    Raises:
        ConfigError: they are of another type, overlap, or have one pixel or more than 256; or `torch.jit.trace` runs,
            which would fix the number of some.
    """
    if not isinstance(windows, Windows):
        raise ConfigError(
            f"windows={windows!r} is not possible; give segnet.nn.unpooling.Windows, or take segnet.nn.MaxPool2d for a "
            "kernel size"
        )
    if windows.refusal:
        raise ConfigError(f"{windows.refusal}; take nn.MaxPool2d and nn.MaxUnpool2d, which have indices")
    if is_tracing() and windows.ceil_mode and (any(windows.padding) or windows.stride != windows.kernel):
        raise ConfigError("torch.jit.trace takes no ceil_mode with padding or gaps between windows; use torch.export")


def is_exporting() -> bool:
    """Whether `torch.export` or `torch.jit.trace` runs, not `torch.compile`, whose gradients must be eager code's."""
    exporting = torch.compiler.is_exporting() and (COMPILES or not torch.compiler.is_dynamo_compiling())
    return exporting or is_tracing()


def max_pool(x: Tensor, windows: Windows = TWO_BY_TWO) -> tuple[Tensor, Tensor]:
    """Take the maximum of every 2x2 window, and remember where it was.

    Equal to `F.max_pool2d(x, 2, 2, ceil_mode=True)` bit for bit, and so with other windows. Of equal maxima the first
    in raster order counts; a NaN beats every number, and the last NaN of a window counts; -inf is an ordinary value.
    `torch.compile` keeps all this but the sign of a zero and the choice among several NaN. `torch.vmap` and the
    gradients of `torch.func` work, too; those in forward mode in eager code only.

    Args:
        x: any floating dtype, (N, C, H, W), no side but N may be 0. Contiguous and channels_last are kept.
        windows: a ``segnet.nn.unpooling.Windows``; they do not overlap, and have 2 to 256 pixels.

    Returns:
        values: (N, C, h, w) with h = ceil(H/2) and w = ceil(W/2), in the dtype of `x`.
        code: uint8 (N, C, ceil(h*w/4)), to be handed to `max_unpool` as it is; twice as much for windows of more than
            4 pixels, four times for more than 16. In `torch.export` and `torch.jit.trace` it is the positions
            themselves, (N, C, h, w) in the dtype of `x`.

    Raises:
        ShapeError: `x` is not such a tensor.
        ConfigError: `windows` are not such windows.

    Example:
        >>> values, code = max_pool(torch.tensor([[[[1.0, 5.0, 2.0]]]]))
        >>> max_unpool(values, code, size=(1, 3))
        tensor([[[[0., 5., 2.]]]])
    """
    _check_map("x", x)
    require_windows(windows)
    if is_exporting():
        return portable_pool(x, windows)
    return _pool(x, windows)


def max_unpool(values: Tensor, code: Tensor, size: tuple[int, int], windows: Windows = TWO_BY_TWO) -> Tensor:
    """Put every value where `max_pool` found the maximum, and zero everywhere else.

    Equal to `F.max_unpool2d` bit for bit; in `torch.export` and `torch.jit.trace` only as far as no odd side is above
    4187 pixels. The code may be used any number of times, with any values.

    Args:
        values: any floating dtype, (N, C, h, w). Contiguous and channels_last are kept.
        code: what `max_pool` returned for a map of this size. If that had fewer channels, C being a multiple of them,
            they repeat in turn.
        size: (H, W) of the pooled map and of the result: 2h or 2h-1, and 2w or 2w-1.
        windows: of the pooling.

    Returns:
        (N, C, H, W) in the dtype of `values`.

    Raises:
        ShapeError: `values`, `code` and `size` do not belong together.
        ConfigError: `windows` are not those of a pooling with codes.
    """
    _check_map("values", values)
    require_windows(windows)
    if is_exporting():
        return portable_unpool(values, code, size, windows)
    _check_code(values, code, size, windows)
    code = repeated(code, values.shape[1])
    return _unpool(values, code, Layout(size, windows, is_channels_last(values)))


def _check_map(name: str, x: Tensor) -> None:
    if x.dim() != 4 or not x.is_floating_point() or 0 in x.shape[1:]:
        raise ShapeError(
            f"{name} is {x.dtype} {tuple(x.shape)}: give a floating point tensor (N, C, H, W), no side empty but N"
        )


def _check_code(values: Tensor, code: Tensor, size: tuple[int, int], windows: Windows) -> None:
    n, c, h, w = values.shape
    if len(size) != 2 or windows.pooled(size) != (h, w):
        raise ShapeError(
            f"size {tuple(size)} does not fit values of {h}x{w}: give the (H, W) of the map that was pooled"
        )
    part = packed_length(h * w, windows.bits)
    fits = code.dim() == 3 and 0 < code.shape[1] <= c and c % code.shape[1] == 0 and code.shape[::2] == (n, part)
    if not fits or code.dtype != torch.uint8:
        raise ShapeError(
            f"code is {code.dtype} {tuple(code.shape)}, but values of {tuple(values.shape)} need torch.uint8 "
            f"{(n, c, part)}: give the code that max_pool returned for a map of this size"
        )


_Dims = tuple[int | None, ...]
"""For each argument of a function, which axis ``torch.vmap`` maps over; None: it is the same for all."""


class _Pool(Function):
    @staticmethod
    def forward(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
        values, positions = pool(x, windows)
        return values, pack(positions, windows.bits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Windows], output: tuple[Tensor, Tensor]) -> None:
        (x, windows), (_, code) = inputs, output
        ctx.layout = Layout((x.shape[2], x.shape[3]), windows, is_channels_last(x))
        _keep(ctx, code)
        ctx.mark_non_differentiable(code)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: None) -> tuple[Tensor, None]:
        return _unpool(grad, ctx.saved_tensors[0], ctx.layout), None

    @staticmethod
    def vmap(info: Any, dims: _Dims, x: Tensor, windows: Windows) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        (x,) = _fold(info.batch_size, dims, x)
        values, code = _pool(x, windows)
        return (_unfold(info.batch_size, values), _unfold(info.batch_size, code)), (0, 0)


class _Linear(Function):
    """A function of a map, a code and its layout. Each of the two has the other as its gradient."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Layout], output: Tensor) -> None:
        _, code, ctx.layout = inputs
        _keep(ctx, code)


class _Unpool(_Linear):
    @staticmethod
    def forward(values: Tensor, code: Tensor, layout: Layout) -> Tensor:
        positions = unpack(code, (values.shape[2], values.shape[3]), layout.windows.bits)
        return scatter(values, positions, layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _gather(grad, ctx.saved_tensors[0], ctx.layout), None, None

    @staticmethod
    def vmap(info: Any, dims: _Dims, values: Tensor, code: Tensor, layout: Layout) -> tuple[Tensor, int]:
        values, code = _fold(info.batch_size, dims, values, code)
        return _unfold(info.batch_size, _unpool(values, code, layout)), 0


class _Gather(_Linear):
    """Take the values at the remembered positions."""

    @staticmethod
    def forward(x: Tensor, code: Tensor, layout: Layout) -> Tensor:
        return gather(x, unpack(code, layout.windows.pooled(layout.size), layout.windows.bits), layout)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _unpool(grad, ctx.saved_tensors[0], ctx.layout), None, None

    @staticmethod
    def vmap(info: Any, dims: _Dims, x: Tensor, code: Tensor, layout: Layout) -> tuple[Tensor, int]:
        x, code = _fold(info.batch_size, dims, x, code)
        return _unfold(info.batch_size, _gather(x, code, layout)), 0


class _DualPool(_Pool):
    """Pooling with gradients in forward mode, too. `torch.compile` takes no function that has them."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> tuple[Tensor, None]:
        return _gather(tangent, ctx.saved_tensors[0], ctx.layout), None


class _DualUnpool(_Unpool):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _unpool(tangent, ctx.saved_tensors[0], ctx.layout)


class _DualGather(_Gather):
    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _gather(tangent, ctx.saved_tensors[0], ctx.layout)


def _keep(ctx: Any, code: Tensor) -> None:
    ctx.save_for_backward(code)
    if not torch.compiler.is_compiling():
        ctx.save_for_forward(code)


def _fold(count: int, dims: _Dims, *tensors: Tensor) -> list[Tensor]:
    """Tensors whose mapped axis has become part of the batch axis."""
    firsts = [
        each.expand(count, *each.shape) if dim is None else each.movedim(dim, 0)
        for each, dim in zip(tensors, dims, strict=False)
    ]
    return [each.flatten(0, 1) for each in firsts]


def _unfold(count: int, x: Tensor) -> Tensor:
    return x.reshape(count, len(x) // count, *x.shape[1:])


def _apply(in_compiler: Any, in_eager_code: Any, *arguments: Any) -> Any:
    """The result of the function that can be applied here."""
    return (in_compiler if torch.compiler.is_compiling() else in_eager_code).apply(*arguments)


def _pool(x: Tensor, windows: Windows) -> tuple[Tensor, Tensor]:
    values, code = _apply(_Pool, _DualPool, x, windows)
    return values, code


def _unpool(values: Tensor, code: Tensor, layout: Layout) -> Tensor:
    x: Tensor = _apply(_Unpool, _DualUnpool, values, code, layout)
    return x


def _gather(x: Tensor, code: Tensor, layout: Layout) -> Tensor:
    values: Tensor = _apply(_Gather, _DualGather, x, code, layout)
    return values
