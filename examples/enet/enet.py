"""ENet, written anew from its paper: a small segmentation network whose decoder unpools with the encoder's indices.

Source: A. Paszke, A. Chaurasia, S. Kim, E. Culurciello, "ENet: A Deep Neural Network Architecture for Real-Time
Semantic Segmentation", 2016, https://arxiv.org/abs/1606.02147: figure 2, table 1 and section 4. Only PyTorch is used
here, as in the many ports of ENet: nn.MaxPool2d(return_indices=True) and nn.MaxUnpool2d. Odd sides are rounded up, so
that any image size works.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTION = 4  # of the channels inside a bottleneck
# The bottlenecks 2.1 to 2.8, again as 3.1 to 3.8: dilation of the convolution; 0 for an asymmetric one.
SECTION = (1, 2, 0, 4, 1, 8, 0, 16)


class ENet(nn.Module):
    """Image (N, 3, H, W) to logits (N, classes, H, W)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.initial = Initial(3, 16)
        self.down1 = Down(16, 64, dropout=0.01)
        self.stage1 = nn.Sequential(*(Bottleneck(64, dropout=0.01) for _ in range(4)))
        self.down2 = Down(64, 128, dropout=0.1)
        self.stage2 = nn.Sequential(*(Bottleneck(128, dilation, dropout=0.1) for dilation in SECTION))
        self.stage3 = nn.Sequential(*(Bottleneck(128, dilation, dropout=0.1) for dilation in SECTION))
        self.up4 = Up(128, 64)
        self.stage4 = nn.Sequential(*(Bottleneck(64, dropout=0.1, activation=nn.ReLU) for _ in range(2)))
        self.up5 = Up(64, 16)
        self.stage5 = Bottleneck(16, dropout=0.1, activation=nn.ReLU)
        self.full = nn.ConvTranspose2d(16, classes, 2, stride=2, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of an image batch."""
        half = self.initial(image)
        quarter, indices1 = self.down1(half)
        quarter = self.stage1(quarter)
        eighth, indices2 = self.down2(quarter)
        eighth = self.stage3(self.stage2(eighth))
        x = self.stage4(self.up4(eighth, indices2, quarter.shape[2:]))
        x = self.stage5(self.up5(x, indices1, half.shape[2:]))
        return _crop(self.full(x), image.shape[2:])


class Initial(nn.Module):
    """Figure 2a: a strided convolution beside a pooling of the image."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs - inputs, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.end = nn.Sequential(nn.BatchNorm2d(outputs), nn.PReLU(outputs))

    def forward(self, image: Tensor) -> Tensor:
        """At half the size."""
        return self.end(torch.cat([self.convolution(image), self.pool(image)], dim=1))


class Bottleneck(nn.Module):
    """Figure 2b: projection, convolution and expansion beside the identity. ``dilation`` 0: 5x1 and 1x5 filters."""

    def __init__(
        self, channels: int, dilation: int = 1, *, dropout: float, activation: type[nn.Module] | None = None
    ) -> None:
        super().__init__()
        inner = channels // REDUCTION
        self.extension = nn.Sequential(
            *_normalized(nn.Conv2d(channels, inner, 1, bias=False), activation),
            *_normalized(_middle(inner, dilation), activation),
            *_normalized(nn.Conv2d(inner, channels, 1, bias=False), activation),
            nn.Dropout2d(dropout),
        )
        self.end = _activation(activation, channels)

    def forward(self, x: Tensor) -> Tensor:
        """At the same size."""
        return self.end(x + self.extension(x))


class Down(nn.Module):
    """Figure 2b, downsampling: the projection is a strided convolution, the identity a pooling with new channels."""

    def __init__(self, inputs: int, outputs: int, *, dropout: float) -> None:
        super().__init__()
        inner = inputs // REDUCTION
        self.extension = nn.Sequential(
            *_normalized(nn.Conv2d(inputs, inner, 2, stride=2, bias=False), None),
            *_normalized(_middle(inner, 1), None),
            *_normalized(nn.Conv2d(inner, outputs, 1, bias=False), None),
            nn.Dropout2d(dropout),
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True, return_indices=True)
        self.more = outputs - inputs
        self.end = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """At half the size, with the indices of the maxima."""
        values, indices = self.pool(x)
        # The strided filter does not reach the row and column that are added, unless a side is odd.
        extension = self.extension(F.pad(x, (0, 1, 0, 1)))
        return self.end(F.pad(values, (0, 0, 0, 0, 0, self.more)) + extension), indices


class Up(nn.Module):
    """Figure 2b, upsampling: the identity is a convolution and an unpooling with the indices of the encoder."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        inner = inputs // REDUCTION
        self.main = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.unpool = nn.MaxUnpool2d(2)
        self.projection = nn.Sequential(*_normalized(nn.Conv2d(inputs, inner, 1, bias=False), nn.ReLU))
        self.full = nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False)
        self.expansion = nn.Sequential(
            nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )
        self.dropout = nn.Dropout2d(0.1)

    def forward(self, x: Tensor, indices: Tensor, size: Sequence[int]) -> Tensor:
        """At the size of the pooled map."""
        main = self.unpool(self.main(x), indices, output_size=size)
        extension = _crop(self.full(self.projection(x)), size)
        return F.relu(main + self.dropout(self.expansion(extension)))


def _crop(x: Tensor, size: Sequence[int]) -> Tensor:
    return x[:, :, : size[0], : size[1]]


def _middle(channels: int, dilation: int) -> nn.Module:
    if dilation:
        return nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(
        nn.Conv2d(channels, channels, (5, 1), padding=(2, 0), bias=False),
        nn.Conv2d(channels, channels, (1, 5), padding=(0, 2), bias=False),
    )


def _normalized(convolution: nn.Module, activation: type[nn.Module] | None) -> list[nn.Module]:
    parts = [part for part in convolution.modules() if isinstance(part, nn.Conv2d)]
    channels = parts[-1].out_channels
    return [convolution, nn.BatchNorm2d(channels), _activation(activation, channels)]


def _activation(kind: type[nn.Module] | None, channels: int) -> nn.Module:
    """PReLU in the encoder, as published; ReLU in the decoder."""
    return nn.PReLU(channels) if kind is None else kind()


def build() -> ENet:
    """ENet for the eleven classes of CamVid, as ``segnet export enet:build`` calls it."""
    return ENet(11)
