"""The encoder: convolutions and 2x2 max-pooling that remembers, in two bits a window, where its maximum was.

Sources: the authors' prototxt files (SegNet-Tutorial, Models/segnet_train.prototxt and
Models/segnet_basic_train.prototxt); weight names of torchvision's ``vgg16`` and ``vgg16_bn``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from segnet.ops import max_pool

__all__ = ["Encoder", "Pooled", "conv_unit"]


class Pooled(NamedTuple):
    """What the decoder gets to know of one pooling: nothing but the code and the size before it."""

    code: Tensor
    size: tuple[int, int]


class Encoder(nn.Module):
    """Stages of convolutions, each ended by a max-pooling.

    Args:
        in_channels: channels of the picture.
        widths: per stage, the output channels of each of its convolutions.
        kernel: side of the square filters; padding keeps the size.
        dropout: probability, applied after the pooling of ``dropout_stages``.
        dropout_stages: stage numbers, counted from 1 at full resolution.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[Sequence[int]],
        *,
        kernel: int,
        dropout: float,
        dropout_stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.dropouts = nn.ModuleList()
        for number, stage in enumerate(widths, start=1):
            self.stages.append(conv_stage(in_channels, stage, kernel=kernel, relu=True))
            self.dropouts.append(nn.Dropout(dropout) if number in dropout_stages else nn.Identity())
            in_channels = stage[-1]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Pooled]]:
        """From (N, C, H, W) to the deepest map and one ``Pooled`` per stage, shallowest first."""
        pooled = []
        for stage, dropout in zip(self.stages, self.dropouts, strict=True):
            x = stage(x)
            size = (x.shape[-2], x.shape[-1])
            x, code = max_pool(x)
            x = dropout(x)
            pooled.append(Pooled(code, size))
        return x, pooled


def conv_stage(in_channels: int, widths: Sequence[int], *, kernel: int, relu: bool) -> nn.Sequential:
    """Several ``conv_unit`` in a row."""
    inputs = [in_channels, *widths[:-1]]
    return nn.Sequential(*(conv_unit(i, o, kernel=kernel, relu=relu) for i, o in zip(inputs, widths, strict=True)))


def conv_unit(in_channels: int, out_channels: int, *, kernel: int, relu: bool) -> nn.Sequential:
    """Convolution, batch norm and, if asked, ReLU; size kept, initialised as published."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts["conv"] = he_init(nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2))
    # The published batch norm uses eps 1e-9, which is zero in float16; PyTorch's 1e-5 is kept instead.
    norm = nn.BatchNorm2d(out_channels)
    nn.init.constant_(norm.bias, 0.001)  # bn_filler of the published files
    parts["bn"] = norm
    if relu:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def he_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Caffe's "msra" filler: normal with variance 2 / (inputs of one filter); bias zero."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
