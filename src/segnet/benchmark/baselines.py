"""Baselines for speed and memory: SegNet's reference implementation, and networks of segmentation_models_pytorch.

The reference implementation pools with ``nn.MaxPool2d(return_indices=True)`` and unpools with ``nn.MaxUnpool2d``.
All baselines have random weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.segnet import SegNetConfig
from segnet.models.zoo import MODELS
from segnet.system.packages import importing

__all__ = ["ReferenceSegNet", "library_model", "reference_config", "require_library"]


class ReferenceSegNet(nn.Module):
    """Reference implementation of SegNet in plain PyTorch, with the layers of one of our configurations.

    Pooling with int64 indices (``nn.MaxPool2d``, ``nn.MaxUnpool2d``); batch norm not folded; NCHW.

    Args:
        config: see ``reference_config``; its dropout is left out.
    """

    def __init__(self, config: SegNetConfig) -> None:
        super().__init__()
        encoder, decoder = config.encoder, config.decoder
        self.norm = nn.LocalResponseNorm(5, 1e-4, 0.75) if config.local_response_norm else nn.Identity()
        self.encoder, channels = _stages(config.in_channels, encoder.widths, encoder.kernel, relu=True)
        self.decoder, channels = _stages(channels, decoder.widths, decoder.kernel, relu=decoder.relu)
        self.pool = nn.MaxPool2d(2, 2, ceil_mode=True, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2, 2)
        side = decoder.classifier_kernel
        self.classifier = nn.Conv2d(channels, config.classes, side, padding=side // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits (N, classes, H, W) of a normalized image (N, C, H, W), both float32."""
        x = self.norm(x)
        kept = []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[2:]
            x, index = self.pool(x)
            kept.append((index, size))
        for stage, (index, size) in zip(self.decoder, reversed(kept), strict=True):
            x = self.unpool(x, index, output_size=size)
            x = stage(x)
        logits: Tensor = self.classifier(x)
        return logits


def reference_config(name: str) -> SegNetConfig:
    """The configuration of that name, if ``ReferenceSegNet`` has all its layers.

    Raises:
        ConfigError: the name is unknown, or the network has more than convolution stages and index unpooling.
    """
    names = [known for known, config in MODELS.items() if _is_plain(config)]
    if name not in names:
        raise ConfigError(f"{name}: the reference implementation exists for {', '.join(names)}; name one of them first")
    return MODELS[name]


def library_model(name: str) -> nn.Module:
    """A network of segmentation_models_pytorch with 11 classes and random weights.

    Args:
        name: ``unet_vgg16`` or ``segformer_b0``.

    Raises:
        MissingPackageError: the library is not installed or does not work.
    """
    smp = require_library()
    build = {"unet_vgg16": (smp.Unet, "vgg16"), "segformer_b0": (smp.Segformer, "mit_b0")}
    network, encoder = build[name]
    model: nn.Module = network(encoder, encoder_weights=None, classes=11)
    return model


def require_library() -> Any:
    """The module of segmentation_models_pytorch.

    Raises:
        MissingPackageError: the library is not installed or does not work.
    """
    with importing("segmentation_models_pytorch", "baselines"):
        import segmentation_models_pytorch as smp
    return smp


def _is_plain(config: SegNetConfig) -> bool:
    encoder, decoder = config.encoder, config.decoder
    extras = decoder.depthwise or decoder.addition != "none" or decoder.context
    return encoder.kind == "convolutions" and encoder.batch_norm and decoder.upsampling == "indices" and not extras


def _stages(channels: int, widths: Sequence[Sequence[int]], kernel: int, *, relu: bool) -> tuple[nn.ModuleList, int]:
    """One ``Sequential`` per stage, and the channels that the last one gives."""
    stages = nn.ModuleList()
    for stage in widths:
        parts: list[nn.Module] = []
        for width in stage:
            parts += [nn.Conv2d(channels, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width)]
            parts += [nn.ReLU()] if relu else []
            channels = width
        stages.append(nn.Sequential(*parts))
    return stages, channels
