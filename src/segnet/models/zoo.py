"""The models by name: one row each.

Sources: SegNet-Tutorial, Models/ and Example_Models/ (the file is named beside each row); the eight decoders of Table 1
from the PAMI paper, section 3.1; VGG from Simonyan and Zisserman, 2015, in torchvision's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from torch import nn

from segnet.errors import ConfigError, ModelError
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.backbones import Backbone, timm_backbone
from segnet.models.checkpoint import Checkpoint
from segnet.models.decoders import DecoderConfig
from segnet.models.efficientnet import CHANNELS as EFFICIENTNET_CHANNELS
from segnet.models.efficientnet import LITE_MEAN, LITE_STD
from segnet.models.encoders import EncoderConfig, Widths
from segnet.models.pretrained import DOWNLOADS, fill_encoder, read_weights
from segnet.models.segnet import IMAGENET_MEAN, IMAGENET_STD, SegNet, SegNetConfig
from segnet.models.squeezenet import squeezenet_channels
from segnet.models.transfer import transfer

__all__ = ["ENCODERS", "MODELS", "adapted", "create_model", "list_encoders", "list_models", "mirrored"]

# Convolutions per stage.
_VGG_DEPTHS = {"vgg11": (1, 1, 2, 2, 2), "vgg13": (2,) * 5, "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _vgg(depths: tuple[int, ...]) -> Widths:
    return tuple((width,) * depth for width, depth in zip((64, 128, 256, 512, 512), depths, strict=True))


# The encoders by name; besides them "timm/NAME", and any module that returns a list of maps.
ENCODERS: Mapping[str, EncoderConfig] = {
    **{name: EncoderConfig(widths=_vgg(depths), batch_norm=False) for name, depths in _VGG_DEPTHS.items()},
    **{f"{name}_bn": EncoderConfig(widths=_vgg(depths)) for name, depths in _VGG_DEPTHS.items()},
    "squeezenet1_1": EncoderConfig(kind="squeezenet1_1", batch_norm=False),
    "squeezenet1_1_bn": EncoderConfig(kind="squeezenet1_1"),
    "efficientnet_lite0": EncoderConfig(kind="efficientnet_lite0"),
}

# Models/segnet_train.prototxt; the last convolution of its decoder (conv1_1_D) is the classifier.
_SEGNET = SegNetConfig(
    name="segnet",
    encoder=replace(ENCODERS["vgg16_bn"], dropout_after_pooling=(3, 4, 5)),
    decoder=DecoderConfig(
        widths=((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,)), dropout_stages=(3, 4, 5)
    ),
)
# Models/segnet_basic_train.prototxt; it takes 0..255 without mean subtraction, hence mean 0 and std 1/255.
_BASIC = SegNetConfig(
    name="segnet_basic",
    encoder=EncoderConfig(widths=((64,),) * 4, kernel=7, dropout_after_pooling=(3, 4)),
    decoder=DecoderConfig(widths=((64,),) * 4, kernel=7, relu=False, classifier_kernel=1, dropout_stages=(3, 4)),
    local_response_norm=True,
    mean=(0.0, 0.0, 0.0),
    std=(1 / 255, 1 / 255, 1 / 255),
)
# Ours, for small machines: an encoder with ImageNet weights that are free to use, codes at every doubling but the last,
# and the encoder's maps added. The codes are of narrow maps, and several channels of the decoder share each.
_LIGHT = SegNetConfig(
    name="segnet_light",
    encoder=ENCODERS["efficientnet_lite0"],
    decoder=DecoderConfig(
        widths=((120,), (96,), (64,), (32,)), addition="maps", addition_norm=True, dropout_stages=(3, 4)
    ),
    mean=LITE_MEAN,
    std=LITE_STD,
)
# The same idea on SqueezeNet, with context; the ablation of docs/explanation/segnet-squeezenet.md is of this one.
_SQUEEZENET = SegNetConfig(
    name="segnet_squeezenet",
    encoder=EncoderConfig(kind="squeezenet1_1", stem_stride=2, dropout_after_pooling=(3, 4)),
    decoder=DecoderConfig(
        widths=((64, 256), (128,), (64, 64), (32,)), addition="maps", context=64, dropout_stages=(3, 4)
    ),
)
_FCN = replace(_BASIC.decoder, widths=((),) * 4, upsampling="learned")

_BASIC_DECODERS = {
    "bilinear": replace(_FCN, upsampling="bilinear", compress=True),
    "segnet_basic": _BASIC.decoder,
    "segnet_basic_encoder_addition": replace(_BASIC.decoder, addition="maps"),
    "segnet_basic_single_channel_decoder": replace(_BASIC.decoder, depthwise=True),
    "fcn_basic": replace(_FCN, addition="pooled", compress=True),
    "fcn_basic_no_addition": replace(_FCN, compress=True),
    "fcn_basic_no_dim_reduction": replace(_FCN, addition="pooled"),
    "fcn_basic_no_addition_no_dim_reduction": _FCN,
}

# Example_Models/segnet_pascal.prototxt: before every pooling, after the last, and after all decoder stages but one.
_PASCAL_ENCODER = replace(_SEGNET.encoder, dropout_before_pooling=(1, 2, 3, 4, 5), dropout_after_pooling=(5,))
_PASCAL_DECODER = replace(_SEGNET.decoder, dropout_stages=(2, 3, 4, 5))

MODELS: Mapping[str, SegNetConfig] = {
    "segnet": _SEGNET,
    "segnet_light": _LIGHT,
    "segnet_squeezenet": _SQUEEZENET,
    # Models/bayesian_segnet_train.prototxt
    "bayesian_segnet": replace(_SEGNET, name="bayesian_segnet", dropout=0.5),
    # Example_Models/bayesian_segnet_camvid.prototxt: one convolution more, then the classifier named camvid
    "bayesian_segnet_camvid": replace(
        _SEGNET,
        name="bayesian_segnet_camvid",
        decoder=replace(_SEGNET.decoder, widths=(*_SEGNET.decoder.widths[:-1], (64, 64))),
        dropout=0.5,
    ),
    # Example_Models/segnet_model_driving_webdemo.prototxt: CamVid's eleven classes and road markings
    "segnet_webdemo": replace(_SEGNET, name="segnet_webdemo", classes=12),
    # Example_Models/segnet_sun.prototxt: 37 classes, and class 0 that is never learned
    "segnet_sun": replace(_SEGNET, name="segnet_sun", dropout=0.5, classes=38),
    "segnet_pascal": replace(
        _SEGNET, name="segnet_pascal", encoder=_PASCAL_ENCODER, decoder=_PASCAL_DECODER, dropout=0.5, classes=21
    ),
    # Models/bayesian_segnet_basic_train.prototxt
    "bayesian_segnet_basic": replace(_BASIC, name="bayesian_segnet_basic", dropout=0.5),
    # Table 1 of the paper
    **{name: replace(_BASIC, name=name, decoder=decoder) for name, decoder in _BASIC_DECODERS.items()},
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, such as ``"*basic*"``, sorted."""
    return sorted(name for name in MODELS if fnmatch(name, pattern))


