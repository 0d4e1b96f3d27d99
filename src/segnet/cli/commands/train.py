"""segnet train: trains a model on labeled images."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segnet.cli.flags import Given
from segnet.data.source_config import SourceConfig
from segnet.errors import ConfigError
from segnet.training.recommendation import Recipe
from segnet.training.run_config import NetworkConfig, RunInputs
from segnet.training.run_folder import check_unused
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
    source: SourceConfig = SourceConfig(),  # noqa: B008
    add: tuple[str, ...] = (),
    resize: tuple[int, int] | None = None,
    resize_mode: Literal["letterbox", "stretch"] = "letterbox",
    out: Path = Path("runs/segnet"),
    overfit: int = 0,
    find_lr: bool = False,
    resume: bool = False,
    device: str = "auto",
    recipe: Recipe = "standard",
    training: TrainConfig = TrainConfig(),  # noqa: B008
    given: Given = Given(),  # noqa: B008
) -> None:
    """Train a model on labeled images; the best weights end up in OUT/best.safetensors.

    Args:
        data: Labeled images: a folder, a pair list (train.txt), a data.yaml, or "synthetic".
        network: the network and its first weights.
        source: how the data set is read.
        add: Other data sets whose training images are added, with commas between. Their classes go by their names, and
            classes of other names are ignored. Default: none.
        resize: Size in pixels to which training images and masks are resized before they are cropped. Default: their
            own size, or less if that is too large to learn from; images may differ in size. The model file remembers
            it, and prediction does the same.
        resize_mode: How --resize changes the aspect ratio. letterbox keeps it and pads the image, stretch does not.
        out: Folder of the run.
        overfit: Number of images to overfit instead of a training run, as a sanity check of network, masks and
            settings. Default: 0, a training run. No file is kept.
        find_lr: Propose a learning rate instead of a training run: try rates from 1e-5 upwards and name the one at
            which the loss falls fastest. No file is kept.
        resume: Continue the run in OUT, with its settings where no others are given.
        device: Device of computation: auto, cpu, cuda, cuda:N or mps. auto takes a GPU if there is one.
        recipe: What decides the settings that are not given. standard fine-tunes from pretrained weights, with settings
            that follow from the data and the machine; quick does so in a fifth of the steps; paper is the paper's
            recipe for segnet_basic; scratch has fixed settings for random weights. Each decision is printed with its
            reason.
        training: settings of the run.
        given: names of the flags that the user gave.
    """
    if overfit and find_lr:
        raise ConfigError("--overfit and --find-lr each replace the training run; give one of them")
    if not (resume or overfit or find_lr):
        check_unused(out)
    opened_source = None if resume else source.open(data)  # what can be refused is, before torch is imported
    from segnet.cli.console import print_scores
    from segnet.system.clock import STARTED
    from segnet.training.distributed import is_first_process
    from segnet.training.entry import check_folder, open_run, start_run
    from segnet.training.planning import continue_run

    if not (resume or overfit or find_lr):
        check_folder(out)
    inputs = RunInputs(
        data=data, source=source, add=add, recipe=recipe, resize=resize, resize_mode=resize_mode, network=network
    )
    known: Collection[str] = given
    if resume:
        inputs, training, known = continue_run(out, inputs, training, given)
    resumed = out if resume else None
    opened = open_run(inputs, training, given=known, device=device, resumed=resumed, source=opened_source)
    if find_lr:
        _print_rates(opened.model, opened.train_set, opened.plan.training, device)
        return
    if overfit:
        _overfit(opened.model, opened.train_set, opened.plan.training, overfit, device)
        return
    result = start_run(opened, out=out, resume=resume, device=device, started=STARTED)
    if is_first_process():
        print_scores(result.scores, f"best weights on split val, at the images' own sizes: {result.model_file}")


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
