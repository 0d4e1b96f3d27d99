"""Overfit a few images: a sanity check of network, loss, masks and settings that takes minutes."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from tempfile import TemporaryDirectory

from segnet.data.augment_config import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, TrainingError
from segnet.metrics.confusion import Scores
from segnet.models.segnet import SegNet
from segnet.training.distributed import count_processes
from segnet.training.run import train
from segnet.training.settings import TrainConfig

__all__ = ["make_overfit_run", "overfit"]

log = logging.getLogger("segnet")

_EPOCHS = 15
_STEPS_PER_EPOCH = 20
_EXPECTED_MIOU = 0.9


def overfit(
    network: SegNet, data: SegmentationDataset, config: TrainConfig, images: int, *, device: str = "auto"
) -> Scores:
    """Train a network on its first images until it should reproduce their masks; no file is kept.

    Args:
        network: trained in place.
        data: the training images.
        config: settings of the run; see ``make_overfit_run`` for those that change.
        images: how many images to overfit.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Returns:
        The scores on these images.

    Raises:
        ConfigError: there are not so many images, or several processes were started.
        TrainingError: the mIoU stays below 0.9, so something is wrong.
    """
    repeated, few, config = make_overfit_run(data, config, images)
    if (count := math.prod(count_processes(config))) > 1:
        raise ConfigError(f"--overfit works with one process, not with {count}; start it without torchrun or srun")
    log.info(
        "overfit %d: these images only, whole and without augmentation, for %d epochs of %d steps",
        images, _EPOCHS, _STEPS_PER_EPOCH,
    )  # fmt: skip
    with TemporaryDirectory(prefix="segnet-") as folder:
        scores = train(network, repeated, few, out=folder, config=config, device=device)
    if scores.miou < _EXPECTED_MIOU:
        raise TrainingError(
            f"the network has mIoU {scores.miou:.3f} on the {images} images that it was trained on, where "
            f"{_EXPECTED_MIOU} is expected: look at the masks and the class table, and at --lr (--find-lr proposes one)"
        )
    return scores


def make_overfit_run(
    data: SegmentationDataset, config: TrainConfig, images: int
) -> tuple[SegmentationDataset, SegmentationDataset, TrainConfig]:
    """Make a run that overfits the first images: training set, validation set and settings.

    A sound network, loss and masks reach a mIoU near 1.

    Args:
        data: Training images.
        config: Settings of the run. Epochs, augmentation and averaging are replaced, and what would end the run early,
            keep stages frozen or start further processes.
        images: Number of images to overfit.

    Raises:
        ConfigError: There are fewer images than that.
    """
    if not 1 <= images <= len(data):
        raise ConfigError(f"overfit={images} is not possible; give 1 to {len(data)} of the training images")
    batch = images if config.batch == "auto" else min(config.batch, images)
    repeated = data.only([index % images for index in range(_STEPS_PER_EPOCH * config.accumulate * batch)])
    config = replace(
        config,
        epochs=_EPOCHS,
        time=None,
        patience=0,
        unfreeze_at=(),
        devices=1,
        nodes=1,
        strategy="auto",
        batch=batch,
        ema=min(config.ema, 0.9),
        unlabeled=(),
        validate_every=5,
        augment=AugmentConfig(flip=0.0),
    )
    return repeated, data.only(range(images)), config
