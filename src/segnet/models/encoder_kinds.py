"""The encoder of each kind that a configuration can name: ours, a model of timm, or a module of the user's."""

from __future__ import annotations

from torch import nn

from segnet.errors import ConfigError
from segnet.models.backbones import Backbone, timm_backbone
from segnet.models.efficientnet import EfficientNetLite0
from segnet.models.encoders import Encoder, EncoderConfig, conv_stage
from segnet.models.squeezenet import squeezenet_channels, squeezenet_stages

__all__ = ["OWN_KINDS", "build_encoder"]

OWN_KINDS = ("convolutions", "squeezenet1_1", "efficientnet_lite0")
"""Kinds whose layers follow from the configuration."""


def build_encoder(
    config: EncoderConfig, in_channels: int, *, dropout: float, codes: bool, backbone: nn.Module | None = None
) -> Encoder | Backbone:
    """The encoder that a configuration describes.

    Args:
        config: see ``EncoderConfig``.
        in_channels: channels of the image.
        dropout: probability at the places that ``config`` names.
        codes: whether the positions of the maxima are kept.
        backbone: the module of kind ``custom``; for a kind of timm's, its model with weights.

    Raises:
        ConfigError: there is no such kind, or the backbone is missing, not wanted, or does not keep to the contract.
    """
    if backbone is not None and config.kind in OWN_KINDS:
        raise ConfigError(f"an encoder of kind {config.kind!r} is no module of yours; leave the module out")
    if config.kind == "convolutions":
        inputs = [in_channels, *(stage[-1] for stage in config.widths[:-1])]
        stages: list[nn.Module] = [
            conv_stage(channels, widths, kernel=config.kernel, relu=True, batch_norm=config.batch_norm)
            for channels, widths in zip(inputs, config.widths, strict=True)
        ]
        return Encoder(stages, [stage[-1] for stage in config.widths], config, dropout=dropout, codes=codes)
    if config.kind == "squeezenet1_1":
        stride = config.stem_stride
        stages = squeezenet_stages(in_channels, batch_norm=config.batch_norm, stem_stride=stride)
        channels = squeezenet_channels(stride)
        return Encoder(stages, channels, config, dropout=dropout, codes=codes, full_resolution=stride == 1)
    if config.kind == "efficientnet_lite0":
        backbone = EfficientNetLite0(in_channels)
    if backbone is None and config.kind.startswith("timm/"):
        backbone = timm_backbone(config.kind.removeprefix("timm/"), in_channels)
    if backbone is None:
        raise ConfigError(f"the encoder is of kind {config.kind!r}: hand over the module that stands there")
    return Backbone(backbone, in_channels, codes=codes)
