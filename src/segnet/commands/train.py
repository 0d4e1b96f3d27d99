"""segnet train: a model from labelled pictures."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segnet.errors import ConfigError
from segnet.training import TrainConfig

if TYPE_CHECKING:
    from segnet.data.sources import Source
    from segnet.models.segnet import SegNet

__all__ = ["run"]


def run(
    data: str,
    /,
    *,
    model: str = "segnet_basic",
    out: Path = Path("runs/segnet"),
    size: tuple[int, int] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    freeze_encoder: bool = False,
    resume: bool = False,
    device: str = "auto",
    training: TrainConfig = TrainConfig(),  # noqa: B008
) -> None:
    """Train a model on labelled pictures; the best weights end up in OUT/best.safetensors.

    Args:
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        model: a name ("segnet models" lists them), or a model file to start from.
        out: the run's folder.
        size: resize pictures and masks to HEIGHT WIDTH; needed if they differ in size.
        in_channels: 3 for colour, 1 for grey.
        dropout: probability at the places where Bayesian SegNet has it; as published if not given.
        encoder: another encoder under the model's decoder: vgg19_bn, squeezenet1_1, timm/NAME or another that "segnet
            models" lists.
        encoder_weights: a file with torchvision's names, one of its names to download, or imagenet for those of the
            encoder.
        freeze_encoder: train the decoder alone.
        resume: go on with the run in OUT.
        device: auto, cpu, cuda or mps.
        training: the run's settings.
    """
    import torch

    from segnet.console import print_scores
    from segnet.data.sources import open_source
    from segnet.training import train

    settings = {
        "data": data, "model": model, "size": size and list(size), "in_channels": in_channels, "dropout": dropout,
        "encoder": encoder, "encoder_weights": encoder_weights, "freeze_encoder": freeze_encoder,
    }  # fmt: skip
    source = open_source(data)
    torch.manual_seed(training.seed)
    network = _network(settings, source)
    channels = network.config.in_channels
    scores = train(
        network,
        source.dataset("train", size=size, channels=channels),
        source.dataset("val", size=size, channels=channels),
        out=out,
        config=training,
        resume=resume,
        device=device,
        provenance={"data": source.layout, "versions": _versions()},
        settings=settings,
    )
    print_scores(scores, f"best weights on split val: {out / 'best.safetensors'}")


def _network(settings: dict[str, Any], source: Source) -> SegNet:
    """A new network, or the one in a model file."""
    from segnet import checkpoint
    from segnet.evaluation import check_same_classes
    from segnet.models.zoo import create_model

    name = settings["model"]
    if not _names_file(name):
        options = ("in_channels", "dropout", "encoder", "encoder_weights", "freeze_encoder")
        return create_model(name, classes=source.labels.classes, **{key: settings[key] for key in options})
    for key in ("encoder", "encoder_weights"):
        if settings[key]:
            flag = key.replace("_", "-")
            raise ConfigError(f"{name} brings its own encoder; leave --{flag} out, or give a model's name")
    kept = checkpoint.load(name)
    for key, default in (("in_channels", 3), ("dropout", None)):
        if settings[key] not in (default, getattr(kept.model.config, key)):
            flag = key.replace("_", "-")
            raise ConfigError(f"{name} has {key}={getattr(kept.model.config, key)} for good; leave --{flag} out")
    check_same_classes(kept.labels, source.labels, model=name, data=str(source.root))
    if settings["freeze_encoder"]:
        kept.model.freeze_encoder()
    return kept.model.train()


def _names_file(model: str) -> bool:
    path = Path(model)
    return path.suffix == ".safetensors" or len(path.parts) > 1 or path.is_file()


def _versions() -> dict[str, str]:
    found = {"python": sys.version.partition(" ")[0]}
    for name in ("segnet", "torch", "lightning", "kornia", "numpy"):
        with suppress(PackageNotFoundError):  # that it is missing is told where it is needed
            found[name] = version(name)
    return found
