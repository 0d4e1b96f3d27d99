"""Drop-in modules for ``nn.MaxPool2d(return_indices=True)`` and ``nn.MaxUnpool2d``, and both as functions."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index

from torch import Tensor, nn

from segnet.errors import ConfigError, ShapeError
from segnet.nn.codes import is_exporting, max_pool, max_unpool, require_windows
from segnet.nn.unpooling import Windows

__all__ = ["MaxPool2d", "MaxUnpool2d", "pool_windows", "unpool_windows", "windows_of"]

Side = int | tuple[int, int]


class MaxPool2d(nn.MaxPool2d):
    """``nn.MaxPool2d`` whose second result is a code, of 2, 4 or 8 bits a window, instead of int64 indices.

    Values and gradients equal those of ``nn.MaxPool2d`` bit for bit. The code goes to ``segnet.nn.MaxUnpool2d`` as it
    is; it is uint8, and in ``torch.export`` the positions themselves in the dtype of the input.

    Args:
        kernel_size, stride, padding, dilation, return_indices, ceil_mode: as ``nn.MaxPool2d`` takes them.

    Raises:
        ConfigError: with ``return_indices``, windows that overlap, are dilated, or have one pixel or more than 256.
    """

    def __init__(
        self,
        kernel_size: Side,
        stride: Side | None = None,
        padding: Side = 0,
        dilation: Side = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, return_indices, ceil_mode)
        if return_indices and _both(dilation) != (1, 1):
            raise ConfigError(f"dilation {dilation} is not possible with a code; take nn.MaxPool2d, which has indices")
        if return_indices:
            require_windows(windows_of(self))

    def forward(self, input: Tensor) -> Tensor | tuple[Tensor, Tensor]:  # noqa: A002
        """Pool a map, floating point (N, C, H, W) or (C, H, W).

        Returns:
            the maxima; with ``return_indices`` also the code.

        Raises:
            ShapeError: with ``return_indices``, ``input`` is no such map.
        """
        if not self.return_indices:
            maxima: Tensor = super().forward(input)
            return maxima
        return pool_windows(input, *windows_of(self))


class MaxUnpool2d(nn.MaxUnpool2d):
    """``nn.MaxUnpool2d`` that takes the code of ``segnet.nn.MaxPool2d`` instead of indices.

    Results and gradients equal those of ``nn.MaxUnpool2d`` bit for bit where it unpools to the size of the pooled map.
    To another size PyTorch puts values at other places than they were at; here they stay in their windows.

    Args:
        kernel_size, stride, padding: of the pooling, as ``nn.MaxUnpool2d`` takes them.
        ceil_mode: of the pooling; only programs of ``torch.export`` with dynamic sizes need it.

    Raises:
        ConfigError: windows that overlap, or have one pixel or more than 256.
    """

    def __init__(
        self, kernel_size: Side, stride: Side | None = None, padding: Side = 0, *, ceil_mode: bool = False
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.ceil_mode = ceil_mode
        require_windows(windows_of(self))

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:  # noqa: A002
        """Put every value where the maximum was, and zero everywhere else.

        Args:
            input: values, floating point (N, C, h, w) or (C, h, w).
            indices: the code of the pooling.
            output_size: (H, W) of the result, or its whole shape; None: the smallest map with such windows.

        Raises:
            ShapeError: ``input``, ``indices`` and ``output_size`` do not belong together.
        """
        windows = windows_of(self)
        size = _size(windows, input, output_size)
        return unpool_windows(input, indices, size, *windows)


def windows_of(module: nn.Module) -> Windows:
    """The windows of a max-pooling or max-unpooling module of PyTorch's or ours."""
    kernel, stride, padding = (_both(getattr(module, name)) for name in ("kernel_size", "stride", "padding"))
    return Windows(kernel, stride, padding, bool(getattr(module, "ceil_mode", False)))


def pool_windows(
    x: Tensor, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], ceil_mode: bool
) -> tuple[Tensor, Tensor]:
    """Pool a map (N, C, H, W) or (C, H, W); see ``segnet.max_pool``."""
    windows = Windows(kernel, stride, padding, ceil_mode)
    if x.dim() != 3:
        return max_pool(x, windows)
    values, code = max_pool(x[None], windows)
    return values[0], code[0]


def unpool_windows(
    values: Tensor,
    code: Tensor,
    size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    ceil_mode: bool,
) -> Tensor:
    """Unpool values (N, C, h, w) or (C, h, w) to (H, W); see ``segnet.max_unpool``."""
    windows = _fitting(Windows(kernel, stride, padding, ceil_mode), size, values)
    if values.dim() != 3:
        return max_unpool(values, code, size, windows)
    return max_unpool(values[None], code[None], size, windows)[0]


def _both(side: Side) -> tuple[int, int]:
    sides = side if isinstance(side, Sequence) else (side,)  # PyTorch takes a list of one number, and those of NumPy
    return index(sides[0]), index(sides[-1])


def _size(windows: Windows, values: Tensor, output_size: Sequence[int] | None) -> tuple[int, int]:
    if output_size is None:
        height, width = (
            (count - 1) * stride - 2 * padding + kernel
            for count, kernel, stride, padding in zip(values.shape[-2:], *windows[:3], strict=True)
        )
        return height, width
    if len(output_size) not in {2, values.dim()}:
        raise ShapeError(f"output_size {tuple(output_size)} is not possible; give (H, W), or the shape of the result")
    return output_size[-2], output_size[-1]


def _fitting(windows: Windows, size: tuple[int, int], values: Tensor) -> Windows:
    """The windows with the rounding that gives the size of the values."""
    if is_exporting() and not all(isinstance(side, int) for side in (*size, *values.shape[-2:])):
        return windows
    floor = windows._replace(ceil_mode=False)
    return floor if floor.pooled(size) == tuple(values.shape[-2:]) else windows._replace(ceil_mode=True)
