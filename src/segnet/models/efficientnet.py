"""EfficientNet-Lite0 as a SegNet encoder: its feature maps from half the image's size to a 32nd.

Sources: Tan and Le, "EfficientNet", 2019 (https://arxiv.org/abs/1905.11946), and the Lite variants that TensorFlow's
model garden describes: no squeeze-and-excitation, ReLU6 instead of swish, so that eight bits are enough.

The filters stride as in the original, so ImageNet weights compute what they were trained for. The pooling codes come
from 2x2 windows of the map before each stride (see ``backbones``). The original's last block and its head are left out:
they hold a third of the parameters, for classes of whole images.

TensorFlow pads even sides at the right and the bottom only where a filter strides. Symmetric padding gives the same
windows to filters that are two pixels larger, with zeros in their first two rows and columns: so strided filters are
stored that way here, and every runtime gets a plain convolution. On odd sides TensorFlow would shift the windows by a
pixel; here they stay.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from segnet.models.encoders import he_init

__all__ = ["CHANNELS", "LITE_MEAN", "LITE_STD", "EfficientNetLite0", "enlarge_filters", "original_name"]

CHANNELS = (16, 24, 40, 112, 192)
"""Channels of the maps, shallowest first; each map is half as large as the one before it."""
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3

_STEM = 32
_EXPANSION = 6
_LARGER = 2  # pixels, the sides of strided filters
_BN_EPS = 1e-3  # TensorFlow's; PyTorch's is 1e-5
# Per map, its groups of blocks: output channels, kernel, number of blocks. The first block of a map strides.
_GROUPS = (((24, 3, 2),), ((40, 5, 2),), ((80, 3, 3), (112, 5, 3)), ((192, 5, 4),))


class EfficientNetLite0(nn.Module):
    """Stem and fifteen inverted residual blocks.

    Args:
        in_channels: channels of the image.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.stem = _unit(in_channels, _STEM, kernel=3, stride=2)
        self.blocks = nn.ModuleList([InvertedResidual(_STEM, CHANNELS[0], kernel=3, expansion=1)])
        inputs = CHANNELS[0]
        for groups in _GROUPS:
            stride = 2
            for channels, kernel, blocks in groups:
                for _ in range(blocks):
                    self.blocks.append(InvertedResidual(inputs, channels, kernel=kernel, stride=stride))
                    inputs, stride = channels, 1

    @staticmethod
    def map_shapes(size: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Channels, height and width of the maps of an image of (height, width)."""
        shapes, (height, width) = [], size
        for channels in CHANNELS:
            height, width = (height + 1) // 2, (width + 1) // 2
            shapes.append((channels, height, width))
        return shapes

    def forward(self, x: Tensor) -> list[Tensor]:
        """Normalized image (N, in_channels, H, W) to five maps, whose channels are ``CHANNELS``; sizes round up."""
        x, maps = self.stem(x), []
        for block in self.blocks:
            if block.stride == 2:
                maps.append(x)
            x = block(x)
        return [*maps, x]


class InvertedResidual(nn.Module):
    """1x1 convolution to more channels, depthwise convolution, 1x1 convolution without ReLU; added to the input.

    Args:
        in_channels, out_channels: of the block; where they are equal and nothing strides, the input is added.
        kernel: side of the depthwise filters.
        expansion: factor of the channels inside; 1 leaves the first convolution out.
        stride: of the depthwise convolution, 1 or 2.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, expansion: int = _EXPANSION, stride: int = 1
    ) -> None:
        super().__init__()
        inside = in_channels * expansion
        self.stride = stride
        self.residual = in_channels == out_channels and stride == 1
        self.expand = _unit(in_channels, inside, kernel=1) if expansion > 1 else nn.Identity()
        self.depthwise = _unit(inside, inside, kernel=kernel, stride=stride, groups=inside)
        self.project = _unit(inside, out_channels, kernel=1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def original_name(name: str) -> str:
    """Name of a tensor in the files of the original network.

    >>> original_name("blocks.3.depthwise.conv.weight")
    '_blocks.3._depthwise_conv.weight'
    """
    *block, part, layer, kind = name.split(".")
    return ".".join([*(["_blocks", block[1]] if block else []), _ORIGINAL_LAYERS[f"{part}.{layer}"], kind])


_ORIGINAL_LAYERS = {
    "stem.conv": "_conv_stem", "stem.bn": "_bn0",
    "expand.conv": "_expand_conv", "expand.bn": "_bn0",
    "depthwise.conv": "_depthwise_conv", "depthwise.bn": "_bn1",
    "project.conv": "_project_conv", "project.bn": "_bn2",
}  # fmt: skip


def enlarge_filters(filters: Tensor, side: int) -> Tensor:
    """Filters (out, in, k, k) with zeros in their first rows and columns, up to the given side; larger ones stay."""
    added = max(0, side - filters.shape[-1])
    return F.pad(filters, (added, 0, added, 0))


def _unit(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution, batch norm and ReLU6; a strided convolution has larger filters (see above)."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    side = kernel + _LARGER * (stride - 1)
    conv = nn.Conv2d(in_channels, out_channels, side, stride, side // 2, groups=groups, bias=False)
    parts["conv"] = he_init(conv)
    parts["bn"] = nn.BatchNorm2d(out_channels, eps=_BN_EPS)
    if relu:
        parts["relu"] = nn.ReLU6(inplace=True)
    return nn.Sequential(parts)
