"""Painters of the sky, the ground and its markings; colors were read off CamVid's images."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segnet.data.synthetic.canvas import NOISE_TILE, PAVEMENT, SKY, Canvas, Point, Tint, scaled, vary

__all__ = ["paint_band", "paint_kerb", "paint_markings", "paint_sky"]

_YELLOW: Tint = (170, 146, 70)
_STEPS_M = (0.7, 1.5, 2.5, 4, 6, 9, 13, 18, 25, 35, 50, 70, 100, 150, 220)  # where a bending edge is sampled


def paint_sky(canvas: Canvas, rng: np.random.Generator) -> None:
    """A gradient from overhead to the horizon with clouds that flatten towards it."""
    width, height = canvas.image.size
    light = canvas.light
    rows = (np.arange(height // 4 + 1, dtype=np.float32)[:, None] * 4 - canvas.camera.horizon) / canvas.camera.focal
    columns = np.arange(width // 4 + 1, dtype=np.float32)[None, :] * 4 / canvas.camera.focal
    up = np.clip(-rows, 0.02, None)
    blend = np.clip(up / 0.4, 0, 1)[..., None]
    sky = np.array(light.sky_low) * (1 - blend) + np.array(light.sky_top) * blend
    start = rng.integers(NOISE_TILE, size=2)
    depth = 90 / (up + 0.25)
    place = (
        np.floor(depth + start[0]).astype(int) % NOISE_TILE,
        np.floor((columns - 0.5) * depth * 1.5 + start[1]).astype(int) % NOISE_TILE,
    )
    sky = sky * (1 + light.clouds * 0.35 * canvas.noise[place])[..., None]
    image = Image.fromarray(np.clip(sky, 0, 255).astype(np.uint8))
    canvas.image.paste(image.resize((width, height), Image.Resampling.BICUBIC))
    canvas.mask.paste(SKY, (0, 0, width, height))


def paint_band(canvas: Canvas, inner: float, outer: float, tint: Tint, label: int | None = None) -> None:
    """A strip of ground along the whole street, between two distances across."""
    for near, far in zip(_STEPS_M[-2::-1], _STEPS_M[:0:-1], strict=True):
        canvas.polygon([(inner, 0, near), (inner, 0, far), (outer, 0, far), (outer, 0, near)], tint, label)


def paint_kerb(canvas: Canvas, side: int, across: float, tint: Tint) -> None:
    """The gutter, the kerb stone's face and its lighter top."""
    paint_band(canvas, across - side * 0.25, across, (70, 70, 70))
    paint_band(canvas, across, across + side * 0.06, (84, 82, 80), PAVEMENT)
    paint_band(canvas, across + side * 0.06, across + side * 0.2, scaled(tint, 1.2), PAVEMENT)


def paint_markings(canvas: Canvas, rng: np.random.Generator, half_width: float) -> None:
    """Center dashes, lines along the kerbs, patches; at times a cycle lane, a zebra crossing, an arrow."""
    paint = vary(rng, (205, 205, 200), 8)
    if rng.random() < 0.25:
        side = rng.choice((-1, 1))
        paint_band(canvas, side * (half_width - 1.5), side * (half_width - 0.3), (128, 88, 82))
    dash, gap, start = rng.uniform(1.5, 4), rng.uniform(2, 5), rng.uniform(1, 6)
    for near in np.arange(start, 90, dash + gap).tolist():
        _paint_ground(canvas, (-0.06, 0.06), (near, near + dash), paint)
    _paint_kerb_lines(canvas, rng, half_width, _YELLOW if rng.random() < 0.5 else paint)
    if rng.random() < 0.35:
        _paint_zebra(canvas, rng.uniform(9, 24), half_width, paint)
    if rng.random() < 0.25:
        _paint_arrow(canvas, -half_width / 2 + rng.uniform(-0.3, 0.3), rng.uniform(6, 12), paint)
    for _ in range(rng.integers(2, 6)):
        across, near, side = rng.uniform(-half_width, half_width), rng.uniform(4, 20), rng.uniform(0.3, 2.5)
        tar = vary(rng, (92, 92, 94), 16)
        _paint_ground(canvas, (across, across + side * 0.6), (near, near + side), tar, opacity=0.5)


def _paint_kerb_lines(canvas: Canvas, rng: np.random.Generator, half_width: float, tint: Tint) -> None:
    """A double line along one kerb, both or none."""
    for side in (-1, 1):
        if rng.random() < 0.6:
            for offset in (0.3, 0.55):
                paint_band(canvas, side * (half_width - offset), side * (half_width - offset - 0.08), tint)


def _paint_ground(
    canvas: Canvas, across: tuple[float, float], ahead: tuple[float, float], tint: Tint, *, opacity: float = 0.85
) -> None:
    """A rectangle of worn paint or tar on the road."""
    (left, right), (near, far) = across, ahead
    canvas.polygon([(left, 0, near), (left, 0, far), (right, 0, far), (right, 0, near)], tint, opacity=opacity)


def _paint_zebra(canvas: Canvas, ahead: float, half_width: float, paint: Tint) -> None:
    """White stripes across the road."""
    for across in np.arange(-half_width + 0.3, half_width - 0.5, 1.1).tolist():
        _paint_ground(canvas, (across, across + 0.55), (ahead, ahead + 2.6), paint)


def _paint_arrow(canvas: Canvas, across: float, ahead: float, paint: Tint) -> None:
    """An arrow straight ahead."""
    _paint_ground(canvas, (across - 0.08, across + 0.08), (ahead, ahead + 2.5), paint)
    tip: list[Point] = [(across - 0.45, 0, ahead + 2.5), (across, 0, ahead + 4.2), (across + 0.45, 0, ahead + 2.5)]
    canvas.polygon(tip, paint, opacity=0.85)
