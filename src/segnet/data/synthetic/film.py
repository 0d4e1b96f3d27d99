"""From the painted canvas to the image of a camera: texture, lens, film curve, codec, grain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from segnet.data.synthetic.canvas import BUILDING, CAR, FENCE, NOISE_TILE, PAINTED_SCALE, PAVEMENT, ROAD, TREE, Canvas
from segnet.labels import IGNORE_INDEX

__all__ = ["develop"]

_Field = NDArray[np.floating[Any]]

# The film's curve: darks become darker and whites burn out, as in CamVid's images.
_FILM = np.minimum(255 * 1.3 * (np.arange(256) / 255) ** 1.35, 255).astype(np.uint8)

# How strongly the noise tile shows on each class, as a share of its brightness.
_RELIEF = {BUILDING: 0.06, PAVEMENT: 0.04, TREE: 0.10, FENCE: 0.10, ROAD: 0.03, CAR: 0.04, IGNORE_INDEX: 0.06}


def develop(canvas: Canvas, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Image uint8 (H, W, 3) and mask uint8 (H, W): texture, lens, film curve, codec, grain."""
    mask = np.array(canvas.mask)[1::PAINTED_SCALE, 1::PAINTED_SCALE]
    light: _Field = np.asarray(canvas.image.reduce(PAINTED_SCALE), dtype=np.float32)
    relief = 1.0 + _surface_relief(canvas, mask) + _ground_relief(canvas, mask)
    light = light * (relief * _vignette(mask.shape))[..., None]
    soft = _codec(_FILM[np.clip(light, 0, 255).astype(np.uint8)]).astype(np.float32)
    grain = rng.standard_normal((*mask.shape, 1), dtype=np.float32) * 1.5
    grain = grain + rng.standard_normal(soft.shape, dtype=np.float32) * 0.8
    return np.clip(soft + grain, 0, 255).astype(np.uint8), _open_seams(canvas, mask)


def _open_seams(canvas: Canvas, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ignored pixels along some of the borders between classes, where an annotator leaves a gap."""
    border = np.zeros(mask.shape, dtype=bool)
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    gap = canvas.noise[rows // 2 % NOISE_TILE, columns // 2 % NOISE_TILE] > 0.6
    return np.where(border & gap, np.uint8(IGNORE_INDEX), mask)


def _surface_relief(canvas: Canvas, mask: NDArray[np.uint8]) -> _Field:
    """Stains and roughness of walls, leaves and coats, as a share of their brightness."""
    strength = np.zeros(256, dtype=np.float32)
    strength[list(_RELIEF)] = list(_RELIEF.values())
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    relief: _Field = strength[mask] * canvas.noise[rows % NOISE_TILE, columns % NOISE_TILE]
    return relief


def _ground_relief(canvas: Canvas, mask: NDArray[np.uint8]) -> _Field:
    """Grain, patches and wheel tracks of the ground, in perspective."""
    relief = np.zeros(mask.shape, dtype=np.float32)
    top = max(0, math.ceil(canvas.camera.horizon / PAINTED_SCALE + 1))
    rows, columns = np.mgrid[top : mask.shape[0], : mask.shape[1]].astype(np.float32) * PAINTED_SCALE
    across, ahead = canvas.camera.ground(rows[:, :1], columns[:1])
    fine = canvas.noise[_wrap(ahead * 14), _wrap(across * 30)] * np.minimum(1.0, 9.0 / ahead)
    coarse = canvas.noise[_wrap(ahead * 0.9 + 90), _wrap(across * 5)]
    tracks = np.cos(across * (2 * math.pi / 1.6))
    ground = (mask[top:] == ROAD) | (mask[top:] == PAVEMENT)
    relief[top:] = np.where(ground, 0.06 * fine + 0.06 * coarse + 0.02 * tracks, 0.0)
    return relief


def _wrap(place: _Field) -> NDArray[np.intp]:
    """Index into the noise tile."""
    return np.floor(place).astype(np.intp) % NOISE_TILE


def _vignette(shape: tuple[int, ...]) -> _Field:
    """Light that reaches the film: 1 in the middle, 0.8 in the corners."""
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[None, :]
    return 1.0 - 0.1 * (rows**2 + columns**2)


def _codec(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a video codec leaves: slightly soft brightness, color at half the resolution."""
    light, *colors = Image.fromarray(image).convert("YCbCr").split()
    light = light.filter(ImageFilter.GaussianBlur(0.5))
    half = (max(1, light.width // 2), max(1, light.height // 2))
    colors = [
        color.resize(half, Image.Resampling.BOX).resize(light.size, Image.Resampling.BILINEAR) for color in colors
    ]
    return np.asarray(Image.merge("YCbCr", [light, *colors]).convert("RGB"))
