"""Photometric augmentation for other cameras, weather and light: what Kornia has not, for batches on any device.

The values are random for each image; masks stay as they are. Sources: white balance by channel gains as in von Kries;
Fourier amplitudes from Chattopadhyay et al., "PASTA: Proportional amplitude spectrum training augmentation", 2023
(https://arxiv.org/abs/2212.00979); fog from Koschmieder's law, with a random field instead of the unknown depth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["EFFECTS", "apply_effect"]

_GAMMA = 2.2  # of displays; light is the value to this power


def apply_effect(image: Tensor, name: str, probability: float) -> Tensor:
    """Apply an effect to random images of a batch.

    Args:
        image: float (N, 3, H, W), RGB in [0, 1].
        name: one of ``EFFECTS``.
        probability: of each image to be changed, 0 to 1.

    Returns:
        float (N, 3, H, W) in [0, 1], a copy if any image is changed.
    """
    chosen = torch.rand(len(image), device=image.device) < probability
    if not chosen.any():
        return image
    changed = image.clone()
    changed[chosen] = EFFECTS[name](image[chosen].clamp(0, 1)).clamp(0, 1).to(image.dtype)
    return changed


def _white_balance(image: Tensor) -> Tensor:
    """Gains of the channels from 0.7 to 1.36, with a mean of 1."""
    gains = _uniform(image, -0.25, 0.25, channels=3).exp()
    return image * (gains / gains.mean(dim=1, keepdim=True))


def _fourier(image: Tensor) -> Tensor:
    """Random factors of the amplitudes, whose spread grows with the frequency; phases stay."""
    height, width = image.shape[-2:]
    rows = torch.fft.fftfreq(height, device=image.device)[:, None] * height
    columns = torch.fft.rfftfreq(width, device=image.device) * width
    distance = torch.sqrt((rows**2 + columns**2) / (height**2 + width**2))
    spread = (6 * distance) ** 2 * _uniform(image, 0.1, 0.6) + 0.25
    spectrum = torch.fft.rfft2(image.float())
    factors = (1 + spread * torch.randn(spectrum.shape, device=image.device)).clamp(min=0)
    factors[..., 0, 0] = 1  # the mean brightness
    changed: Tensor = torch.fft.irfft2(spectrum * factors, s=(height, width))
    return changed


def _fog(image: Tensor) -> Tensor:
    """Light gray over the image, from 5 to 79 % of each pixel, thicker in some parts than in others."""
    thickness = F.interpolate(
        _random(image, channels=1, size=(3, 3)), size=image.shape[-2:], mode="bicubic", align_corners=False
    ).clamp(min=0)
    transmitted = torch.exp(-(thickness + 0.5) * _uniform(image, 0.1, 0.9))
    return image * transmitted + _uniform(image, 0.6, 0.95) * (1 - transmitted)


def _shadow(image: Tensor) -> Tensor:
    """A band of 30 to 70 % of the light, with soft edges, in any direction."""
    height, width = image.shape[-2:]
    angle = _uniform(image, 0, math.pi)
    y = torch.linspace(-1, 1, height, device=image.device)[:, None]
    x = torch.linspace(-1, 1, width, device=image.device)
    across = x * angle.cos() + y * angle.sin() - _uniform(image, -0.8, 0.8)
    inside = torch.sigmoid((_uniform(image, 0.1, 0.6) - across.abs()) / _uniform(image, 0.005, 0.05))
    return image * (1 - inside * (1 - _uniform(image, 0.3, 0.7)))


def _night(image: Tensor) -> Tensor:
    """A half to a sixteenth of the light, and the noise of a sensor that has only so much of it."""
    light = image**_GAMMA / 2 ** _uniform(image, 1, 4)
    noise = torch.sqrt(light / 4000 + 0.001**2) * torch.randn_like(light)
    return (light + noise).clamp(min=0) ** (1 / _GAMMA)


EFFECTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "white_balance": _white_balance,
    "fog": _fog,
    "shadow": _shadow,
    "night": _night,
    "fourier": _fourier,
}
"""By their settings, in the order in which they are applied: (N, 3, H, W) in [0, 1] to the same shape, unclamped."""


def _uniform(image: Tensor, low: float, high: float, *, channels: int = 1) -> Tensor:
    """A random number for each image: (N, channels, 1, 1)."""
    return low + (high - low) * _random(image, channels=channels, size=(1, 1))


def _random(image: Tensor, *, channels: int, size: tuple[int, int]) -> Tensor:
    return torch.rand(len(image), channels, *size, device=image.device)
