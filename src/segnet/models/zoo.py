"""The models by name: one row each.

Sources: SegNet-Tutorial, Models/segnet_train.prototxt (``segnet``) and Models/segnet_basic_train.prototxt
(``segnet_basic``); places of the dropout from Models/bayesian_segnet_train.prototxt and
Models/bayesian_segnet_basic_train.prototxt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatch

from segnet.errors import ConfigError
from segnet.models.pretrained import load_encoder_weights
from segnet.models.segnet import SegNet, SegNetConfig

__all__ = ["MODELS", "create_model", "list_models"]

_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))

MODELS: Mapping[str, SegNetConfig] = {
    # The last 3x3 convolution of the published decoder (conv1_1_D) is the classifier.
    "segnet": SegNetConfig(
        name="segnet",
        encoder=_VGG16,
        decoder=((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,)),
        dropout_stages=(3, 4, 5),
    ),
    # The published net takes 0..255 without mean subtraction, hence mean 0 and std 1/255.
    "segnet_basic": SegNetConfig(
        name="segnet_basic",
        encoder=((64,), (64,), (64,), (64,)),
        decoder=((64,), (64,), (64,), (64,)),
        kernel=7,
        decoder_relu=False,
        classifier_kernel=1,
        local_response_norm=True,
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
        dropout_stages=(3, 4),
    ),
}


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern, such as ``"*basic*"``, sorted."""
    return sorted(name for name in MODELS if fnmatch(name, pattern))


def create_model(
    name: str,
    *,
    classes: int = 11,
    in_channels: int = 3,
    dropout: float = 0.0,
    encoder_weights: str | None = None,
    freeze_encoder: bool = False,
) -> SegNet:
    """A new network, initialised as published (He et al.), in training mode.

    >>> create_model("segnet_basic", classes=11)(torch.rand(1, 3, 360, 480)).shape
    torch.Size([1, 11, 360, 480])

    Args:
        name: one of ``list_models()``.
        classes: how many classes, 1 to 255.
        in_channels: channels of the picture; pretrained first filters are adapted.
        dropout: probability at the places where Bayesian SegNet has it; 0 is the plain SegNet.
        encoder_weights: a file with torchvision's ``vgg16`` or ``vgg16_bn`` names (.safetensors or .pth), or
            ``"vgg16"`` or ``"vgg16_bn"`` to download torchvision's ImageNet weights (hash checked).
        freeze_encoder: train the decoder alone.

    Raises:
        ConfigError: the name is unknown or a value is out of range.
        ModelError: the weights cannot be had or do not fit.
    """
    if name not in MODELS:
        near = get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(list_models())}"
        raise ConfigError(f"there is no model {name!r}; {hint}")
    model = SegNet(replace(MODELS[name], classes=classes, in_channels=in_channels, dropout=dropout))
    if encoder_weights is not None:
        load_encoder_weights(model.encoder, encoder_weights)
    if freeze_encoder:
        model.freeze_encoder()
    return model
