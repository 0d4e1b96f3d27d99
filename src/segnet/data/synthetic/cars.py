"""Painters of cars, vans and buses, and of one's own bonnet."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from segnet.data.synthetic.canvas import CAR, Canvas, Point, Tint, vary
from segnet.labels import IGNORE_INDEX

__all__ = ["paint_bonnet", "paint_car"]

_Profile = tuple[tuple[float, float], ...]

# Side views, rear to front: (along, up) in metres, from the rear bumper over the roof to the front bumper.
_HATCHBACK: _Profile = ((0, 0.3), (0, 0.9), (0.35, 1.42), (2.0, 1.45), (2.8, 0.95), (3.8, 0.78), (3.9, 0.3))
_SALOON: _Profile = ((0, 0.3), (0, 0.95), (1.2, 1.4), (2.4, 1.42), (3.2, 0.95), (4.4, 0.78), (4.5, 0.3))
_VAN: _Profile = ((0, 0.35), (0, 1.1), (0.1, 2.2), (3.4, 2.2), (4.1, 1.25), (4.8, 1.05), (4.9, 0.35))
_BUS: _Profile = ((0, 0.35), (0, 1.5), (0.05, 3.1), (9.6, 3.1), (9.9, 1.4), (10.0, 1.3), (10.0, 0.35))
_PROFILES = (_HATCHBACK, _SALOON, _VAN, _BUS)
_PAINTS: tuple[Tint, ...] = (
    (38, 40, 46), (66, 72, 84), (176, 180, 184), (206, 208, 210), (136, 34, 34), (36, 52, 92),
    (232, 232, 228), (60, 84, 76), (140, 146, 152), (36, 50, 80), (188, 170, 130),
)  # fmt: skip
_BONNET_M = 1.3  # from the camera to the edge of its own bonnet
_GLASS: Tint = (42, 48, 54)
_TYRE: Tint = (22, 22, 24)


def paint_car(canvas: Canvas, rng: np.random.Generator, foot: Point, *, oncoming: bool) -> None:
    """A hatchback, saloon, van or bus with its shadow; foot is the middle of the end nearest to the camera."""
    profile = _PROFILES[rng.choice(len(_PROFILES), p=(0.5, 0.32, 0.13, 0.05))]
    paint = vary(rng, _PAINTS[rng.integers(len(_PAINTS))], 8)
    length, width = _length(profile), 1.7 if profile[2][1] < 2 else 2.1
    if oncoming:
        profile = tuple((length - along, up) for along, up in reversed(profile))
    left, right, near = foot[0] - width / 2, foot[0] + width / 2, foot[2]
    back, front = near - 0.25, near + length
    canvas.shadow([(left - 0.2, 0, back), (left - 0.2, 0, front), (right + 0.2, 0, front), (right + 0.2, 0, back)], 0.7)
    _paint_shell(canvas, (left, right), near, profile, paint)
    for across, outward in ((left, -1), (right, 1)):
        first, last = (canvas.camera.project((across, 0, ahead))[0] for ahead in (near, front))
        if (last - first) * outward > 0:
            _paint_flank(canvas, across, near, profile, paint)
    _paint_end(canvas, foot, width, oncoming=oncoming)


def paint_bonnet(canvas: Canvas, rng: np.random.Generator) -> None:
    """The edge of one's own bonnet along the bottom of the image; it is ignored."""
    tilt = rng.uniform(-0.1, 0.1)
    turn = np.linspace(-1, 1, 9).tolist()
    camera = canvas.camera
    up = camera.height_m - rng.uniform(0.30, 0.36) * _BONNET_M
    edge: list[Point] = [(camera.across_m + x * 1.6, up + tilt * x - 0.12 * x * x, _BONNET_M) for x in turn]
    below: list[Point] = [(across, up - 3, ahead) for across, up, ahead in (edge[-1], edge[0])]
    canvas.polygon([*edge, *below], vary(rng, (48, 54, 70), 14), IGNORE_INDEX)
    canvas.line(edge, 0.02, (190, 196, 204), IGNORE_INDEX)


def _length(profile: _Profile) -> float:
    """Length of a side view, metres."""
    return max(along for along, _ in profile)


