"""Augmentation of batches by Kornia, on any device, with the same geometry for image and mask.

Images are cropped before they are a batch, since they may differ in size; see ``data.cropping``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from segnet.data.augment_config import AugmentConfig
from segnet.data.photometric import EFFECTS, apply_effect
from segnet.labels import IGNORE_INDEX
from segnet.system.packages import importing

__all__ = ["Augmentation"]

_MAX_NOISE = 0.1
_PHOTO_STD = 0.226  # of ImageNet's images


class Augmentation:
    """Augments a batch of images that are cropped already. In masks no new class appears.

    Args:
        config: Settings of the augmentation.
        bands: Whether the images hold bands as they are stored, not color or gray. Their light changes by one factor
            for all bands, noise follows the spread of each band, and nothing is changed that is known of colors only.

    Raises:
        MissingPackageError: Kornia is not installed.
    """

    def __init__(self, config: AugmentConfig, *, bands: bool = False) -> None:
        self.config = config
        self._bands = bands
        self._geometry = _sequence(_geometric_parts(config), ["input", "mask"])
        self._color = _sequence(_color_parts(config), ["input"])
        self._appearance = _sequence(_appearance_parts(config, bands=bands), ["input"])
        self._effects = {name: share for name in EFFECTS if (share := getattr(config, name))}
        self._jpeg = _sequence(_jpeg_parts(config), ["input"])

    def __call__(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return augmented copies of image, float (N, C, H, W) in [0, 1], and mask, int64 (N, H, W).

        Color changes apply to RGB images only.
        """
        in_color = image.shape[1] == 3 and not self._bands
        if self._geometry is not None:
            image, changed = self._geometry(image, mask[:, None].to(image.dtype))
            mask = changed[:, 0].round().to(mask.dtype)
        if self.config.mix:
            image, mask = _mix_classes(image, mask, self.config.mix)
        if self._color is not None and in_color:
            image = self._color(image)
        if self._appearance is not None:
            image = self._appearance(image)
        if in_color:
            for name, probability in self._effects.items():
                image = apply_effect(image, name, probability)
        if self.config.noise:
            image = image + _sensor_noise(image, self.config.noise) * (_spread(image) if self._bands else 1)
        image = image.clamp(0, 1)
        if self._jpeg is not None and in_color:
            image = self._jpeg(image).clamp(0, 1)
        return image, mask


def _draw_images(probability: float, image: Tensor) -> Tensor:
    """Draw which images are changed: bool (N, 1, 1, 1)."""
    return torch.rand(len(image), 1, 1, 1, device=image.device) < probability


def _mix_classes(image: Tensor, mask: Tensor, probability: float) -> tuple[Tensor, Tensor]:
    """Paste half of the classes of the previous image of the batch over each image (ClassMix).

    Source: Olsson et al., "ClassMix: segmentation-based data augmentation for semi-supervised learning", 2021.
    """
    other_image, other_mask = image.roll(1, 0), mask.roll(1, 0)
    chosen = torch.rand(len(mask), IGNORE_INDEX + 1, device=mask.device) < 0.5
    chosen[:, IGNORE_INDEX] = False
    pasted = chosen.gather(1, other_mask.flatten(1)).view_as(mask)[:, None] & _draw_images(probability, image)
    return torch.where(pasted, other_image, image), torch.where(pasted[:, 0], other_mask, mask)


def _sensor_noise(image: Tensor, probability: float) -> Tensor:
    """Gaussian noise with a standard deviation of its own for each image, which Kornia's noise does not have."""
    deviation = _MAX_NOISE * torch.rand(len(image), 1, 1, 1, device=image.device)
    return torch.randn_like(image) * deviation * _draw_images(probability, image)


def _spread(image: Tensor) -> Tensor:
    """Standard deviation of each band in each image, against that of a photo: (N, C, 1, 1)."""
    return image.std(dim=(2, 3), keepdim=True) / _PHOTO_STD


def _sequence(parts: list[Any], keys: list[str]) -> Any:
    if not parts:
        return None
    kornia = _import_kornia()
    return kornia.AugmentationSequential(*parts, data_keys=keys)


def _geometric_parts(config: AugmentConfig) -> list[Any]:
    kornia = _import_kornia()
    parts: list[Any] = []
    if config.flip:
        parts.append(kornia.RandomHorizontalFlip(p=config.flip))
    return parts


def _color_parts(config: AugmentConfig) -> list[Any]:
    """Augmentations that need RGB images."""
    kornia = _import_kornia()
    parts: list[Any] = []
    if config.color:
        parts.append(kornia.RandomSaturation(_factor_range(config), p=0.8))
        shift = config.color / 8
        parts.append(kornia.RandomRGBShift(shift, shift, shift, p=0.5))
    if config.gray:
        parts.append(kornia.RandomGrayscale(p=config.gray))
    return parts


def _appearance_parts(config: AugmentConfig, *, bands: bool) -> list[Any]:
    kornia = _import_kornia()
    parts: list[Any] = []
    if config.color and bands:
        parts.append(kornia.RandomContrast(_factor_range(config), p=0.8))  # Kornia multiplies: an exposure
    elif config.color:
        # Kornia's ColorJiggle with hue took 0.36 s for eight 240x320 images on two cores; these three and the two
        # of _color_parts take 0.07 s.
        parts.append(kornia.RandomGamma(_factor_range(config), p=0.5))
        parts.append(kornia.RandomBrightness(_factor_range(config), p=0.8))
        parts.append(kornia.RandomContrast(_factor_range(config), p=0.8))
    if config.blur:
        parts.append(kornia.RandomGaussianBlur((9, 9), (0.4, 2.0), p=config.blur))
    return parts


def _jpeg_parts(config: AugmentConfig) -> list[Any]:
    kornia = _import_kornia()
    return [kornia.RandomJPEG(jpeg_quality=(20.0, 90.0), p=config.jpeg)] if config.jpeg else []


def _factor_range(config: AugmentConfig) -> tuple[float, float]:
    return 1 - config.color, 1 + config.color


def _import_kornia() -> Any:
    with importing("kornia", "train"):
        import kornia.augmentation
    return kornia.augmentation
