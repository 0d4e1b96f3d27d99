"""Painters of what stands along a street: lamps, posts, signs, signals, fences, bins."""

from __future__ import annotations

import math

import numpy as np

from segnet.data.synthetic.canvas import FENCE, POLE, SIGN, Canvas, Point, Tint, scaled, vary
from segnet.labels import IGNORE_INDEX

__all__ = ["paint_bin", "paint_fence", "paint_lamp", "paint_post", "paint_railings", "paint_sign", "paint_signal"]

_PANEL_M = 1.8  # length of a piece of fence
_RED: Tint = (178, 30, 34)
_WHITE: Tint = (224, 224, 220)
_BLUE: Tint = (36, 70, 150)
_BLACK: Tint = (30, 30, 30)
_METAL: Tint = (104, 108, 108)


def paint_lamp(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """A street lamp whose arm reaches over the road."""
    across, _, ahead = foot
    height, reach = rng.uniform(5, 9), -math.copysign(rng.uniform(0.6, 1.6), across)
    top: Point = (across, height, ahead)
    tip: Point = (across + reach, height + 0.25, ahead)
    canvas.line([foot, (across, 1.2, ahead)], 0.18, _METAL, POLE)
    canvas.line([foot, top, tip], 0.11, _METAL, POLE)
    lamp: Tint = (700.0, 520.0, 260.0) if canvas.light.lamps else (150.0, 150.0, 146.0)
    canvas.line([tip, (tip[0] + math.copysign(0.5, reach), tip[1], ahead)], 0.2, lamp, POLE)


def paint_post(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """A bollard at the kerb."""
    across, _, ahead = foot
    height = rng.uniform(0.8, 1.1)
    canvas.line([foot, (across, height, ahead)], 0.16, (40, 40, 44), POLE)
    canvas.line([(across, height * 0.8, ahead), (across, height * 0.9, ahead)], 0.16, (180, 176, 168))


def paint_sign(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """A round, triangular or rectangular traffic sign on its pole."""
    across, _, ahead = foot
    height, radius = rng.uniform(2.0, 3.0), rng.uniform(0.28, 0.42)
    canvas.line([foot, (across, height + radius, ahead)], 0.075, _METAL, POLE)
    paint = (_paint_disc, _paint_triangle, _paint_panel)[rng.integers(3)]
    paint(canvas, rng, (across, height, ahead), radius)


def _paint_disc(canvas: Canvas, rng: np.random.Generator, center: Point, radius: float) -> None:
    """An order or a ban: a disc with a rim and a bar."""
    across, up, ahead = center
    rim, field = ((_RED, _WHITE), (_BLUE, _BLUE), (_RED, _BLUE))[rng.integers(3)]
    canvas.disc(center, (radius, radius), rim, SIGN)
    canvas.disc(center, (radius * 0.74, radius * 0.74), field)
    bar = _WHITE if rim == field else _BLACK
    canvas.face((across - radius * 0.4, across + radius * 0.4), (up - 0.06, up + 0.06), ahead, bar)


def _paint_triangle(canvas: Canvas, rng: np.random.Generator, center: Point, radius: float) -> None:
    """A warning: a red triangle around some black figure."""
    across, up, ahead = center
    for reach, tint, label in ((radius * 1.15, _RED, SIGN), (radius * 0.7, _WHITE, None)):
        foot = up - reach * 0.6
        corners: list[Point] = [
            (across - reach, foot, ahead),
            (across, up + reach * 1.1, ahead),
            (across + reach, foot, ahead),
        ]
        canvas.polygon(corners, tint, label)
    figure = rng.uniform(0.03, 0.08)
    canvas.face((across - figure, across + figure), (up - 0.1, up + 0.15), ahead, _BLACK)


def _paint_panel(canvas: Canvas, rng: np.random.Generator, center: Point, radius: float) -> None:
    """A direction or a parking rule: a rectangle with lines of writing."""
    across, up, ahead = center
    field: Tint = (_BLUE, _WHITE, (40.0, 96.0, 66.0), (214.0, 170.0, 40.0))[rng.integers(4)]
    letters = _BLACK if sum(field) > 400 else _WHITE
    wide = radius * rng.uniform(0.8, 1.8)
    canvas.face((across - wide, across + wide), (up - radius, up + radius), ahead, field, SIGN)
    for row in (up - 0.5 * radius, up, up + 0.5 * radius):
        end = across + wide * rng.uniform(0.2, 0.8)
        canvas.face((across - wide * 0.7, end), (row - 0.06, row + 0.06), ahead, letters)


def paint_signal(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """A traffic light; one of the three lamps is on."""
    across, _, ahead = foot
    canvas.line([foot, (across, 2.6, ahead)], 0.13, (60, 62, 62), POLE)
    canvas.face((across - 0.32, across + 0.32), (2.3, 3.5), ahead, (34, 34, 34), SIGN)
    on = rng.integers(3)
    for index, tint in enumerate(((60.0, 255.0, 150.0), (255.0, 180.0, 40.0), (255.0, 50.0, 40.0))):
        glow = (4.0 if canvas.light.lamps else 1.2) if index == on else 0.2
        lamp: Point = (across, 2.52 + 0.37 * index, ahead)
        canvas.disc(lamp, (0.12, 0.12), scaled(tint, glow))


def paint_bin(canvas: Canvas, rng: np.random.Generator, foot: Point) -> None:
    """A litter bin, a letter box or a cabinet: things that belong to no class."""
    across, _, ahead = foot
    tint = ((46.0, 52.0, 48.0), (116.0, 34.0, 34.0), (72.0, 84.0, 72.0), (60.0, 60.0, 64.0))[rng.integers(4)]
    wide, height = rng.uniform(0.2, 0.35), rng.uniform(0.9, 1.3)
    canvas.face((across - wide, across + wide), (0, height), ahead, tint, IGNORE_INDEX)
    canvas.face((across - wide, across + wide), (height - 0.12, height), ahead, scaled(tint, 1.5))


def paint_fence(canvas: Canvas, rng: np.random.Generator, across: float, along: tuple[float, float]) -> None:
    """A garden wall, a board fence or iron railings between two distances ahead."""
    height = rng.uniform(0.8, 1.5)
    kind = rng.choice(("wall", "boards", "railings"), p=(0.35, 0.25, 0.4))
    if kind == "railings":
        paint_railings(canvas, across, along, height)
        return
    tint, edge = (vary(rng, (118, 96, 78), 14), 1.3) if kind == "wall" else (vary(rng, (98, 84, 64), 14), 0.7)
    lit = canvas.light.on_wall(1 if across > 0 else -1)
    for near in np.arange(*along, _PANEL_M)[::-1].tolist():
        far = near + _PANEL_M
        panel: list[Point] = [(across, 0, near), (across, height, near), (across, height, far), (across, 0, far)]
        canvas.polygon(panel, vary(rng, tint, 4), FENCE, lit=lit)
        canvas.line(panel[1:3], 0.09, scaled(tint, edge))


def paint_railings(canvas: Canvas, across: float, along: tuple[float, float], height: float) -> None:
    """Iron bars: the mask holds the whole panel, the image only the bars."""
    iron: Tint = (46, 48, 50)
    near, far = along
    panel: list[Point] = [(across, 0.05, near), (across, height, near), (across, height, far), (across, 0.05, far)]
    canvas.label(panel, FENCE)
    canvas.polygon(panel, iron, opacity=0.25)
    for up in (0.15, height):
        canvas.line([(across, up, near), (across, up, far)], 0.05, iron)
    for ahead in np.arange(near, far, 0.16 if far < 25 else 0.4).tolist():
        canvas.line([(across, 0.05, ahead), (across, height, ahead)], 0.025, iron)