def list_encoders() -> list[str]:
    """Names of the encoders for any model; ``timm/NAME`` works as well."""
    return list(ENCODERS)


def create_model(
    name: str,
    *,
    classes: int | ClassTable | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    weights: str | Path | None = None,
    encoder: str | nn.Module | None = None,
    encoder_weights: str | None = None,
    freeze_encoder: bool = False,
) -> SegNet:
    """A new network, initialized as published (He et al.), in training mode.

    >>> create_model("segnet_basic", classes=11)(torch.rand(1, 3, 360, 480)).shape
    torch.Size([1, 11, 360, 480])

    Args:
        name: one of ``list_models()``.
        classes: how many classes, 1 to 255, or the class table; None: as many as published.
        in_channels: channels of the image; pretrained first filters are adapted.
        dropout: probability at the places where Bayesian SegNet has it; None: as published, 0: none.
        weights: a model file, or a bundled model's name, from which all is taken that fits by name and shape. The
            classifier is new, except for the rows of classes whose names ``classes`` has in common with the file; if
            ``classes`` is a number, it is the file's where that has as many classes.
        encoder: another encoder under the same decoder: one of ``list_encoders()``, ``timm/NAME``, or a module that
            returns a list of maps (see ``segnet.models.backbones``); the decoder mirrors its stages.
        encoder_weights: a file with torchvision's names (.safetensors or .pth), as "segnet convert" writes, or with
            EfficientNet-Lite0's; a name such as ``"vgg16"`` to download torchvision's (hash checked); ``"imagenet"``
            for those of the encoder's own name, or timm's.
        freeze_encoder: train only the decoder.

    Raises:
        ConfigError: a name is unknown, a value is out of range, the encoder does not keep to the contract, or weights
            are given twice.
        ModelError: the weights cannot be had or do not fit.
        MissingPackageError: an encoder of timm's is wanted, and timm is not there.
    """
    if name not in MODELS:
        raise ConfigError(f"there is no model {name!r}; {_hint(name, list_models())}")
    if isinstance(classes, list | tuple):
        raise ConfigError("classes is a list; give how many, or segnet.ClassTable.from_names(classes)")
    labels, count = (classes, classes.classes) if isinstance(classes, ClassTable) else (None, classes)
    kept = _read_model(weights, encoder_weights)
    row = MODELS[name]
    config = replace(
        row,
        classes=row.classes if count is None else _plain(count),
        in_channels=_plain(in_channels),
        dropout=row.dropout if dropout is None else dropout,
    )
    backbone = _backbone(encoder, in_channels, pretrained=encoder_weights == "imagenet")
    if encoder is not None:
        config = _with_encoder(config, encoder, backbone)
    if kept is not None:
        model = adapted(kept, config, backbone, source=str(weights), labels=labels)
    else:
        model = _with_encoder_weights(config, backbone, encoder_weights)
    if freeze_encoder:
        model.freeze_encoder()
    return model


