"""The decoder: unpooling with the remembered positions, then convolutions that make the sparse maps dense.

Source: the authors' prototxt files (SegNet-Tutorial, Models/segnet_train.prototxt and
Models/segnet_basic_train.prototxt).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from segnet.models.encoders import Pooled, conv_stage
from segnet.ops import max_unpool

__all__ = ["Decoder"]


class Decoder(nn.Module):
    """Stages of unpooling and convolutions, deepest first.

    Args:
        in_channels: channels of the encoder's deepest map.
        widths: per stage, deepest first, the output channels of each of its convolutions.
        kernel: side of the square filters; padding keeps the size.
        relu: whether a ReLU follows each batch norm (SegNet has it, SegNet-Basic has not).
        dropout: probability, applied at the end of ``dropout_stages``.
        dropout_stages: stage numbers, counted as the encoder's: the deepest has the highest number.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[Sequence[int]],
        *,
        kernel: int,
        relu: bool,
        dropout: float,
        dropout_stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        self.dropouts = nn.ModuleList()
        for number, stage in zip(range(len(widths), 0, -1), widths, strict=True):
            self.stages.append(conv_stage(in_channels, stage, kernel=kernel, relu=relu))
            self.dropouts.append(nn.Dropout(dropout) if number in dropout_stages else nn.Identity())
            in_channels = stage[-1]

    def forward(self, x: Tensor, pooled: Sequence[Pooled]) -> Tensor:
        """From the deepest map back to full resolution, walking ``pooled`` from its end."""
        for stage, dropout, (code, size) in zip(self.stages, self.dropouts, reversed(pooled), strict=True):
            x = max_unpool(x, code, size)
            x = dropout(stage(x))
        return x
