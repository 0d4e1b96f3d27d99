"""The decoder: at each stage upsample, convolve, add.

SegNet upsamples with the remembered positions and convolves the sparse maps dense; the decoders it is compared with
(PAMI paper, section 3.1 and Table 1) differ in nothing but the fields of ``DecoderConfig``.

Sources: the paper; the authors' prototxt files (SegNet-Tutorial, Models/segnet_train.prototxt and
Models/segnet_basic_train.prototxt). Of the FCN-Basic variants no file was ever published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segnet.errors import ConfigError
from segnet.models.context import Context
from segnet.models.encoders import Kept, Widths, check_stages, conv_stage, conv_unit, fitted, he_init, recomputed
from segnet.nn.codes import max_unpool
from segnet.system.field_types import check_types

__all__ = ["Decoder", "DecoderConfig", "LearnedUpsampling"]

Upsampling = Literal["indices", "bilinear", "learned"]
Addition = Literal["none", "pooled", "maps"]


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Configuration of a decoder, stage by stage, deepest first.

    Attributes:
        widths: per stage, output channels of its convolutions; a stage may have none.
        kernel: side of their square filters.
        relu: whether a ReLU follows each batch norm (SegNet has it, SegNet-Basic has not).
        depthwise: whether each filter sees only its own channel (SegNet-Basic-SingleChannelDecoder).
        upsampling: ``indices`` (unpooling with the codes), ``bilinear`` (fixed) or ``learned`` (8x8 transposed
            convolution that begins as bilinear interpolation). Where the decoder has a multiple of the encoder's
            channels, several of its channels share each code.
        addition: which encoder maps are added after the convolutions: ``none``, ``pooled`` (what the pooling above
            gave, as FCN does; so none at full resolution) or ``maps`` (the map before the stage's own pooling). Where
            the channels differ, a 1x1 convolution brings them to the decoder's.
        addition_norm: whether every added map passes a 1x1 convolution with batch norm: for encoders whose maps
            have no bounded scale, such as the sums of residuals of EfficientNet.
        compress: whether the deepest map is brought to one channel per class before it is upsampled ("dimension
            reduction"); the last map is then the logits.
        context: channels of the context module (see ``context``) on the deepest map; 0: no such module.
        classifier_kernel: side of the filters that give the logits, unless ``compress``.
        dropout_stages: stages, counted as the encoder's, that end with dropout.

    Raises:
        ConfigError: a value has the wrong type or is not possible.
    """

    widths: Widths
    kernel: int = 3
    relu: bool = True
    depthwise: bool = False
    upsampling: Upsampling = "indices"
    addition: Addition = "none"
    addition_norm: bool = False
    compress: bool = False
    context: int = 0
    classifier_kernel: int = 3
    dropout_stages: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        check_stages("decoder", self.widths, self.kernel)
        check_stages("classifier", (), self.classifier_kernel)
        if not self.widths:
            raise ConfigError("a decoder needs stages; give widths, with an empty list for a stage of no convolution")
        if self.context < 0 or (self.context and self.compress):
            raise ConfigError(f"context={self.context} is not possible; give channels, 0 for none, and no compress")
        if self.compress and (self.upsampling == "indices" or any(self.widths)):
            raise ConfigError("compress leaves one channel per class: that fits neither indices nor convolutions")


class EncoderLike(Protocol):
    """Attributes of an encoder that a decoder needs (``Encoder`` and ``Backbone`` have them)."""

    channels: tuple[int, ...]
    pooled_channels: tuple[int, ...]
    deepest_channels: int
    halving: bool


