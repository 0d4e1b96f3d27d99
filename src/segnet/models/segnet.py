"""SegNet: the configuration that describes a network, and the network.

Source: Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture
for Image Segmentation", PAMI 2017 (arXiv:1511.00561), and the authors' prototxt files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from itertools import chain, cycle, islice, pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from segnet.bands import Bands, Channels, count_channels
from segnet.errors import ConfigError, ModelError, ShapeError
from segnet.models.decoders import Decoder, DecoderConfig
from segnet.models.encoder_kinds import OWN_KINDS, build_encoder
from segnet.models.encoders import Encoder, EncoderConfig, he_init
from segnet.models.hub_module import HubModule
from segnet.models.model_file import ModelFile
from segnet.models.settings import from_dict
from segnet.system.field_types import check_types

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "SegNet",
    "SegNetConfig",
    "is_segnet",
    "normed_convolutions",
    "require_segnet",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class SegNetConfig:
    """Architecture of a network; stored in its model file.

    Attributes:
        name: what the network is called.
        encoder: see ``EncoderConfig``.
        decoder: see ``DecoderConfig``.
        local_response_norm: whether the image passes through LRN (size 5, alpha 1e-4, beta 0.75).
        mean, std: of the image in [0, 1], per channel; cycled if there are other than three channels.
        dropout: probability at the places that encoder and decoder name; 0 is the plain SegNet.
        classes: how many classes, 1 to 255.
        in_channels: channels of the image.
        bands: the bands of image files that these are; the default: RGB, gray, or all bands.

    Raises:
        ConfigError: a value has the wrong type or is out of range.
    """

    name: str
    encoder: EncoderConfig
    decoder: DecoderConfig
    local_response_norm: bool = False
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    dropout: float = 0.0
    classes: int = 11
    in_channels: int = 3
    bands: Bands = Bands()  # noqa: RUF009

    def __post_init__(self) -> None:
        check_types(self)
        if not 1 <= self.classes <= 255:
            raise ConfigError(f"classes={self.classes} is not possible; give 1 to 255")
        if self.in_channels < 1:
            raise ConfigError(f"in_channels={self.in_channels} is not possible; give 1 or more")
        if self.bands.indices and count_channels(self.bands) != self.in_channels:
            raise ConfigError(f"bands {list(self.bands.indices)} are not possible with in_channels={self.in_channels}")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout={self.dropout} is not possible; give a probability from 0 to below 1")
        if not self.mean or not self.std or min(self.std) <= 0:
            raise ConfigError(f"mean={self.mean} and std={self.std} are not possible; give numbers, std above 0")
        encoder, decoder = self.encoder, self.decoder
        places = encoder.dropout_before_pooling + encoder.dropout_after_pooling + decoder.dropout_stages
        if not set(places) <= set(range(1, len(decoder.widths) + 1)):
            raise ConfigError(f"dropout at stages {sorted(set(places))}: the stages are 1 to {len(decoder.widths)}")

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The configuration that ``to_dict`` wrote.

        Raises:
            ConfigError: a key is unknown or missing, or a value is not possible.
        """
        return from_dict(cls, values)

    def to_dict(self) -> dict[str, Any]:
        """All settings in a form that JSON can hold."""
        return asdict(self)

    @property
    def image_channels(self) -> Channels:
        """How images are read for the network."""
        return self.bands if self.bands.indices else self.in_channels


