"""Overfit a few images: a sanity check of network, loss and masks."""

from __future__ import annotations

from dataclasses import replace

from segnet.data.augmentation import AugmentConfig
from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError
from segnet.training.settings import TrainConfig

__all__ = ["make_overfit_run"]

_EPOCHS = 15
_STEPS_PER_EPOCH = 20


def make_overfit_run(
    data: SegmentationDataset, config: TrainConfig, images: int
) -> tuple[SegmentationDataset, SegmentationDataset, TrainConfig]:
    """Make a run that overfits the first images: training set, validation set and settings.

    A sound network, loss and masks reach a mIoU near 1.

    Args:
        data: Training images.
        config: Settings of the run. Epochs, augmentation and averaging are replaced.
        images: Number of images to overfit.

    Raises:
        ConfigError: There are fewer images than that.
    """
    if not 1 <= images <= len(data):
        raise ConfigError(f"overfit={images} is not possible; give 1 to {len(data)} of the training images")
    batch = images if config.batch == "auto" else min(config.batch, images)
    repeated = data.only([index % images for index in range(_STEPS_PER_EPOCH * batch)])
    config = replace(
        config,
        epochs=_EPOCHS,
        batch=batch,
        ema=min(config.ema, 0.9),
        validate_every=5,
        augment=AugmentConfig(flip=0.0),
    )
    return repeated, data.only(range(images)), config
