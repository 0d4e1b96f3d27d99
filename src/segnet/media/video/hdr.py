"""Tone mapping of HDR video (ITU-R BT.2100: HLG and PQ) to the brightness and colors of ordinary images.

Reference white is 203 cd/m² (ITU-R BT.2408). Up to half of it, brightness stays as it is; up to 1000 cd/m², where most
videos end, it is compressed smoothly. Every color channel is mapped by itself.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HLG", "PQ", "tone_map"]

PQ, HLG = 16, 18
"""Transfer characteristics as FFmpeg and ITU-T H.273 number them."""

_WHITE, _PEAK = 203.0, 1000.0  # cd/m²
_KNEE = 0.5
_BT2020_TO_BT709 = np.array(  # ITU-R BT.2087
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)


def tone_map(image: NDArray[np.uint16], transfer: int, *, wide_gamut: bool = True) -> NDArray[np.uint8]:
    """An HDR image (H, W, 3) as sRGB, uint8 of the same shape.

    Args:
        image: RGB as it is coded, 65535 for 1.
        transfer: ``HLG`` or ``PQ``.
        wide_gamut: whether the colors are those of BT.2020, else of BT.709.
    """
    linear = _light(transfer)[image]
    if wide_gamut:
        linear = np.clip(linear @ _BT2020_TO_BT709.T, 0, 1)
    encoded: NDArray[np.uint8] = _encoding()[(linear * 65535 + 0.5).astype(np.uint16)]
    return encoded


@cache
def _light(transfer: int) -> NDArray[np.float32]:
    """Mapped light, 0 to 1, of each coded value."""
    coded = np.arange(65536) / 65535
    light = (_pq(coded) if transfer == PQ else _hlg(coded)) / _WHITE
    top = (_PEAK / _WHITE - _KNEE) / (1 - _KNEE)
    over = np.clip((light - _KNEE) / (1 - _KNEE), 0, top)
    mapped = np.where(light > _KNEE, _KNEE + (1 - _KNEE) * over * (1 + over / top**2) / (1 + over), light)
    return mapped.astype(np.float32)


def _pq(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light in cd/m² by SMPTE ST 2084."""
    power = coded ** (32 / 2523)
    light: NDArray[np.float64] = 10_000 * (np.maximum(power - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * power)) ** (
        8192 / 1305
    )
    return light


def _hlg(coded: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light in cd/m² on a screen of 1000 cd/m² by ARIB STD-B67 and the system gamma of BT.2100."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(coded <= 0.5, coded**2 / 3, (np.exp((coded - c) / a) + b) / 12)
    light: NDArray[np.float64] = _PEAK * scene**1.2
    return light


@cache
def _encoding() -> NDArray[np.uint8]:
    """The sRGB value of each light, 65535 for 1."""
    light = np.arange(65536) / 65535
    coded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    encoding: NDArray[np.uint8] = np.rint(255 * coded).astype(np.uint8)
    return encoding