def adapted(
    kept: Checkpoint, config: SegNetConfig, backbone: nn.Module | None = None, *, source: str, labels: ClassTable | None
) -> SegNet:
    """A new network that starts from what fits of a model file, in training mode.

    Args:
        kept: the model file's content; its normalization is that of the new network.
        config: the new network.
        backbone: see ``SegNet``.
        source: name of the model file in messages.
        labels: see ``transfer``.

    Raises:
        ModelError: nothing of the encoder fits.
    """
    theirs = kept.model.config
    made = replace(config, local_response_norm=theirs.local_response_norm)
    if theirs.in_channels == config.in_channels or not theirs.bands.indices:
        made = replace(made, mean=theirs.mean, std=theirs.std)
    if theirs.in_channels == config.in_channels:
        made = replace(made, bands=theirs.bands)
    model = SegNet(made, backbone)
    transfer(model, kept, source, labels)
    return model


def mirrored(decoder: DecoderConfig, channels: tuple[int, ...], depths: tuple[int, ...]) -> DecoderConfig:
    """The same kind of decoder for an encoder of other stages: as many convolutions, the channels in reverse.

    The last convolution of a stage goes down to the channels of the next stage's code. Of the first stage's
    convolutions one is left out, since the classifier stands there.

    Args:
        decoder: its ``widths`` are replaced, unless it has no convolutions.
        channels, depths: of the encoder's stages, shallowest first: channels and convolutions.
    """
    if not any(decoder.widths):
        return replace(decoder, widths=((),) * len(channels), dropout_stages=_present(decoder.dropout_stages, channels))
    ends = (0, *channels[:-1])
    stages = [
        (here,) * (depth - 1) + ((end,) if end else ()) for here, depth, end in zip(channels, depths, ends, strict=True)
    ]
    return replace(decoder, widths=tuple(reversed(stages)), dropout_stages=_present(decoder.dropout_stages, channels))


def _plain(number: int) -> int:
    """NumPy's whole numbers, such as the maximum of a mask, as those of Python, which alone can be saved."""
    return int(number) if isinstance(number, np.integer) else number


