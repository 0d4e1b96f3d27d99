"""Painters of pedestrians and cyclists."""

from __future__ import annotations

import numpy as np

from segnet.data.synthetic.canvas import BICYCLIST, PEDESTRIAN, Canvas, Point, Tint, scaled, vary

__all__ = ["paint_cyclist", "paint_pedestrian"]

_Outline = tuple[tuple[float, float], ...]

# Metres to the side of and above the foot.
_SADDLE = (-0.2, 0.98)
_BETWEEN_WHEELS: _Outline = ((-0.5, 0.4), (-0.2, 0.95), (0.45, 0.95), (0.5, 0.4), (0.0, 0.25))

_CLOTHES: tuple[Tint, ...] = (
    (34, 34, 40), (52, 48, 48), (40, 46, 66), (86, 74, 64), (120, 40, 40), (70, 76, 84), (150, 144, 134), (44, 62, 52),
)  # fmt: skip
_SKIN: tuple[Tint, ...] = ((190, 146, 122), (168, 124, 100), (110, 78, 60), (204, 164, 142))
_TYRE: Tint = (22, 22, 24)


def paint_pedestrian(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """Somebody who walks or stands: legs, coat, arms, head, at times a bag."""
    across, _, ahead = foot
    tall, stride = rng.uniform(0.88, 1.08), rng.uniform(0.05, 0.28)
    lean, swing = rng.uniform(-0.05, 0.05), rng.uniform(-0.15, 0.15)
    trousers, coat = (vary(rng, _CLOTHES[rng.integers(len(_CLOTHES))], 8) for _ in range(2))
    _ground_shadow(canvas, foot, 0.3)

    def body(outline: _Outline, tint: Tint) -> None:
        canvas.polygon([(across + x * tall, y * tall, ahead) for x, y in outline], tint, PEDESTRIAN)

    for side, lit in ((-1, 0.8), (1, 1.0)):
        body(_leg(side, stride), scaled(trousers, lit))
    body(_torso(rng.uniform(0.65, 0.9), lean), coat)
    for side in (-1, 1):
        body(_arm(side, lean, swing), scaled(coat, 0.85))
    if rng.random() < 0.35:
        body(((0.2, 0.5), (0.2, 0.85), (0.42, 0.85), (0.42, 0.5)), vary(rng, (90, 80, 70), 30))
    middle = across + lean * tall
    skin, hair = _SKIN[rng.integers(len(_SKIN))], vary(rng, (50, 42, 36), 14)
    canvas.disc((middle, 1.62 * tall, ahead), (0.1 * tall, 0.135 * tall), skin, PEDESTRIAN)
    canvas.disc((middle, 1.7 * tall, ahead), (0.105 * tall, 0.08 * tall), hair, PEDESTRIAN)


def _leg(side: int, stride: float) -> _Outline:
    """From the hip to a foot that is stride away from the middle."""
    foot = side * stride
    return (side * 0.02, 0.9), (side * 0.17, 0.9), (foot + side * 0.08, 0.0), (foot - side * 0.06, 0.0)


def _torso(hem: float, lean: float) -> _Outline:
    """A coat from its hem to the shoulders."""
    shoulders = (-0.22 + lean, 1.4), (-0.08 + lean, 1.5), (0.08 + lean, 1.5), (0.22 + lean, 1.4)
    return (-0.2, hem), *shoulders, (0.2, hem)


def _arm(side: int, lean: float, swing: float) -> _Outline:
    """From the shoulder to a hand that swings."""
    shoulder = (side * 0.18 + lean, 1.42), (side * 0.27 + lean, 1.36)
    return *shoulder, (side * 0.3 + swing, 0.85), (side * 0.21 + swing, 0.85)


def paint_cyclist(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """Rider and bicycle, turned by some angle; the mask is filled between the spokes, as CamVid's is."""
    across, _, ahead = foot
    turn = rng.uniform(0.3, 1.0) * rng.choice((-1, 1))
    coat, trousers = (vary(rng, _CLOTHES[rng.integers(len(_CLOTHES))], 10) for _ in range(2))
    if rng.random() < 0.25:
        coat = (170, 190, 40)
    _ground_shadow(canvas, foot, 0.4)

    def place(x: float, y: float) -> Point:
        return across + x * turn, y, ahead

    def limb(path: _Outline, width: float, tint: Tint) -> None:
        canvas.line([place(x, y) for x, y in path], width, tint, BICYCLIST)

    for wheel in (-0.52, 0.52):
        canvas.ring(place(wheel, 0.34), (0.33 * abs(turn), 0.33), _TYRE, BICYCLIST)
    canvas.label([place(x, y) for x, y in _BETWEEN_WHEELS], BICYCLIST)
    frame = vary(rng, (70, 70, 80), 40)
    limb(((-0.52, 0.34), (-0.15, 0.85), (0.0, 0.3), (0.4, 0.85), (0.52, 0.34)), 0.05, frame)
    limb(((-0.15, 0.85), (0.4, 0.88)), 0.05, frame)
    for knee, pedal, lit in (((0.18, 0.75), (0.08, 0.3), 1.0), ((0.12, 0.62), (-0.05, 0.22), 0.8)):
        limb((_SADDLE, knee, pedal), 0.15, scaled(trousers, lit))
    limb((_SADDLE, (0.02, 1.4)), 0.36, coat)
    limb(((0.02, 1.38), (0.4, 0.98)), 0.11, scaled(coat, 0.85))
    canvas.disc(place(0.12, 1.6), (0.11, 0.14), _SKIN[rng.integers(len(_SKIN))], BICYCLIST)
    canvas.disc(place(0.1, 1.68), (0.125, 0.09), vary(rng, (70, 60, 56), 40), BICYCLIST)


def _ground_shadow(canvas: Canvas, foot: Point, radius: float) -> None:
    """The dark place under something, drawn out away from the sun."""
    across, _, ahead = foot
    away = -canvas.light.sun_side * canvas.light.sun * 2.5
    sides: list[Point] = [(across - radius, 0, ahead), (across + radius, 0, ahead)]
    canvas.shadow([sides[0], (across + away, 0, ahead + 0.5), sides[1], (across, 0, ahead - 0.2)], 0.45)
