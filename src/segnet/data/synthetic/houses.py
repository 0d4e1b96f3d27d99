"""Painter of houses: shadow, roof, end wall, and a front with windows, a door or a shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segnet.data.synthetic.canvas import BUILDING, Canvas, Point, Tint, scaled, vary

__all__ = ["House", "paint_far_house", "paint_house"]

_WALLS: tuple[Tint, ...] = (
    (158, 142, 112), (148, 128, 98), (122, 82, 66), (112, 74, 62), (98, 70, 60),
    (196, 192, 182), (178, 172, 160), (132, 128, 122), (98, 94, 90), (150, 132, 116),
)  # fmt: skip
_SHOPS: tuple[Tint, ...] = (
    (30, 34, 40), (28, 58, 44), (110, 28, 30), (32, 44, 92), (188, 184, 170), (60, 44, 34), (150, 110, 40),
)  # fmt: skip
_WHITE: Tint = (222, 222, 216)
_DEPTH_M = 9.0  # from the front of a house to its back


@dataclass(frozen=True, kw_only=True)
class House:
    """One building of a row.

    Attributes:
        side: -1 left of the road, 1 right.
        across: the wall that faces the road, metres.
        near, far: where that wall begins and ends along the road, metres.
        floors: number of floors, about 3 m each.
        shop: whether the ground floor is a shop.
    """

    side: int
    across: float
    near: float
    far: float
    floors: int
    shop: bool

    @property
    def eaves(self) -> float:
        """Height of the wall, metres."""
        return 3.0 * self.floors + 0.4


def paint_house(canvas: Canvas, rng: np.random.Generator, house: House) -> None:
    """Shadow on the ground, roof, end wall and front of one building."""
    wall = vary(rng, _WALLS[rng.integers(len(_WALLS))])
    _paint_house_shadow(canvas, house)
    if rng.random() < 0.75:
        _paint_roof(canvas, rng, house, wall)
    across, eaves, near = house.across, house.eaves, house.near
    back = across + house.side * _DEPTH_M
    canvas.polygon(
        [(across, 0, near), (across, eaves, near), (back, eaves, near), (back, 0, near)], wall, BUILDING, lit=0.8
    )
    _paint_front(canvas, rng, house, wall)


def paint_far_house(canvas: Canvas, rng: np.random.Generator, foot: Point, extent: tuple[float, float]) -> None:
    """A house of the skyline, (width, height) metres, without detail."""
    (left, _, ahead), (width, height) = foot, extent
    right = left + width
    box: list[Point] = [(left, 0, ahead), (left, height, ahead), (right, height, ahead), (right, 0, ahead)]
    canvas.polygon(box, vary(rng, _WALLS[rng.integers(len(_WALLS))]), BUILDING, lit=0.8)


def _paint_house_shadow(canvas: Canvas, house: House) -> None:
    """What the house keeps from the sun on its own side of the street."""
    light = canvas.light
    if light.sun > 0 and light.sun_side == house.side:
        across, reach = house.across, house.across - house.side * house.eaves * 0.55
        near, far = house.near, house.far
        canvas.shadow([(across, 0, near), (across, 0, far), (reach, 0, far), (reach, 0, near)], light.sun * 0.65)


def _paint_roof(canvas: Canvas, rng: np.random.Generator, house: House, wall: Tint) -> None:
    """Chimney, the slope above the front, and the gable that faces the camera."""
    across, eaves, near, far = house.across, house.eaves, house.near, house.far
    ridge = eaves + rng.uniform(1.5, 2.8)
    middle, back = across + house.side * _DEPTH_M / 2, across + house.side * _DEPTH_M
    _paint_chimney(canvas, (middle, ridge, rng.uniform(near, far)), wall)
    slope: list[Point] = [(across, eaves, near), (middle, ridge, near), (middle, ridge, far), (across, eaves, far)]
    canvas.polygon(slope, vary(rng, (84, 78, 78), 10), BUILDING, lit=1.1)
    canvas.polygon([(across, eaves, near), (middle, ridge, near), (back, eaves, near)], wall, BUILDING, lit=0.8)


def _paint_chimney(canvas: Canvas, foot: Point, tint: Tint) -> None:
    """A brick stack on the ridge."""
    across, up, ahead = foot
    stack: list[Point] = [
        (across, up - 1, ahead - 0.6), (across, up + 1.3, ahead - 0.6),
        (across, up + 1.3, ahead + 0.6), (across, up - 1, ahead + 0.6),
    ]  # fmt: skip
    canvas.polygon(stack, tint, BUILDING, lit=0.75)


def _paint_front(canvas: Canvas, rng: np.random.Generator, house: House, wall: Tint) -> None:
    """The wall that faces the road: bricks, cornice, plinth, then windows and a door or a shop."""
    lit = canvas.light.on_wall(house.side)
    length = house.far - house.near
    _paint_wall(canvas, house, (0, length, 0, house.eaves), wall, lit, BUILDING)
    _paint_wall(canvas, house, (0, length, house.eaves - 0.35, house.eaves), scaled(wall, 1.25), lit)
    _paint_wall(canvas, house, (0, length, 0, 0.5), scaled(wall, 0.6), lit)
    columns = max(1, round(length / rng.uniform(1.9, 3.2)))
    if not _shows_windows(canvas, house, columns):
        return
    _paint_windows(canvas, rng, house, columns)
    if house.shop:
        _paint_shop(canvas, rng, house)
    else:
        left = rng.integers(columns) * length / columns + 0.1
        _paint_wall(canvas, house, (left, left + 1.0, 0, 2.1), vary(rng, _SHOPS[rng.integers(len(_SHOPS))]), lit)


def _shows_windows(canvas: Canvas, house: House, columns: int) -> bool:
    """Whether the front is in the image and each column of windows is some painted pixels wide."""
    near, far = (canvas.camera.project((house.across, 0, ahead))[0] for ahead in (house.near, house.far))
    inside = max(near, far) > 0 and min(near, far) < canvas.image.width
    return inside and abs(far - near) > 3 * columns


def _paint_windows(canvas: Canvas, rng: np.random.Generator, house: House, columns: int) -> None:
    """Rows of windows of one size, above the shop if there is one."""
    frame = _WHITE if rng.random() < 0.75 else (60.0, 52.0, 46.0)
    pitch = (house.far - house.near) / columns
    width, height = rng.uniform(0.8, min(1.5, 0.8 * pitch)), rng.uniform(1.3, 1.9)
    for floor in range(1 if house.shop else 0, house.floors):
        bottom = 3.0 * floor + 0.95
        for column in range(columns):
            left = (column + 0.5) * pitch - width / 2
            _paint_window(canvas, rng, house, (left, left + width, bottom, bottom + height), frame)


def _paint_window(
    canvas: Canvas, rng: np.random.Generator, house: House, box: tuple[float, float, float, float], frame: Tint
) -> None:
    """A sash window: frame, sill, dark glass that reflects some sky, or a lit room at dusk."""
    left, right, bottom, top = box
    lit = canvas.light.on_wall(house.side)
    glass = vary(rng, (46, 50, 56), 18)
    if canvas.light.lamps and rng.random() < 0.12:
        glass = (500.0, 380.0, 200.0)
    elif rng.random() < 0.15:
        glass = (150.0, 156.0, 160.0)
    _paint_wall(canvas, house, (left - 0.1, right + 0.1, bottom - 0.12, top + 0.1), frame, lit)
    middle = (bottom + top) / 2
    _paint_wall(canvas, house, (left, right, bottom, middle - 0.04), glass, lit)
    _paint_wall(canvas, house, (left, right, middle + 0.04, top), scaled(glass, 1.15), lit)


def _paint_shop(canvas: Canvas, rng: np.random.Generator, house: House) -> None:
    """Fascia with lettering, wide panes, a doorway, at times an awning's shade."""
    lit = canvas.light.on_wall(house.side)
    length = house.far - house.near
    front = vary(rng, _SHOPS[rng.integers(len(_SHOPS))])
    _paint_wall(canvas, house, (0.15, length - 0.15, 0, 3.3), front, lit)
    letters = _WHITE if sum(front) < 330 else (40.0, 36.0, 34.0)
    for left in np.arange(length * 0.2, length * 0.75, 0.45):
        _paint_wall(canvas, house, (left, left + rng.uniform(0.15, 0.35), 2.75, 3.05), letters, lit)
    panes = max(1, round(length / 2.2))
    for pane in range(panes):
        left = 0.3 + pane * (length - 0.6) / panes
        right = left + (length - 0.6) / panes - 0.2
        glow = 4.0 if canvas.light.lamps and rng.random() < 0.3 else 1.0
        _paint_wall(canvas, house, (left, right, 0.55, 2.5), scaled(vary(rng, (48, 48, 50), 14), glow), lit)
        bright = vary(rng, (140, 120, 100), 50)
        _paint_wall(canvas, house, (left + 0.3, right - 0.4, 0.6, rng.uniform(0.9, 1.7)), scaled(bright, 0.7), lit)


def _paint_wall(
    canvas: Canvas,
    house: House,
    box: tuple[float, float, float, float],
    tint: Tint,
    lit: float,
    label: int | None = None,
) -> None:
    """A rectangle on the front, given as (left, right, bottom, top) metres from the front's near foot."""
    left, right, bottom, top = box
    near, far, across = house.near + left, house.near + right, house.across
    points: list[Point] = [(across, bottom, near), (across, top, near), (across, top, far), (across, bottom, far)]
    canvas.polygon(points, tint, label, lit=lit)
