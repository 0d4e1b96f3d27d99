"""The network that a run trains: a new one, or that of a model file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from segnet.data.dataset import ResizeMode
from segnet.data.layouts import Source
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.models.zoo import adapted, create_model
from segnet.training.recommendation import Recipe

__all__ = ["NetworkConfig", "RunInputs", "make_network"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network is trained, and which weights it starts from.

    Attributes:
        model: Name of the network ("segnet models" lists them), or model file to start from. A file of other classes
            gets a new classifier.
        in_channels: Number of image channels: 3 for color, 1 for gray.
        dropout: Dropout probability where Bayesian SegNet has dropout. Default: as published.
        weights: Model file, or name of a bundled model, from which a new network takes all weights that fit by name and
            shape. The classes may be others: those whose names the file has keep their rows of the classifier. Default:
            the bundled weights of the model, if there are, unless --encoder, --encoder-weights or --recipe scratch is
            given.
        encoder: Encoder under the decoder of the model: vgg19_bn, squeezenet1_1, timm/NAME or another that "segnet
            models" lists. Default: the model's own.
        encoder_weights: Pretrained weights of the encoder alone: imagenet, a name of torchvision's to download, or a
            file with torchvision's or EfficientNet-Lite0's names. Default: none.
        freeze_encoder: Train only the decoder, for few images or quick trials.
    """

    model: str = "segnet_light"
    in_channels: int = 3
    dropout: float | None = None
    weights: str | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    freeze_encoder: bool = False

    @property
    def names_file(self) -> bool:
        """Whether ``model`` is a model file, not the name of a network."""
        path = Path(self.model)
        return path.suffix == ".safetensors" or len(path.parts) > 1 or path.is_file()


@dataclass(frozen=True, kw_only=True)
class RunInputs:
    """What a run starts from, besides ``TrainConfig``; kept in ``config.yaml`` and in the model file.

    Attributes:
        data: location of the data set.
        source: how it is read.
        recipe: what decides the settings that are not given.
        resize: (height, width) of training images and masks; None: their own.
        resize_mode: letterbox or stretch.
        network: the network.
    """

    data: str
    source: SourceConfig = SourceConfig()  # noqa: RUF009
    recipe: Recipe = "standard"
    resize: tuple[int, int] | None = None
    resize_mode: ResizeMode = "letterbox"
    network: NetworkConfig = NetworkConfig()

    def to_dict(self) -> dict[str, Any]:
        """All values under the names of their flags, in a form that YAML and JSON can hold."""
        resize = {"resize": self.resize and list(self.resize), "resize_mode": self.resize_mode}
        return {"data": self.data, **_plain(self.source), "recipe": self.recipe, **resize, **asdict(self.network)}


def _plain(source: SourceConfig) -> dict[str, Any]:
    return {**asdict(source), "only": list(source.only)}


def make_network(config: NetworkConfig, source: Source) -> SegNet:
    """A new network for the classes of a data set, or the network of a model file, in training mode.

    Raises:
        ConfigError: values that exclude each other.
        ModelError: a model file cannot be used, or has other layers.
    """
    if config.names_file:
        return _load_network(config, source)
    return create_model(
        config.model,
        classes=source.labels,
        in_channels=source.channels if config.in_channels == NetworkConfig.in_channels else config.in_channels,
        dropout=config.dropout,
        weights=config.weights,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        freeze_encoder=config.freeze_encoder,
    )


def _load_network(config: NetworkConfig, source: Source) -> SegNet:
    """The network of a model file; it decides channels, dropout and encoder."""
    for name in ("weights", "encoder", "encoder_weights"):
        if getattr(config, name):
            flag = name.replace("_", "-")
            raise ConfigError(f"{config.model} brings its own weights; leave --{flag} out, or give a model's name")
    kept = checkpoint.load(config.model)
    for name, default in (("in_channels", 3), ("dropout", None)):
        fixed = getattr(kept.model.config, name)
        if getattr(config, name) not in (default, fixed):
            flag = name.replace("_", "-")
            raise ConfigError(
                f"{config.model} has {name}={fixed} for good; leave --{flag} out, or give --model "
                f"{kept.model.config.name} --weights {config.model}"
            )
    network = kept.model.train()
    if kept.labels.names != source.labels.names:
        made = replace(network.config, classes=source.labels.classes)
        network = adapted(kept, made, source=config.model, labels=source.labels)
    if config.freeze_encoder:
        network.freeze_encoder()
    return network