def _paint_shell(canvas: Canvas, sides: tuple[float, float], near: float, profile: _Profile, paint: Tint) -> None:
    """The surfaces that run across the car, far ones first: bonnet, screens, roof, tail."""
    left, right = sides
    surfaces = [(np.array(first), np.array(second)) for first, second in pairwise(profile)]
    for first, second in reversed(surfaces):
        start, run = np.add(first, (near, 0)), second - first
        steep = abs(run[1]) > 0.35 * abs(run[0])
        _slab(canvas, sides, start, start + run, paint, lit=0.8 if steep else 1.35, label=CAR)
        if steep and min(first[1], second[1]) > 0.7:
            _slab(canvas, (left + 0.16, right - 0.16), start + 0.12 * run, start + 0.88 * run, _GLASS, lit=1.2)


def _slab(
    canvas: Canvas,
    sides: tuple[float, float],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    tint: Tint,
    *,
    lit: float,
    label: int | None = None,
) -> None:
    """A surface across the car between two (ahead, up) edges."""
    (left, right), (ahead, up), (next_ahead, next_up) = sides, first.tolist(), second.tolist()
    canvas.polygon(
        [(left, up, ahead), (left, next_up, next_ahead), (right, next_up, next_ahead), (right, up, ahead)],
        tint,
        label,
        lit=lit,
    )


def _paint_flank(canvas: Canvas, across: float, near: float, profile: _Profile, paint: Tint) -> None:
    """The side of a car: doors, windows, sill, wheels."""
    lit = canvas.light.on_wall(1 if across > canvas.camera.across_m else -1) * 0.95
    canvas.polygon([(across, up, near + along) for along, up in profile], paint, CAR, lit=lit)
    canvas.polygon([(across, up, near + along) for along, up in _side_window(profile)], _GLASS, lit=1.1)
    front, rear = near + _length(profile), near
    canvas.polygon(
        [(across, 0.3, rear), (across, 0.42, rear), (across, 0.42, front), (across, 0.3, front)], paint, lit=0.4
    )
    for ahead in (rear + 0.75, front - 0.8):
        _paint_wheel(canvas, across, ahead)


def _side_window(profile: _Profile) -> _Profile:
    """The part of a side view above the doors, drawn in from its edges."""
    upper = [(along, up) for along, up in profile if up > 0.85]
    middle = sum(along for along, _ in upper) / len(upper)
    roof = max(up for _, up in upper)
    return tuple((middle + (along - middle) * 0.72, roof - 0.08 - (roof - max(up, 0.95)) * 0.85) for along, up in upper)


def _paint_wheel(canvas: Canvas, across: float, ahead: float) -> None:
    """A tyre and its rim, seen from the side."""
    turn = np.linspace(0, 2 * math.pi, 13)[:-1].tolist()
    for radius, tint, label in ((0.32, _TYRE, CAR), (0.19, (76, 78, 80), None)):
        circle: list[Point] = [(across, 0.32 + radius * math.sin(a), ahead + radius * math.cos(a)) for a in turn]
        canvas.polygon(circle, tint, label)


def _paint_end(canvas: Canvas, foot: Point, width: float, *, oncoming: bool) -> None:
    """Lights, bumper and number plate of the end that faces the camera."""
    across, _, ahead = foot
    half = width / 2
    lamps = canvas.light.lamps
    if oncoming:
        lamp: Tint = (900.0, 880.0, 780.0) if lamps else (205.0, 208.0, 205.0)
        plate: Tint = (200.0, 200.0, 196.0)
    else:
        lamp = (700.0, 60.0, 40.0) if lamps else (140.0, 26.0, 24.0)
        plate = (196.0, 170.0, 60.0)
    canvas.face((across - half + 0.02, across + half - 0.02), (0.3, 0.5), ahead, (46, 48, 50))
    canvas.face((across - 0.26, across + 0.26), (0.48, 0.6), ahead, plate)
    for side in (-1, 1):
        inner, outer = sorted((across + side * (half - 0.3), across + side * (half - 0.04)))
        canvas.face((inner, outer), (0.62, 0.84), ahead, lamp)
        tyre = sorted((across + side * (half - 0.25), across + side * (half - 0.04)))
        canvas.face((tyre[0], tyre[1]), (0.0, 0.32), ahead, _TYRE, CAR)
