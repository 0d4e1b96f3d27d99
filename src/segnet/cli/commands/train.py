"""segnet train: a model from labeled images."""

from __future__ import annotations

import platform
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from segnet.errors import ConfigError, TrainingError
from segnet.training.settings import TrainConfig

if TYPE_CHECKING:
    from segnet.data.dataset import SegmentationDataset
    from segnet.data.layouts import Source
    from segnet.models.segnet import SegNet

__all__ = ["run"]

_BY_HEART = 0.9  # mIoU
_RATES = 100


def run(
    data: str,
    /,
    *,
    model: str = "segnet_basic",
    out: Path = Path("runs/segnet"),
    size: tuple[int, int] | None = None,
    in_channels: int = 3,
    dropout: float | None = None,
    weights: str | None = None,
    encoder: str | None = None,
    encoder_weights: str | None = None,
    freeze_encoder: bool = False,
    overfit: int = 0,
    find_lr: bool = False,
    resume: bool = False,
    device: str = "auto",
    training: TrainConfig = TrainConfig(),  # noqa: B008
) -> None:
    """Train a model on labeled images; the best weights end up in OUT/best.safetensors.

    Args:
        data: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        model: a name ("segnet models" lists them), or a model file to start from.
        out: the run's folder.
        size: resize images and masks to HEIGHT WIDTH; needed if they differ in size.
        in_channels: 3 for color, 1 for gray.
        dropout: probability at the places where Bayesian SegNet has it; as published if not given.
        weights: a model file, or a bundled name, whose weights a new network begins with; it must have the same layers,
            as segnet_basic and bayesian_segnet_basic have.
        encoder: another encoder under the model's decoder: vgg19_bn, squeezenet1_1, timm/NAME or another that "segnet
            models" lists.
        encoder_weights: a file with torchvision's names, one of its names to download, or imagenet for those of the
            encoder.
        freeze_encoder: train the decoder alone.
        overfit: instead, learn so many images by heart, which shows within minutes whether network, masks and
            settings are sound; nothing is kept.
        find_lr: instead, try learning rates from 1e-5 upwards and name the one at which the loss falls fastest;
            nothing is kept.
        resume: go on with the run in OUT.
        device: auto, cpu, cuda or mps.
        training: the run's settings.
    """
    import torch

    from segnet.cli.console import print_scores
    from segnet.data.layouts import open_source
    from segnet.training.distributed import is_first_process
    from segnet.training.run import train

    settings = {
        "data": data, "model": model, "size": size and list(size), "in_channels": in_channels, "dropout": dropout,
        "weights": weights, "encoder": encoder, "encoder_weights": encoder_weights, "freeze_encoder": freeze_encoder,
    }  # fmt: skip
    source = open_source(data)
    torch.manual_seed(training.seed)
    network = _network(settings, source)
    train_set = source.dataset("train", size=size, channels=network.config.in_channels)
    if find_lr:
        _print_lr(network, train_set, training, device)
        return
    if overfit:
        _overfit(network, train_set, training, overfit, device)
        return
    scores = train(
        network,
        train_set,
        source.dataset("val", size=size, channels=network.config.in_channels),
        out=out,
        config=training,
        resume=resume,
        device=device,
        provenance={"data": source.layout, "versions": _versions()},
        run_settings=settings,
    )
    if is_first_process():
        print_scores(scores, f"best weights on split val: {out / 'best.safetensors'}")


def _overfit(network: SegNet, data: SegmentationDataset, config: TrainConfig, images: int, device: str) -> None:
    """Print the scores on the images that were learned by heart; a network that cannot is an error."""
    from segnet.cli.console import print_scores
    from segnet.training.overfit import make_overfit_run
    from segnet.training.run import train

    repeated, few, config = make_overfit_run(data, config, images)
    with TemporaryDirectory(prefix="segnet-") as folder:
        scores = train(network, repeated, few, out=folder, config=config, device=device)
    print_scores(scores, f"overfit images: {images}")
    if scores.miou < _BY_HEART:
        raise TrainingError(
            f"the network has mIoU {scores.miou:.3f} on the {images} images that it was trained on, where "
            f"{_BY_HEART} is expected: look at the masks and the class table, and at --lr (--find-lr proposes one)"
        )


