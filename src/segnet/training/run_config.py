"""What a run starts from, as flags: no torch is imported for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.training.recommendation import Recipe

if TYPE_CHECKING:
    from segnet.data.dataset import ResizeMode

__all__ = ["EncoderNorms", "NetworkConfig", "RunInputs"]

EncoderNorms = Literal["fitted", "new"]


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network is trained, and which weights it starts from.

    Attributes:
        model: Name of the network ("segnet models" lists them), or model file to start from. A file of other classes
            gets a new classifier.
        in_channels: How images are read: 3 for color, 1 for gray; another number for all bands of images that have as
            many, or a list such as 3,2,1,7 for these bands, which count from 0. Default: as data.yaml says, or 3.
        dropout: Dropout probability where Bayesian SegNet has dropout. Default: as published.
        weights: Model file, name of a bundled model, or hf://OWNER/NAME, from which a new network takes all weights
            that fit by name and shape. The classes may be others: those whose names the file has keep their rows of the
            classifier. Default: the bundled weights of the model, if there are, unless --encoder, --encoder-weights or
            --recipe scratch is given.
        encoder: Encoder under the decoder of the model: vgg19_bn, squeezenet1_1, timm/NAME or another that "segnet
            models" lists. Default: the model's own.
        encoder_weights: Pretrained weights of the encoder alone: imagenet, a name of torchvision's to download, or a
            file with torchvision's or EfficientNet-Lite0's names. Default: none.
        encoder_norms: Batch norms that the pretrained weights of the encoder lack, as VGG16's do: fitted to training
            images, so that the encoder keeps its features, or new, as published.
        freeze_encoder: Train only the decoder, for few images or quick trials.

    Raises:
        ConfigError: ``encoder_norms`` is unknown.
    """

    model: str = "segnet_light"
    in_channels: int | tuple[int, ...] | None = None
    dropout: float | None = None
    weights: str | None = None
    encoder: str | None = None
    encoder_weights: str | None = None
    encoder_norms: EncoderNorms = "fitted"
    freeze_encoder: bool = False

    def __post_init__(self) -> None:
        if self.encoder_norms not in (choices := get_args(EncoderNorms)):
            raise ConfigError(f"encoder_norms={self.encoder_norms!r} is unknown; choose one of {', '.join(choices)}")

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
        add: locations of data sets whose training images are added.
        recipe: what decides the settings that are not given.
        resize: (height, width) of training images and masks; None: their own.
        resize_mode: letterbox or stretch.
        network: the network.
    """

    data: str
    source: SourceConfig = SourceConfig()  # noqa: RUF009
    add: tuple[str, ...] = ()
    recipe: Recipe = "standard"
    resize: tuple[int, int] | None = None
    resize_mode: ResizeMode = "letterbox"
    network: NetworkConfig = NetworkConfig()

    def to_dict(self) -> dict[str, Any]:
        """All values under the names of their flags, in a form that YAML and JSON can hold."""
        resize = {"resize": self.resize and list(self.resize), "resize_mode": self.resize_mode}
        added = {"add": list(self.add)}
        own = {"data": self.data, **_plain(self.source), **added, "recipe": self.recipe}
        return {**own, **resize, **_plain(self.network)}


def _plain(config: SourceConfig | NetworkConfig) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
