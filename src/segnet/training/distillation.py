"""Distillation: the student learns the probabilities of better networks besides the masks.

Teachers and student see the same augmented image, as Beyer et al. advise in "Knowledge distillation: A good teacher is
patient and consistent", 2022 (https://arxiv.org/abs/2106.05237). So ignored pixels are learned too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from segnet.bands import Channels, describe_channels, same_input
from segnet.errors import ModelError
from segnet.inference.evaluation import check_same_classes
from segnet.labels import ClassTable
from segnet.models import checkpoint
from segnet.models.segnet import SegNet

__all__ = ["Teacher", "distillation_loss"]


class Teacher:
    """Frozen networks, and the mean of their probabilities of an image, its mirror image and resized copies.

    It is no ``nn.Module``, so that checkpoints of a run do not hold its weights.

    Args:
        models: Networks of the same classes. Copies are kept, with batch norm folded.
        scales: Factors at which the image is resized.
    """

    def __init__(self, models: Sequence[SegNet], scales: Sequence[float] = (1.0,)) -> None:
        # For segnet_light on four images of 240x320, two cores: 79 ms instead of 97, and 115 in contiguous_format.
        self.models = [model.folded().requires_grad_(False) for model in models]
        for model in self.models:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.scales = tuple(scales)

    @classmethod
    def load(
        cls, sources: Sequence[str], labels: ClassTable, *, scales: Sequence[float] = (1.0,), channels: Channels = 3
    ) -> Self | None:
        """The networks of model files or names of bundled models; None if there are none.

        Args:
            sources: Model files, or names of bundled models.
            labels: Class table of the training images.
            scales: Factors at which the image is resized.
            channels: How images are read for the student.

        Raises:
            ModelError: A file cannot be used, or has other classes or image channels.
        """
        models = []
        for source in sources:
            kept = checkpoint.load(source)
            check_same_classes(kept.labels, labels, model=source, data="the training set")
            if not same_input(theirs := kept.model.config.image_channels, channels):
                raise ModelError(
                    f"{source}: takes {describe_channels(theirs)}, and the network in training "
                    f"{describe_channels(channels)}; give a teacher of the same images"
                )
            models.append(kept.model)
        return cls(models, scales) if models else None

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Probabilities, float32 (N, classes, H, W), of images in [0, 1], float (N, C, H, W), on their device."""
        size = (image.shape[2], image.shape[3])
        sizes = [(max(1, round(scale * size[0])), max(1, round(scale * size[1]))) for scale in self.scales]
        copies = [_resize(image, each) for each in sizes]
        total = torch.zeros((), device=image.device)
        for model in self.models:
            model.to(image.device)
            for copied in copies:
                mean = (_predict(model, copied) + _predict(model, copied.flip(3)).flip(3)) / 2
                total = total + _resize(mean, size)
        return total / (len(self.models) * len(copies))


def distillation_loss(logits: Tensor, probabilities: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student), in nats, mean over all pixels.

    Args:
        logits: The student's, (N, classes, H, W).
        probabilities: The teacher's, float32 (N, classes, H, W).
    """
    divergence = F.kl_div(logits.float().log_softmax(dim=1), probabilities, reduction="none")
    return divergence.sum(dim=1).mean()


def _predict(model: SegNet, image: Tensor) -> Tensor:
    """Probabilities, float32 (N, classes, H, W)."""
    logits: Tensor = model(image)
    return logits.float().softmax(dim=1)


def _resize(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Float (N, C, *size), averaged where it becomes smaller."""
    return planes if planes.shape[2:] == size else F.interpolate(planes, size, mode="bilinear", antialias=True)