def _print_lr(network: SegNet, data: SegmentationDataset, config: TrainConfig, device: str) -> None:
    """A line per tried learning rate and, last, the one to take."""
    from segnet.cli.console import ProgressBar
    from segnet.training.lr_finder import find_lr, steepest

    bar = ProgressBar("learning rates")
    bar.start(total=_RATES)
    found = find_lr(network, data, config=config, device=device, steps=_RATES, progress=lambda *_: bar.advance())
    bar.stop()
    least = min(loss for _, loss in found)
    print("      rate      loss  the lower, the longer")
    for rate, loss in found[:: max(1, _RATES // 25)]:
        print(f"{rate:10.2e}  {loss:8.4f}  {'#' * round(40 * min(1.0, least / loss))}")
    print(f"the loss falls fastest at --lr {steepest(found):.2g} (optimizer {config.optimizer}, batch {config.batch})")


def _network(settings: dict[str, Any], source: Source) -> SegNet:
    """A new network, or the one in a model file."""
    from segnet.inference.evaluation import check_same_classes
    from segnet.models import checkpoint
    from segnet.models.zoo import create_model

    name = settings["model"]
    if not _names_file(name):
        if settings["weights"] and settings["encoder_weights"]:
            raise ConfigError(
                f"--weights {settings['weights']} fills the encoder, too, so --encoder-weights "
                f"{settings['encoder_weights']} would be lost; give one of the two"
            )
        options = ("in_channels", "dropout", "encoder", "encoder_weights", "freeze_encoder")
        network = create_model(name, classes=source.labels.classes, **{key: settings[key] for key in options})
        if settings["weights"]:
            _fill(network, settings["weights"], source)
        return network
    for key in ("weights", "encoder", "encoder_weights"):
        if settings[key]:
            flag = key.replace("_", "-")
            raise ConfigError(f"{name} brings its own weights; leave --{flag} out, or give a model's name")
    kept = checkpoint.load(name)
    for key, default in (("in_channels", 3), ("dropout", None)):
        if settings[key] not in (default, getattr(kept.model.config, key)):
            flag = key.replace("_", "-")
            raise ConfigError(f"{name} has {key}={getattr(kept.model.config, key)} for good; leave --{flag} out")
    check_same_classes(kept.labels, source.labels, model=name, data=str(source.root))
    if settings["freeze_encoder"]:
        kept.model.freeze_encoder()
    return kept.model.train()


def _fill(network: SegNet, weights: str, source: Source) -> None:
    """Take over all weights of a model file whose network has the same layers."""
    from segnet.errors import ModelError
    from segnet.inference.evaluation import check_same_classes
    from segnet.models import checkpoint

    kept = checkpoint.load(weights)
    check_same_classes(kept.labels, source.labels, model=weights, data=str(source.root))
    given, wanted = kept.model.state_dict(), network.state_dict()
    if {name: value.shape for name, value in given.items()} != {name: value.shape for name, value in wanted.items()}:
        raise ModelError(
            f"{weights}: holds {kept.model.config.name}, whose layers are not those of {network.config.name}; "
            "give weights of the same layers, or --encoder-weights for the encoder alone"
        )
    network.load_state_dict(given)


def _names_file(model: str) -> bool:
    path = Path(model)
    return path.suffix == ".safetensors" or len(path.parts) > 1 or path.is_file()


def _versions() -> dict[str, str]:
    from segnet.system.hardware import versions

    return {"python": platform.python_version(), **versions("segnet", "torch", "lightning", "kornia", "numpy")}