class SegNet(HubModule):
    """Image in, logits out, any size.

    >>> model = SegNet(config)
    >>> model(torch.rand(1, 3, 361, 479)).shape
    torch.Size([1, 11, 361, 479])

    Args:
        config: see ``SegNetConfig``.
        backbone: the encoder of kind ``custom``: a module that returns a list of maps (see ``backbones``); for a kind
            of timm's, its model with weights.

    Attributes:
        pretrained: whether weights of a segmentation model were loaded; training then starts with small steps.

    Raises:
        ConfigError: encoder and decoder do not fit each other, or ``config`` is of another type.
    """

    config: SegNetConfig
    mean: Tensor
    std: Tensor

    def __init__(self, config: SegNetConfig, backbone: nn.Module | None = None) -> None:
        super().__init__()
        if not isinstance(config, SegNetConfig):
            raise ConfigError(f"a {type(config).__name__} is no SegNetConfig; segnet.create_model takes names")
        self.config = config
        self.pretrained = False
        self.frozen_stages = 0
        self.register_buffer("mean", _per_channel(config.mean, config.in_channels))
        self.register_buffer("std", _per_channel(config.std, config.in_channels))
        self.encoder = build_encoder(
            config.encoder,
            config.in_channels,
            dropout=config.dropout,
            codes=config.decoder.upsampling == "indices",
            backbone=backbone,
        )
        self.decoder = Decoder(config.decoder, self.encoder, classes=config.classes, dropout=config.dropout)
        side = config.decoder.classifier_kernel
        self.classifier: nn.Module = nn.Identity()  # compressed maps are the logits
        if not config.decoder.compress:
            self.classifier = he_init(nn.Conv2d(self.decoder.out_channels, config.classes, side, padding=side // 2))

    @classmethod
    def from_file(cls, content: ModelFile, path: Path, *, encoder: nn.Module | None = None) -> SegNet:
        """The network of a model file, in evaluation mode, float32, on the CPU.

        Args:
            content: of the file.
            path: of the file, for errors.
            encoder: for a model around a module of your own: that module again; it is filled with the file's weights.

        Raises:
            ModelError: the settings cannot be used, or the tensors do not belong to them.
        """
        try:
            config = SegNetConfig.from_dict(content.config)
        except (ConfigError, RecursionError, OverflowError) as error:
            raise ModelError(f"{path}: the description in the file cannot be used ({error})") from error
        labels = content.description.labels
        if config.classes != labels.classes:
            raise ModelError(
                f"{path}: the network has {config.classes} classes but the class table {labels.classes}; "
                "write the file again, with the table of its classes"
            )
        model = _fill_network(config, content.state, encoder, path)
        model.description = content.description
        return model.eval()

    def stored_state(self, path: Path) -> dict[str, Tensor]:
        """The tensors for a model file.

        Args:
            path: of the file, for errors.

        Raises:
            ModelError: they are not those of a network of this config, so that the file could not be read.
        """
        state = self.state_dict()
        if self.config.encoder.kind not in OWN_KINDS:  # a module of the user's, or of timm's
            return state
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in SegNet(self.config).state_dict().items()}
        changed = dict(shapes.items() ^ {name: value.shape for name, value in state.items()}.items())
        if changed:
            raise ModelError(
                f"{path}: no file can hold this network, since its tensor {min(changed)} is not as its config says; "
                "undo the change of its layers, such as pruning, weight norm or folding, or keep state_dict() with "
                "torch.save"
            )
        return state

    def forward(self, image: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            image: floating (N, C, H, W), of the weights' dtype or a narrower one, RGB in [0, 1]; any H and W from 1 up.

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
        x, kept = self.encoder(self.normalized(image), self.decoder.skips)
        return self.classified(self.decoder(x, kept), image)

    def set_bands(self, bands: Bands, *, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Take these bands of images from now on, normalized by their own statistics.

        Pretrained filters get values of the size that they are used to: the standard deviation of ImageNet's images,
        divided by that of the network's normalization so far, is kept.

        Args:
            bands: as many as the network has channels.
            mean, std: of each band on the scale from 0 to 1; std above 0.

        Raises:
            ConfigError: The number of bands or statistics does not fit.
        """
        if not len(mean) == len(std) == len(bands.indices) == self.config.in_channels:
            raise ConfigError(f"{len(bands.indices)} bands do not fit a network of {self.config.in_channels} channels")
        scale = 1.0 if self.config.bands.indices else fmean(self.config.std) / fmean(IMAGENET_STD)
        self.config = replace(self.config, bands=bands, mean=mean, std=tuple(scale * value for value in std))
        self.mean.copy_(_per_channel(self.config.mean, len(mean)))
        self.std.copy_(_per_channel(self.config.std, len(std)))

    def extra_repr(self) -> str:
        """The first line of the representation: name, classes, channels and parameters; the layers follow."""
        count = sum(parameter.numel() for parameter in self.parameters())
        config = self.config
        return f"{config.name}, classes={config.classes}, in_channels={config.in_channels}, parameters={count:,}"

    def normalized(self, image: Tensor) -> Tensor:
        """Normalize an image batch in [0, 1] for the encoder."""
        x = (image - self.mean) / self.std
        return local_response_norm(x) if self.config.local_response_norm else x

    def classified(self, x: Tensor, image: Tensor) -> Tensor:
        """Logits at the size of the image, from the decoder's output."""
        logits: Tensor = self.classifier(x)
        if not self.encoder.full_resolution:
            logits = F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)
        return logits

    def folded(self) -> SegNet:
        """A copy for inference, in float32: batch norm folded into the convolution before it, evaluation mode.

        Same logits up to rounding; the copy cannot be trained or saved.
        """
        copy = deepcopy(self).float().eval()
        for _, unit, conv, norm in list(normed_convolutions(copy)):
            unit.conv, unit.bn = fuse_conv_bn_eval(conv, norm), nn.Identity()
        return copy.eval()

    def save_memory(self, mode: bool = True) -> None:
        """Train in less memory: keep each stage's input only, and compute the rest again in the backward pass.

        Weights, scores and random numbers come out the same; a step takes about a third longer.
        """
        self.encoder.save_memory = self.decoder.save_memory = mode

    @property
    def encoder_stages(self) -> int:
        """Number of encoder stages that can be frozen separately; a custom backbone counts as one."""
        return len(self._encoder_parts())

    def freeze_encoder(self, stages: int | None = None) -> None:
        """Freeze the encoder: no gradients, and batch norm in evaluation mode.

        Args:
            stages: how many, from the shallowest on; the others learn. None: all.

        Raises:
            ConfigError: there are not so many.
        """
        parts = self._encoder_parts()
        if stages is not None and not 0 <= stages <= len(parts):
            raise ConfigError(f"stages={stages} is not possible; give 0 to {len(parts)}, the stages of this encoder")
        self.frozen_stages = len(parts) if stages is None else stages
        for number, part in enumerate(parts):
            part.requires_grad_(number >= self.frozen_stages)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As ``nn.Module.train``; frozen stages stay in evaluation mode."""
        super().train(mode)
        for part in self._encoder_parts()[: self.frozen_stages]:
            part.eval()
        return self

    def _encoder_parts(self) -> list[nn.Module]:
        return list(self.encoder.stages) if isinstance(self.encoder, Encoder) else [self.encoder]


def normed_convolutions(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Conv2d, nn.BatchNorm2d]]:
    """Every unit of a convolution ``conv`` and a batch norm ``bn`` behind it: its name, itself, and these two.

    Plain classes only: a module of the user's may run them in another order, and a subclass may compute more. A norm
    without running statistics depends on its input, so it is left out.
    """
    for name, unit in model.named_modules():
        if type(unit) is not nn.Sequential:
            continue
        for (first, conv), (second, norm) in pairwise(unit.named_children()):
            if (first, second) != ("conv", "bn") or type(conv) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d:
                continue
            if norm.running_mean is not None:
                yield name, unit, conv, norm


def local_response_norm(x: Tensor) -> Tensor:
    """LRN across channels as SegNet-Basic has it: size 5, alpha 1e-4, beta 0.75, k 1; (N, C, H, W).

    Equal to ``F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)``, in operators that every exporter knows.
    """
    channels = x.shape[1]
    # Scaled before the sum: in float16 the sum of two squares of 255 is infinite.
    squares = F.pad(x * x * (1e-4 / 5), (0, 0, 0, 0, 2, 2))
    energy = sum((squares[:, start : start + channels] for start in range(1, 5)), squares[:, :channels])
    return x * (1.0 + energy) ** -0.75


def is_segnet(model: object) -> bool:
    """Whether a model is a network of this package; what ``torch.compile`` returns of one is one."""
    return hasattr(model, "stored_state")  # torch.compile passes attributes on


def require_segnet(model: object) -> None:
    """Refuse what is no network of this package.

    Raises:
        ModelError: it is of another type.
    """
    if not is_segnet(model):
        raise ModelError(f"a {type(model).__name__} is no SegNet; give segnet.load(path).model of a file or a name")


def _per_channel(values: tuple[float, ...], channels: int) -> Tensor:
    return torch.tensor(list(islice(cycle(values), channels))).view(1, -1, 1, 1)


def _fill_network(config: SegNetConfig, state: Mapping[str, Tensor], encoder: nn.Module | None, path: Path) -> SegNet:
    """The network with the file's tensors; a missing, unknown or unfitting one is an error that names it."""
    if config.encoder.kind == "custom" and encoder is None:
        raise ModelError(
            f"{path}: was built around a module of its author's; load it in Python and hand that module over"
        )
    stages = config.encoder.widths + config.decoder.widths
    largest = max(chain.from_iterable(value.shape for value in state.values()), default=0)
    widest = max(config.in_channels, config.decoder.context, *chain.from_iterable(stages))
    if sum(map(len, stages)) > len(state) or widest > largest:
        raise ModelError(f"{path}: describes more or wider convolutions than the file has tensors; it is not complete")
    try:
        # Without memory at first: a few bytes of description could ask for any amount of it.
        with torch.device("meta"):
            model = SegNet(config, encoder).float()
        _check_tensors(model, state, path)
        if not config.encoder.widths:  # other encoders may hold tensors that no file has
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # first weights are drawn, only to be replaced
                model = SegNet(config, encoder).float()
    except (ConfigError, RuntimeError, OverflowError) as error:
        raise ModelError(f"{path}: the network that it describes cannot be built ({error})") from error
    target = model.state_dict()
    # Copied, since the file may be mapped into memory and may change.
    ready = {name: value.to(target[name].dtype, copy=True) for name, value in state.items()}
    model.load_state_dict(ready, assign=bool(config.encoder.widths))
    model.pretrained = True
    return model


def _check_tensors(model: SegNet, state: Mapping[str, Tensor], path: Path) -> None:
    target = model.state_dict()
    for name in sorted(set(target) | set(state)):
        if name not in state:
            raise ModelError(f"{path}: the tensor {name} is missing; the file is not complete")
        if name not in target:
            raise ModelError(f"{path}: holds the tensor {name}, which a {model.config.name} does not have")
        value, wanted = state[name], target[name]
        if value.shape != wanted.shape:
            raise ModelError(f"{path}: {name} has shape {tuple(value.shape)}, expected {tuple(wanted.shape)}")
        if value.is_floating_point() != wanted.is_floating_point():
            raise ModelError(f"{path}: {name} holds {value.dtype}, expected {wanted.dtype}")
