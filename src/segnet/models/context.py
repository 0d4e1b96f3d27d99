"""What the deepest map learns of its surroundings, for nets whose encoder is too small to see the whole scene.

Sources: growing dilations, each added to what it saw, from Yu and Koltun, "Multi-scale context aggregation by dilated
convolutions", 2016; the mean of the whole map from Liu, Rabinovich and Berg, "ParseNet", 2015.
"""

from __future__ import annotations

from torch import Tensor, nn

from segnet.models.encoders import conv_unit, he_init

__all__ = ["Context"]

_DILATIONS = (1, 2, 4)


class Context(nn.Module):
    """Add context to each pixel of a map: dilated 3x3 convolutions and the mean of the whole image.

    Initialized so that it adds zero.

    Args:
        channels: channels of the map.
        width: channels inside the module.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.reduce = conv_unit(channels, width, kernel=1, relu=True)
        self.around = nn.ModuleList(
            conv_unit(width, width, kernel=3, relu=True, dilation=dilation) for dilation in _DILATIONS
        )
        self.everywhere = he_init(nn.Conv2d(width, width, 1))
        self.expand = conv_unit(width, channels, kernel=1, relu=False)
        norm = self.expand.get_submodule("bn")
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.zeros_(norm.weight)
        nn.init.zeros_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to a map of the same shape."""
        seen: Tensor = self.reduce(x)
        for unit in self.around:
            seen = seen + unit(seen)
        # expand_as instead of broadcasting: an exported program would be guarded by a size of more than one pixel.
        everywhere = self.everywhere(seen.mean((2, 3), keepdim=True)).expand_as(seen)
        added: Tensor = self.expand(seen + everywhere)
        return x + added
