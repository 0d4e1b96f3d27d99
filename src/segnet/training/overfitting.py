"""Overfit a few images: a sanity check of network, loss, masks and settings that takes minutes."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from segnet.data.dataset import SegmentationDataset
from segnet.errors import TrainingError
from segnet.metrics.confusion import Scores
from segnet.models.segnet import SegNet
from segnet.training.run import train
from segnet.training.settings import TrainConfig
from segnet.training.tuning import for_overfitting

__all__ = ["overfit"]

_EXPECTED_MIOU = 0.9


def overfit(
    network: SegNet, data: SegmentationDataset, config: TrainConfig, images: int, *, device: str = "auto"
) -> Scores:
    """Train a network on its first images until it should reproduce their masks; no file is kept.

    Args:
        network: trained in place.
        data: the training images.
        config: settings of the run; see ``for_overfitting`` for those that change.
        images: how many images to overfit.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.

    Returns:
        The scores on these images.

    Raises:
        ConfigError: there are not so many images.
        TrainingError: the mIoU stays below 0.9, so something is wrong.
    """
    repeated, few, config = for_overfitting(data, config, images)
    with TemporaryDirectory(prefix="segnet-") as folder:
        scores = train(network, repeated, few, out=folder, config=config, device=device)
    if scores.miou < _EXPECTED_MIOU:
        raise TrainingError(
            f"the network has mIoU {scores.miou:.3f} on the {images} images that it was trained on, where "
            f"{_EXPECTED_MIOU} is expected: look at the masks and the class table, and at --lr (--find-lr proposes one)"
        )
    return scores
