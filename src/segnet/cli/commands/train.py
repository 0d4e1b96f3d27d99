"""segnet train: trains a model on labeled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segnet.training.network import NetworkConfig
from segnet.training.settings import TrainConfig

if TYPE_CHECKING:
    from segnet.data.dataset import SegmentationDataset
    from segnet.models.segnet import SegNet

__all__ = ["run"]

_RATES = 100
_PRINTED_RATES = 25


def run(
    data: str,
    /,
    *,
    network: NetworkConfig = NetworkConfig(),  # noqa: B008
    resize: tuple[int, int] | None = None,
    out: Path = Path("runs/segnet"),
    overfit: int = 0,
    find_lr: bool = False,
    resume: bool = False,
    device: str = "auto",
    training: TrainConfig = TrainConfig(),  # noqa: B008
) -> None:
    """Train a model on labeled images; the best weights end up in OUT/best.safetensors.

    Args:
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        network: the network and its first weights.
        resize: Size in pixels to which images and masks are resized first. Default: their own size. Set it if a batch
            holds images of several sizes, or to compare with figures at another size.
        out: Folder of the run.
        overfit: Number of images to overfit instead of a training run, as a sanity check of network, masks and
            settings. Default: 0, a training run. No file is kept.
        find_lr: Propose a learning rate instead of a training run: try rates from 1e-5 upwards and name the one at
            which the loss falls fastest. No file is kept.
        resume: Continue the run in OUT.
        device: Device of computation: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
        training: settings of the run.
    """
    import platform

    import torch

    from segnet.cli.console import print_scores
    from segnet.data.check.report import refuse_known_faults
    from segnet.data.layouts import open_source
    from segnet.system.hardware import versions
    from segnet.training.distributed import is_first_process
    from segnet.training.network import RunInputs, make_network
    from segnet.training.run import train

    source = open_source(data)
    refuse_known_faults(source)
    torch.manual_seed(training.seed)
    model = make_network(network, source)
    train_set = source.dataset("train", size=resize, channels=model.config.in_channels)
    if find_lr:
        _print_rates(model, train_set, training, device)
        return
    if overfit:
        _overfit(model, train_set, training, overfit, device)
        return
    packages = {"python": platform.python_version(), **versions("segnet", "torch", "lightning", "kornia", "numpy")}
    scores = train(
        model,
        train_set,
        source.dataset("val", size=resize, channels=model.config.in_channels),
        out=out,
        config=training,
        resume=resume,
        device=device,
        provenance={"data": source.layout, "versions": packages},
        inputs=RunInputs(data=data, resize=resize, network=network),
    )
    if is_first_process():
        print_scores(scores, f"best weights on split val: {out / 'best.safetensors'}")


def _overfit(model: SegNet, data: SegmentationDataset, config: TrainConfig, images: int, device: str) -> None:
    from segnet.cli.console import print_scores
    from segnet.training.overfitting import overfit

    print_scores(overfit(model, data, config, images, device=device), f"overfit images: {images}")


def _print_rates(model: SegNet, data: SegmentationDataset, config: TrainConfig, device: str) -> None:
    """A line for every fourth learning rate and, last, the proposed one."""
    from segnet.system.progress import progress_bar
    from segnet.training.lr_finder import find_lr, steepest

    with progress_bar("learning rates", _RATES) as progress:
        losses = find_lr(model, data, config=config, device=device, steps=_RATES, progress=progress)
    least = min(loss for _, loss in losses)
    print("      rate      loss  a longer bar is a lower loss")
    for rate, loss in losses[:: max(1, _RATES // _PRINTED_RATES)]:
        print(f"{rate:10.2e}  {loss:8.4f}  {'#' * round(40 * min(1.0, least / loss))}")
    print(f"the loss falls fastest at --lr {steepest(losses):.2g} (optimizer {config.optimizer}, batch {config.batch})")
