"""The encoder: convolutions and 2x2 max-pooling with pooling codes: the position of each maximum, two bits a window.

Sources: the authors' prototxt files (SegNet-Tutorial, Models/segnet_train.prototxt and
Models/segnet_basic_train.prototxt; the dropout before the pooling from Example_Models/segnet_pascal.prototxt).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch.nn.functional as F
from torch import Tensor, is_grad_enabled, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from segnet.errors import ConfigError
from segnet.nn.codes import max_pool
from segnet.system.field_types import check_types

__all__ = ["Encoder", "EncoderConfig", "Kept", "conv_stage", "conv_unit", "he_init", "recomputed"]

Widths = tuple[tuple[int, ...], ...]
T = TypeVar("T")

_LARGEST_KERNEL = 255
_MOST_STAGES = 16  # so many halvings leave one pixel of any image


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Configuration of an encoder.

    Attributes:
        kind: ``convolutions`` (described by ``widths`` and ``kernel``), ``squeezenet1_1``, ``efficientnet_lite0``,
            ``timm/NAME``, or ``custom`` (a module that is handed over in Python).
        widths: per stage, output channels of its convolutions; every stage ends in a 2x2 max-pooling.
        kernel: side of the square filters.
        stem_stride: of SqueezeNet's first convolution: 1, or 2 as in the original, which leaves the last doubling to
            bilinear interpolation of the logits.
        batch_norm: whether each convolution is followed by batch norm.
        dropout_before_pooling: stages, counted from 1 at full resolution, with dropout before their pooling.
        dropout_after_pooling: the same, after it.

    Raises:
        ConfigError: a value has the wrong type or is not possible.
    """

    kind: str = "convolutions"
    widths: Widths = ()
    kernel: int = 3
    stem_stride: int = 1
    batch_norm: bool = True
    dropout_before_pooling: tuple[int, ...] = ()
    dropout_after_pooling: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_types(self)
        check_stages("encoder", self.widths, self.kernel)
        if (self.kind == "convolutions") != bool(self.widths):
            raise ConfigError(
                f"an encoder of kind {self.kind!r} with widths {self.widths}: only stages of convolutions "
                "are described by widths"
            )
        if self.stem_stride not in ((1, 2) if self.kind == "squeezenet1_1" else (1,)):
            raise ConfigError(
                f"stem_stride={self.stem_stride} with an encoder of kind {self.kind!r} is not possible; give 1, or 2 "
                "for squeezenet1_1"
            )
        if self.widths and any(not stage for stage in self.widths):
            raise ConfigError("every stage of the encoder needs at least one convolution")


class Kept(NamedTuple):
    """Outputs of one encoder stage for the decoder: pooling code, size and skip connection.

    Attributes:
        code: where the maxima of its pooling were (see ``segnet.nn.codes``); None if the decoder does not use it.
        covered: (H, W) that the windows of the pooling covered; all of ``size``, but where a backbone rounds down.
        size: (H, W) before the pooling.
        features: (N, C, H, W) for the decoder to add; None if it adds nothing.
    """

    code: Tensor | None
    covered: tuple[int, int]
    size: tuple[int, int]
    features: Tensor | None = None


# What the decoder wants of a stage: called with the stage's input and the map before its pooling.
Skip = Callable[[Tensor, Tensor], Tensor | None]


class Encoder(nn.Module):
    """Stages of convolutions, each ended by a max-pooling.

    Args:
        stages: one module per stage; each keeps the size, but for a first that strides.
        channels: per stage, those of its result, shallowest first.
        config: where dropout is.
        dropout: its probability.
        codes: whether the positions of the maxima are kept.
        full_resolution: whether the first stage works at the image's own size.

    Attributes:
        channels: per stage, those of the map before its pooling, shallowest first.
        pooled_channels: per stage, those of what the pooling above gave; 0 for the first, which sees the image.
        deepest_channels: of the result.
        halving: True; every stage halves the resolution.
        full_resolution: whether the first stage works at the image's own size.
        save_memory: in training, keep only each stage's input and compute the rest again.
    """

    halving = True

    def __init__(
        self,
        stages: Iterable[nn.Module],
        channels: Sequence[int],
        config: EncoderConfig,
        *,
        dropout: float,
        codes: bool,
        full_resolution: bool = True,
    ) -> None:
        super().__init__()
        self.full_resolution = full_resolution
        self.channels = tuple(channels)
        self.pooled_channels = (0, *self.channels[:-1])
        self.deepest_channels = self.channels[-1]
        self.codes = codes
        self.save_memory = False
        self.stages = nn.ModuleList(stages)
        self.dropouts = _dropouts(dropout, config.dropout_after_pooling, len(channels))
        self.early_dropouts = _dropouts(dropout, config.dropout_before_pooling, len(channels))

    def forward(self, x: Tensor, skips: Sequence[Skip]) -> tuple[Tensor, list[Kept]]:
        """From (N, C, H, W) to the deepest map and one ``Kept`` per stage, shallowest first."""
        kept = []
        for number, skip in enumerate(skips):
            x, entry = recomputed(self, self._stage, number, x, skip)
            kept.append(entry)
        return x, kept

    def pool(self, before: Tensor, x: Tensor, skip: Skip) -> tuple[Tensor, Kept]:
        """The end of a stage: its input and its map before the pooling to the map after it, and what is kept."""
        features, size = skip(before, x), (x.shape[-2], x.shape[-1])
        x, code = max_pool(x)
        return x, Kept(code if self.codes else None, size, size, features)

    def _stage(self, number: int, before: Tensor, skip: Skip) -> tuple[Tensor, Kept]:
        x, entry = self.pool(before, self.early_dropouts[number](self.stages[number](before)), skip)
        return self.dropouts[number](x), entry


