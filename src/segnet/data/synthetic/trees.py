"""Painters of trees and bushes; the mask holds the whole crown, as CamVid's does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.data.synthetic.canvas import NOISE_TILE, TREE, Canvas, Point, Tint, vary

__all__ = ["paint_bush", "paint_leaves", "paint_tree"]

_LEAVES: tuple[Tint, ...] = ((72, 80, 48), (58, 66, 40), (92, 92, 58), (50, 60, 44), (104, 92, 66))
_BARK: Tint = (58, 52, 46)
_HALF_COVERED = [0] * 128 + [255] * 128  # cover 0..255 -> in the mask or not
_LEAF_TILE = 160  # side of the piece of noise a crown is cut from


def paint_tree(canvas: Canvas, rng: np.random.Generator, foot: Point, height: float) -> None:
    """A tree in leaf or a bare one, and its shade."""
    across, _, ahead = foot
    bare = rng.random() < 0.4
    crown: Point = (across, height * 0.64, ahead)
    radii = (height * rng.uniform(0.3, 0.42), height * 0.38)
    if canvas.light.sun > 0:
        _paint_shade(canvas, rng, foot, radii[0])
    canvas.line([foot, (across, height * 0.5, ahead)], height * 0.06, vary(rng, _BARK, 6), TREE)
    paint_leaves(canvas, rng, crown, radii, opacity=0.3 if bare else 1.0)
    if bare:
        _paint_branch(canvas, rng, (across, height * 0.3, ahead), (math.pi / 2, height * 0.28), 6)


def paint_bush(canvas: Canvas, rng: np.random.Generator, foot: Point, height: float) -> None:
    """A round bush or a piece of hedge."""
    across, _, ahead = foot
    paint_leaves(canvas, rng, (across, height * 0.45, ahead), (height * 0.9, height * 0.6), opacity=1.0)


def paint_leaves(
    canvas: Canvas, rng: np.random.Generator, center: Point, radii_m: tuple[float, float], *, opacity: float
) -> None:
    """A noise-edged blob of leaves, brighter on top; thin opacity makes it a haze of twigs."""
    across, up, ahead = center
    tint = vary(rng, _LEAVES[rng.integers(len(_LEAVES))], 8)
    start = rng.integers(NOISE_TILE, size=2)
    left, top = canvas.camera.project((across - radii_m[0] * 1.3, up + radii_m[1] * 1.3, ahead))
    right, bottom = canvas.camera.project((across + radii_m[0] * 1.3, up - radii_m[1] * 1.3, ahead))
    if right - left < 2 or bottom - top < 2:
        return
    extent = round(right - left), round(bottom - top)
    alpha, shade = _leaf_stamp(canvas.noise, start, step=_step_for(max(extent)))
    base = np.array(canvas.light.seen(tint, ahead), dtype=np.float32)
    image = Image.fromarray(np.clip(base * shade[..., None], 0, 255).astype(np.uint8)).resize(extent)
    cover = Image.fromarray((alpha * 255).astype(np.uint8)).resize(extent)
    place = round(left), round(top)
    canvas.image.paste(image, place, cover if opacity == 1 else cover.point([int(opacity * c) for c in range(256)]))
    canvas.mask.paste(TREE, place, cover.point(_HALF_COVERED))


def _paint_shade(canvas: Canvas, rng: np.random.Generator, foot: Point, radius: float) -> None:
    """The dappled shadow a crown throws on the ground."""
    across, _, ahead = foot
    for _ in range(5):
        middle = across - canvas.light.sun_side * radius * rng.uniform(0.5, 2.5), ahead + rng.uniform(-1, 1) * radius
        reach = radius * rng.uniform(0.3, 0.7)
        turn = np.linspace(0, 2 * math.pi, 9)[:-1].tolist()
        blob: list[Point] = [
            (middle[0] + reach * math.cos(angle), 0, max(2.0, middle[1] + reach * math.sin(angle))) for angle in turn
        ]
        canvas.shadow(blob, canvas.light.sun * 0.45)


def _paint_branch(
    canvas: Canvas, rng: np.random.Generator, foot: Point, reach: tuple[float, float], order: int
) -> None:
    """A branch that forks, order times; reach is its (angle, length)."""
    angle, length = reach
    across, up, ahead = foot
    tip: Point = (across + math.cos(angle) * length, up + math.sin(angle) * length, ahead)
    canvas.line([foot, tip], 0.012 * order**1.4, _BARK)
    if order > 1 and canvas.camera.span(length, ahead) > 2:
        turns = rng.uniform(0.15, 0.65, size=2)
        for turn in (turns[0], -turns[1]):
            _paint_branch(canvas, rng, tip, (angle + turn, length * rng.uniform(0.62, 0.85)), order - 1)


def _step_for(extent: int) -> int:
    """1 for a crown of many pixels, 2, 4 or 8 for smaller ones."""
    return int(2 ** np.clip(np.floor(np.log2(_LEAF_TILE / extent)), 0, 3))


def _leaf_stamp(
    noise: NDArray[np.float32], start: NDArray[np.int64], *, step: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cover (0 or 1) and brightness (about 1) of a crown, both square; step skips noise that would not show."""
    reach = np.arange(0, _LEAF_TILE, step)
    wide = noise[np.ix_((start[0] + reach) % NOISE_TILE, (start[1] + reach) % NOISE_TILE)]
    fine = noise[np.ix_((start[1] + 3 * reach) % NOISE_TILE, (start[0] + 3 * reach) % NOISE_TILE)]
    span = np.linspace(-1.3, 1.3, len(reach), dtype=np.float32)
    rows, columns = span[:, None], span[None, :]
    inside = 1.0 - rows**2 - columns**2 + 0.28 * wide + 0.13 * fine
    shade = 1.0 - 0.3 * rows + 0.25 * wide + 0.3 * fine
    return (inside > 0.15).astype(np.float32), np.clip(shade, 0.35, 2.0)
