"""SegNet: the configuration that describes a network, and the network.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture
for Image Segmentation", PAMI 2017 (arXiv:1511.00561), and the authors' prototxt files.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, fields
from itertools import chain, cycle, islice
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segnet.errors import ConfigError, ShapeError
from segnet.models.decoders import Decoder
from segnet.models.encoders import Encoder, he_init

__all__ = ["SegNet", "SegNetConfig"]

Widths = tuple[tuple[int, ...], ...]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_LARGEST = torch.finfo(torch.float32).max


@dataclass(frozen=True, kw_only=True)
class SegNetConfig:
    """Everything that decides the shape of a network; a checkpoint carries it.

    Attributes:
        name: what the network is called.
        encoder: per stage, output channels of its convolutions; every stage ends in a 2x2 max-pooling.
        decoder: the same, deepest stage first; every stage begins with an unpooling.
        kernel: side of the square filters.
        decoder_relu: whether a ReLU follows each decoder batch norm.
        classifier_kernel: side of the filters that give the logits.
        local_response_norm: whether the picture passes through LRN (size 5, alpha 1e-4, beta 0.75).
        mean, std: of the picture in [0, 1], per channel; cycled if there are other than three channels.
        dropout: probability at ``dropout_stages``; 0 is the plain SegNet.
        dropout_stages: where Bayesian SegNet has its dropout: after these poolings and decoder stages.
        classes: how many classes, 1 to 255.
        in_channels: channels of the picture.

    Raises:
        ConfigError: a value has the wrong type, is out of range or the two sides do not mirror each other.
    """

    name: str
    encoder: Widths
    decoder: Widths
    kernel: int = 3
    decoder_relu: bool = True
    classifier_kernel: int = 3
    local_response_norm: bool = False
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    dropout: float = 0.0
    dropout_stages: tuple[int, ...] = ()
    classes: int = 11
    in_channels: int = 3

    def __post_init__(self) -> None:
        self._check_types()
        if not 1 <= self.classes <= 255:
            raise ConfigError(f"classes={self.classes} is not possible; give 1 to 255")
        if self.in_channels < 1:
            raise ConfigError(f"in_channels={self.in_channels} is not possible; give 1 or more")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout={self.dropout} is not possible; give a probability from 0 to below 1")
        if any(kernel < 1 or kernel % 2 == 0 for kernel in (self.kernel, self.classifier_kernel)):
            raise ConfigError(
                f"kernels {self.kernel} and {self.classifier_kernel} must be odd so that the size is kept"
            )
        if not self.mean or not self.std or min(self.std) <= 0:
            raise ConfigError(f"mean={self.mean} and std={self.std} are not possible; give numbers, std above 0")
        if not self.encoder or any(min(stage, default=0) < 1 for stage in self.encoder + self.decoder):
            raise ConfigError("a network needs stages, each of at least one convolution of at least one channel")
        if not set(self.dropout_stages) <= set(range(1, len(self.encoder) + 1)):
            raise ConfigError(f"dropout_stages={self.dropout_stages}: the stages are 1 to {len(self.encoder)}")
        inward = [stage[-1] for stage in self.encoder]
        outward = [inward[-1], *(stage[-1] for stage in self.decoder[:-1])]
        if len(self.decoder) != len(self.encoder) or outward != inward[::-1]:
            raise ConfigError(
                f"unpooling needs as many channels as the pooling had: encoder stages end in {inward}, "
                f"decoder stages begin with {outward}"
            )

    def _check_types(self) -> None:
        """The JSON of a model file may hold anything."""
        widths = chain.from_iterable(self.encoder + self.decoder)
        whole = (self.classes, self.in_channels, self.kernel, self.classifier_kernel, *self.dropout_stages, *widths)
        if wrong := [value for value in whole if type(value) is not int]:
            raise ConfigError(f"{wrong[0]!r} is not possible: classes, channels, kernels and stages are whole numbers")
        numbers = (self.dropout, *self.mean, *self.std)
        if endless := [value for value in numbers if not _is_finite(value)]:
            raise ConfigError(f"{endless[0]!r} is not possible: dropout, mean and std are finite numbers")
        switches = (self.decoder_relu, self.local_response_norm)
        if not isinstance(self.name, str) or not all(isinstance(value, bool) for value in switches):
            raise ConfigError("the name must be a text, decoder_relu and local_response_norm true or false")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that ``to_dict`` wrote (lists become tuples again).

        Raises:
            ConfigError: a key is unknown or missing, or a value is out of range.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise ConfigError(f"unknown model setting {unknown[0]!r}; known are {', '.join(sorted(known))}")
        try:
            return cls(**{key: _as_tuple(value) for key, value in values.items()})
        except TypeError as error:
            raise ConfigError(f"the model settings are not complete: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """All settings in a form that JSON can hold."""
        return asdict(self)


class SegNet(nn.Module):
    """Image in, logits out, any size.

    >>> model = SegNet(config)
    >>> model(torch.rand(1, 3, 361, 479)).shape
    torch.Size([1, 11, 361, 479])

    Args:
        config: see ``SegNetConfig``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: SegNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder_frozen = False
        self.register_buffer("mean", _per_channel(config.mean, config.in_channels))
        self.register_buffer("std", _per_channel(config.std, config.in_channels))
        places = config.dropout_stages if config.dropout else ()
        self.encoder = Encoder(
            config.in_channels,
            config.encoder,
            kernel=config.kernel,
            dropout=config.dropout,
            dropout_stages=places,
        )
        self.decoder = Decoder(
            config.encoder[-1][-1],
            config.decoder,
            kernel=config.kernel,
            relu=config.decoder_relu,
            dropout=config.dropout,
            dropout_stages=places,
        )
        side = config.classifier_kernel
        self.classifier = he_init(nn.Conv2d(config.decoder[-1][-1], config.classes, side, padding=side // 2))

    def forward(self, image: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            image: floating (N, C, H, W), RGB in [0, 1]; any H and W from 1 up.

        Returns:
            logits (N, classes, H, W).

        Raises:
            ShapeError: not floating, not four dimensions, or not the model's channels.
        """
        if not image.is_floating_point() or image.ndim != 4 or image.shape[1] != self.config.in_channels:
            raise ShapeError(
                f"an image batch of {image.dtype} and shape {tuple(image.shape)} was given; "
                f"this model wants floating numbers (N, {self.config.in_channels}, H, W) in [0, 1]"
            )
        x = (image - self.mean) / self.std
        if self.config.local_response_norm:
            x = local_response_norm(x)
        x, pooled = self.encoder(x)
        logits: Tensor = self.classifier(self.decoder(x, pooled))
        return logits

    def folded(self) -> SegNet:
        """A copy for inference: every batch norm folded into the convolution before it, evaluation mode.

        Same logits up to rounding; the copy cannot be trained or saved.
        """
        copy = deepcopy(self).eval()
        for unit in copy.modules():
            children = dict(unit.named_children())
            conv, norm = children.get("conv"), children.get("bn")
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                unit.conv, unit.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
        return copy.eval()

    def freeze_encoder(self) -> None:
        """Keep the encoder as it is: no gradients, and its batch norm stays in evaluation mode."""
        self.encoder_frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As ``nn.Module.train``; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_frozen:
            self.encoder.eval()
        return self


def local_response_norm(x: Tensor) -> Tensor:
    """LRN across channels as SegNet-Basic has it: size 5, alpha 1e-4, beta 0.75, k 1; (N, C, H, W).

    Equal to ``F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)``, in operators that every exporter knows.
    """
    channels = x.shape[1]
    # Scaled before the sum: in float16 the sum of two squares of 255 is infinite.
    squares = F.pad(x * x * (1e-4 / 5), (0, 0, 0, 0, 2, 2))
    energy = sum((squares[:, start : start + channels] for start in range(1, 5)), squares[:, :channels])
    return x * (1.0 + energy) ** -0.75


def _per_channel(values: tuple[float, ...], channels: int) -> Tensor:
    return torch.tensor(list(islice(cycle(values), channels))).view(1, -1, 1, 1)


def _is_finite(value: object) -> bool:
    """A number, and not beyond float32."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list | tuple) else value