def recomputed(module: nn.Module, run: Callable[..., T], *arguments: Any) -> T:
    """Call ``run(*arguments)``, with activation checkpointing if the module saves memory.

    Same result and same gradients: dropout draws the same, batch-norm statistics count a batch once, also those of
    modules among the arguments.
    """
    if not (module.save_memory and module.training and is_grad_enabled()):
        return run(*arguments)
    parts = [module, *(each for each in arguments if isinstance(each, nn.Module))]
    result: T = checkpoint(run, *arguments, use_reentrant=False, context_fn=lambda: (nullcontext(), _still(parts)))
    return result


def fitted(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Crop a map (N, C, H, W), or pad it with zeros, at the bottom and the right.

    A slice would leave an exported program with a size that it cannot prove; a negative pad does not.
    """
    return F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2]))


def conv_stage(
    in_channels: int,
    widths: Sequence[int],
    *,
    kernel: int,
    relu: bool,
    batch_norm: bool = True,
    depthwise: bool = False,
) -> nn.Sequential:
    """Several ``conv_unit`` in a row."""
    inputs = [in_channels, *widths][: len(widths)]
    return nn.Sequential(
        *(
            conv_unit(i, o, kernel=kernel, relu=relu, batch_norm=batch_norm, depthwise=depthwise)
            for i, o in zip(inputs, widths, strict=True)
        )
    )


def conv_unit(
    in_channels: int,
    out_channels: int,
    *,
    kernel: int,
    relu: bool,
    batch_norm: bool = True,
    depthwise: bool = False,
    stride: int = 1,
    dilation: int = 1,
) -> nn.Sequential:
    """Convolution with optional batch norm and ReLU, same padding, initialized as published."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    groups, padding = in_channels if depthwise else 1, dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, groups)
    parts["conv"] = he_init(conv)
    if batch_norm:
        # The published batch norm uses eps 1e-9, which is zero in float16; PyTorch's 1e-5 is kept instead.
        parts["bn"] = norm = nn.BatchNorm2d(out_channels)
        nn.init.constant_(norm.bias, 0.001)  # bn_filler of the published files
    if relu:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def he_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Caffe's "msra" filler: normal with variance 2 / (inputs of one filter); bias zero."""
    if not conv.weight.is_meta:  # there PyTorch would import its compiler, for a second, to draw nothing
        nn.init.kaiming_normal_(conv.weight, mode="fan_in", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def check_stages(side: str, widths: Widths, kernel: int) -> None:
    """Raise ``ConfigError`` if widths or kernel are not possible."""
    if len(widths) > _MOST_STAGES or any(width < 1 for stage in widths for width in stage):
        raise ConfigError(f"{side} widths {widths} are not possible; give 1 to {_MOST_STAGES} stages, channels above 0")
    if not 1 <= kernel <= _LARGEST_KERNEL or kernel % 2 == 0:
        raise ConfigError(
            f"the {side}'s kernel {kernel} must be odd, so that the size is kept, and 1 to {_LARGEST_KERNEL}"
        )


def _dropouts(probability: float, places: Sequence[int], stages: int) -> nn.ModuleList:
    wanted = places if probability else ()
    return nn.ModuleList(
        nn.Dropout(probability) if number in wanted else nn.Identity() for number in range(1, stages + 1)
    )


@contextmanager
def _still(modules: Sequence[nn.Module]) -> Any:
    """Batch norm computes as in training, without updating its running statistics."""
    norms = [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm)]
    statistics = [dict(norm.named_buffers(recurse=False)) for norm in norms]
    for norm, tensors in zip(norms, statistics, strict=True):
        # Copies, not nothing: the second pass has to save as many tensors as the first.
        norm._buffers.update({name: tensor.clone() for name, tensor in tensors.items()})
    try:
        yield
    finally:
        for norm, tensors in zip(norms, statistics, strict=True):
            norm._buffers.update(tensors)
