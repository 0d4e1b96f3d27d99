"""The network that a run trains: a new one, or that of a model file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segnet.data.dataset import ResizeMode
from segnet.data.layouts import Source
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError, ModelError
from segnet.inference.evaluation import check_same_classes
from segnet.models import checkpoint
from segnet.models.segnet import SegNet
from segnet.models.zoo import create_model

__all__ = ["NetworkConfig", "RunInputs", "make_network"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network is trained, and which weights it starts from.

    Attributes:
        model: Name of the network ("segnet models" lists them), or model file to start from.
        in_channels: Number of image channels: 3 for color, 1 for gray.
        dropout: Dropout probability where Bayesian SegNet has dropout. Default: as published.
        weights: Model file, or name of a bundled model, whose weights a new network starts from. Default: none. Both
            must have the same layers, as segnet_basic and bayesian_segnet_basic have.
        encoder: Encoder under the decoder of the model: vgg19_bn, squeezenet1_1, timm/NAME or another that "segnet
            models" lists. Default: the model's own.
        encoder_weights: Pretrained weights of the encoder: imagenet, a name of torchvision's to download, or a file
            with torchvision's names. Default: none. Pretrained weights need fewer images and a lower --lr.
        freeze_encoder: Train only the decoder, for few images or quick trials.
    """

    model: str = "segnet_basic"
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
        resize: (height, width) of training images and masks; None: their own.
        resize_mode: letterbox or stretch.
        network: the network.
    """

    data: str
    source: SourceConfig = SourceConfig()  # noqa: RUF009
    resize: tuple[int, int] | None = None
    resize_mode: ResizeMode = "letterbox"
    network: NetworkConfig = NetworkConfig()

    def to_dict(self) -> dict[str, Any]:
        """All values under the names of their flags, in a form that YAML and JSON can hold."""
        resize = {"resize": self.resize and list(self.resize), "resize_mode": self.resize_mode}
        return {"data": self.data, **_plain(self.source), **resize, **asdict(self.network)}


def _plain(source: SourceConfig) -> dict[str, Any]:
    return {**asdict(source), "only": list(source.only)}


def make_network(config: NetworkConfig, source: Source) -> SegNet:
    """A new network for the classes of a data set, or the network of a model file, in training mode.

    Raises:
        ConfigError: values that exclude each other.
        ModelError: a model file cannot be used, or has other classes or layers.
    """
    if config.names_file:
        return _load_network(config, source)
    if config.weights and config.encoder_weights:
        raise ConfigError(
            f"--weights {config.weights} fills the encoder, too, so --encoder-weights {config.encoder_weights} would "
            "be lost; give one of the two"
        )
    network = create_model(
        config.model,
        classes=source.labels.classes,
        in_channels=source.channels if config.in_channels == NetworkConfig.in_channels else config.in_channels,
        dropout=config.dropout,
        encoder=config.encoder,
        encoder_weights=config.encoder_weights,
        freeze_encoder=config.freeze_encoder,
    )
    if config.weights:
        _fill(network, config.weights, source)
    return network


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
            raise ConfigError(f"{config.model} has {name}={fixed} for good; leave --{flag} out")
    check_same_classes(kept.labels, source.labels, model=config.model, data=str(source.root))
    if config.freeze_encoder:
        kept.model.freeze_encoder()
    return kept.model.train()


def _fill(network: SegNet, weights: str, source: Source) -> None:
    """Copy all weights of a model file whose network has the same layers."""
    kept = checkpoint.load(weights)
    check_same_classes(kept.labels, source.labels, model=weights, data=str(source.root))
    given, wanted = kept.model.state_dict(), network.state_dict()
    if {name: value.shape for name, value in given.items()} != {name: value.shape for name, value in wanted.items()}:
        raise ModelError(
            f"{weights}: holds {kept.model.config.name}, whose layers are not those of {network.config.name}; "
            "give weights of the same layers, or --encoder-weights for the encoder alone"
        )
    network.load_state_dict(given)