def _read_model(weights: str | Path | None, encoder_weights: str | None) -> Checkpoint | None:
    if weights is not None and encoder_weights is not None:
        raise ConfigError(
            f"--weights {weights} fills the encoder, too, so --encoder-weights {encoder_weights} would be lost; give "
            "one of the two"
        )
    return None if weights is None else checkpoint.load(weights)


def _with_encoder_weights(config: SegNetConfig, backbone: nn.Module | None, encoder_weights: str | None) -> SegNet:
    """The network, its encoder filled with a file of ImageNet weights if there is one."""
    of_timm = config.encoder.kind.startswith("timm/")
    if encoder_weights is None or (of_timm and encoder_weights == "imagenet"):
        return SegNet(config, backbone)
    if backbone is not None:
        raise ConfigError("a file of weights is for our own encoders; timm's take 'imagenet', a module brings its own")
    weights = read_weights(_imagenet_name(config.encoder) if encoder_weights == "imagenet" else encoder_weights)
    model = SegNet(replace(config, mean=weights.mean, std=weights.std, local_response_norm=False))
    fill_encoder(model.encoder, weights)
    return model


def _with_encoder(config: SegNetConfig, encoder: str | nn.Module, backbone: nn.Module | None) -> SegNetConfig:
    """The same network on another encoder."""
    row = config.encoder
    if backbone is not None:
        kind = encoder if isinstance(encoder, str) else "custom"
        body = Backbone(backbone, config.in_channels, codes=True)
        chosen, channels, depths = EncoderConfig(kind=kind), body.channels, (2,) + (1,) * (len(body.channels) - 1)
        about = getattr(backbone, "pretrained_cfg", None) or {}
        config = replace(
            config, mean=tuple(about.get("mean", IMAGENET_MEAN)), std=tuple(about.get("std", IMAGENET_STD))
        )
    elif encoder in ENCODERS:
        chosen = ENCODERS[str(encoder)]
        channels = _channels(chosen)
        depths = tuple(map(len, chosen.widths)) or (2,) + (1,) * (len(channels) - 1)
        chosen = replace(
            chosen,
            dropout_before_pooling=_present(row.dropout_before_pooling, channels),
            dropout_after_pooling=_present(row.dropout_after_pooling, channels),
        )
        lite = chosen.kind == "efficientnet_lite0"
        config = replace(config, mean=LITE_MEAN if lite else IMAGENET_MEAN, std=LITE_STD if lite else IMAGENET_STD)
    else:
        raise ConfigError(f"there is no encoder {encoder!r}; {_hint(str(encoder), [*ENCODERS, 'timm/NAME'])}")
    name = f"{config.name}-{encoder if isinstance(encoder, str) else 'custom'}"
    decoder = mirrored(config.decoder, channels, depths)
    return replace(config, name=name, encoder=chosen, decoder=decoder, local_response_norm=False)


def _channels(encoder: EncoderConfig) -> tuple[int, ...]:
    """Per stage, the channels of its map before the pooling, shallowest first."""
    if encoder.kind == "efficientnet_lite0":
        return EFFICIENTNET_CHANNELS[:-1]
    return tuple(stage[-1] for stage in encoder.widths) or squeezenet_channels()


def _present(stages: tuple[int, ...], channels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(stage for stage in stages if stage <= len(channels))


def _backbone(encoder: str | nn.Module | None, in_channels: int, *, pretrained: bool) -> nn.Module | None:
    if isinstance(encoder, str) and encoder.startswith("timm/"):
        return timm_backbone(encoder.removeprefix("timm/"), in_channels, pretrained=pretrained)
    return encoder if isinstance(encoder, nn.Module) else None


def _imagenet_name(encoder: EncoderConfig) -> str:
    """The encoder's name, by which its ImageNet weights are known."""
    bare = replace(encoder, stem_stride=1, dropout_before_pooling=(), dropout_after_pooling=())
    names = [name for name, config in ENCODERS.items() if config == bare and name in DOWNLOADS]
    if not names:
        raise ModelError(f"no ImageNet weights are known for this encoder; known are those of {', '.join(DOWNLOADS)}")
    return names[0]


def _hint(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
