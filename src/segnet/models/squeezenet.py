"""SqueezeNet 1.1 as a SegNet encoder: its fire modules between 2x2 poolings that remember.

Source: Iandola et al., "SqueezeNet", 2016 (https://arxiv.org/abs/1602.07360), version 1.1 of the authors' files.
Theirs begins with a convolution of stride 2 and pools 3x3 windows; here every pooling is 2x2, so that it has its code,
and that convolution works at full resolution unless a stride is given. The filters are the same.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from segnet.models.encoders import conv_unit

__all__ = ["squeezenet_channels", "squeezenet_stages"]

_CHANNELS = (64, 64, 128, 256, 512)
# Per stage, squeeze and expand channels of its fire modules; between conv1 and fire2 the resolution halves twice.
_FIRES = ((), ((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256)))


class Fire(nn.Module):
    """A 1x1 convolution to few channels, then 1x1 and 3x3 convolutions side by side.

    Args:
        in_channels: of the map.
        squeeze: the few.
        expand: of each of the two convolutions; the result has twice as many.
        batch_norm: whether each convolution is followed by it (the original has none).
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int, *, batch_norm: bool) -> None:
        super().__init__()
        self.squeeze = conv_unit(in_channels, squeeze, kernel=1, relu=True, batch_norm=batch_norm)
        self.expand1x1 = conv_unit(squeeze, expand, kernel=1, relu=True, batch_norm=batch_norm)
        self.expand3x3 = conv_unit(squeeze, expand, kernel=3, relu=True, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, 2 * expand, H, W)."""
        x = self.squeeze(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=1)


def squeezenet_stages(in_channels: int, *, batch_norm: bool, stem_stride: int = 1) -> list[nn.Module]:
    """The stages, each to be ended by a pooling; their channels are ``squeezenet_channels(stem_stride)``."""
    first = conv_unit(in_channels, _CHANNELS[0], kernel=3, relu=True, batch_norm=batch_norm, stride=stem_stride)
    stages: list[nn.Module] = [nn.Sequential(OrderedDict(first=first))]
    channels = _CHANNELS[0]
    for fires in _FIRES[stem_stride - 1 :]:
        stage = nn.Sequential()
        for squeeze, expand in fires:
            stage.append(Fire(channels, squeeze, expand, batch_norm=batch_norm))
            channels = 2 * expand
        stages.append(stage)
    return stages


def squeezenet_channels(stem_stride: int = 1) -> tuple[int, ...]:
    """Per stage, the channels of its result; a stem that strides has halved what a stage of its own would."""
    return _CHANNELS[stem_stride - 1 :]