class Decoder(nn.Module):
    """Stages of upsampling, convolution and addition, deepest first.

    Args:
        config: see ``DecoderConfig``.
        encoder: the encoder before it.
        classes: for ``compress``.
        dropout: probability at the end of ``dropout_stages``.

    Attributes:
        out_channels: channels of the result.
        skips: per stage, shallowest first, the skip connection of the encoder for the addition.
        save_memory: in training, keep only each stage's input and compute the rest again.

    Raises:
        ConfigError: the stages do not fit those of the encoder.
    """

    def __init__(self, config: DecoderConfig, encoder: EncoderLike, *, classes: int, dropout: float) -> None:
        super().__init__()
        if len(config.widths) != len(encoder.channels):
            raise ConfigError(f"{len(encoder.channels)} encoder stages need as many in the decoder: {config.widths}")
        if config.upsampling == "learned" and not encoder.halving:
            raise ConfigError("learned upsampling doubles, but not every stage of this encoder halves; take another")
        self.upsampling = config.upsampling
        self.save_memory = False
        self.entrance, channels = _entrance(config, encoder, classes)
        self.upsamplings, self.stages, self.dropouts = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        skips = []
        for number, widths in zip(range(len(config.widths), 0, -1), config.widths, strict=True):
            if config.upsampling == "indices" and channels % encoder.channels[number - 1]:
                raise ConfigError(
                    "unpooling needs as many channels as the pooling had, or a multiple of them: encoder stage "
                    f"{number} ends in {encoder.channels[number - 1]}, decoder stage {number} begins with {channels}"
                )
            if config.upsampling == "learned":
                self.upsamplings.append(LearnedUpsampling(channels))
            self.stages.append(
                conv_stage(channels, widths, kernel=config.kernel, relu=config.relu, depthwise=config.depthwise)
            )
            channels = widths[-1] if widths else channels
            self.dropouts.append(nn.Dropout(dropout) if number in config.dropout_stages and dropout else nn.Identity())
            skips.append(_skip(config, encoder, number, channels))
        self.skips = nn.ModuleList(reversed(skips))
        self.out_channels = channels

    def forward(self, x: Tensor, kept: Sequence[Kept]) -> Tensor:
        """From the deepest map back to the size of the first stage, walking ``kept`` from its end."""
        x = self.entrance(x)
        for index, entry in enumerate(reversed(kept)):
            x = recomputed(self, self._stage, index, x, entry)
        return x

    def upsample(self, index: int, x: Tensor, entry: Kept) -> Tensor:
        """The beginning of a stage, counted from the deepest: the map at the size before the encoder's pooling."""
        if self.upsampling == "learned":
            upsampled: Tensor = self.upsamplings[index](x, entry.size)
            return upsampled
        if entry.code is not None:
            x = max_unpool(x, entry.code, entry.covered)
            return x if entry.covered is entry.size else fitted(x, entry.size)
        return F.interpolate(x, size=entry.size, mode="bilinear", align_corners=False)

    def _stage(self, index: int, x: Tensor, entry: Kept) -> Tensor:
        x = self.dropouts[index](self.stages[index](self.upsample(index, x, entry)))
        return x if entry.features is None else x + entry.features


class LearnedUpsampling(nn.Module):
    """Transposed convolution, 8x8 filters, stride 2, that begins as bilinear interpolation of each channel.

    Source: paper, section 3.1 (kernel and initialization of FCN-Basic).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, channels, 8, stride=2, padding=3, bias=False)
        tent = torch.tensor([0.0, 0.0, 0.25, 0.75, 0.75, 0.25, 0.0, 0.0])  # doubling, with a border to learn
        filters = torch.zeros_like(self.deconv.weight)
        filters[range(channels), range(channels)] = (tent[:, None] * tent).to(filters)
        self.deconv.weight = nn.Parameter(filters)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(N, C, h, w) -> (N, C, *size), each side 2h or 2h-1 and 2w or 2w-1."""
        return fitted(self.deconv(x), size)


class NoSkip(nn.Module):
    """No skip connection in this stage."""

    def forward(self, before: Tensor, after: Tensor) -> None:
        """Return None."""


class Skip(nn.Module):
    """Skip connection of an encoder stage, projected to the decoder's channels.

    Args:
        pooled: take the output of the pooling above, not the map before the stage's own pooling.
        in_channels, out_channels: of the map taken, and of the decoder where it is added.
        norm: whether batch norm follows the projection.
    """

    def __init__(self, in_channels: int, out_channels: int, *, pooled: bool, norm: bool = False) -> None:
        super().__init__()
        self.pooled = pooled
        self.project: nn.Module = nn.Identity()
        if norm:
            self.project = conv_unit(in_channels, out_channels, kernel=1, relu=False)
        elif in_channels != out_channels:
            self.project = _projection(in_channels, out_channels)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """The map that is added, from the stage's input and the map before its pooling."""
        kept: Tensor = self.project(before if self.pooled else after)
        return kept


def _entrance(config: DecoderConfig, encoder: EncoderLike, classes: int) -> tuple[nn.Module, int]:
    """The module that brings the deepest map to the channels of the first stage, and these channels."""
    deepest, wanted = encoder.deepest_channels, encoder.channels[-1]
    if config.compress:
        return _projection(deepest, classes), classes
    entrance = nn.Sequential(Context(deepest, config.context)) if config.context else nn.Sequential()
    if config.upsampling == "indices" and deepest != wanted:  # a backbone's last map, which no pooling made
        entrance.append(conv_unit(deepest, wanted, kernel=1, relu=config.relu))
        deepest = wanted
    # One part stands by itself, and so do its names in model files.
    return (entrance[0] if len(entrance) == 1 else entrance if len(entrance) else nn.Identity()), deepest


def _skip(config: DecoderConfig, encoder: EncoderLike, number: int, out_channels: int) -> nn.Module:
    pooled = config.addition == "pooled"
    channels = (encoder.pooled_channels if pooled else encoder.channels)[number - 1]
    # Above the first stage there is no pooling but the image.
    if config.addition == "none" or not channels:
        return NoSkip()
    return Skip(channels, out_channels, pooled=pooled, norm=config.addition_norm)


def _projection(in_channels: int, out_channels: int) -> nn.Conv2d:
    return he_init(nn.Conv2d(in_channels, out_channels, 1))
