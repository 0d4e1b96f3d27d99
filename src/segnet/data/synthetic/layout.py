"""Where everything of a synthetic street stands, under which light, and in which order it is painted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from segnet.data.synthetic.canvas import (
    PAINTED_SCALE,
    PAVEMENT,
    ROAD,
    TREE,
    Camera,
    Canvas,
    Light,
    Point,
    vary,
)
from segnet.data.synthetic.cars import paint_bonnet, paint_car
from segnet.data.synthetic.furniture import (
    paint_bin,
    paint_fence,
    paint_lamp,
    paint_post,
    paint_railings,
    paint_sign,
    paint_signal,
)
from segnet.data.synthetic.houses import House, paint_far_house, paint_house
from segnet.data.synthetic.people import paint_cyclist, paint_pedestrian
from segnet.data.synthetic.street import paint_band, paint_kerb, paint_markings, paint_sky
from segnet.data.synthetic.trees import paint_bush, paint_leaves, paint_tree

__all__ = ["Street", "choose_light", "paint_street", "place_camera", "plan_street"]

_SKYLINE_M = 170.0  # how far ahead the street ends

_Painter = Callable[[Canvas, np.random.Generator, Point], None]


@dataclass(frozen=True, kw_only=True)
class Street:
    """What is decided before painting; lengths in metres.

    Attributes:
        half_width: half of the carriageway.
        pavements: width of the left and of the right pavement.
        rows: what lies behind each pavement: ``terrace``, ``garden`` or ``park``.
    """

    half_width: float
    pavements: tuple[float, float]
    rows: tuple[str, str]


def plan_street(rng: np.random.Generator) -> Street:
    """A street between a lane of old Cambridge and a main road."""
    kinds, shares = ("terrace", "garden", "park"), (0.58, 0.26, 0.16)
    left, right = (str(rng.choice(kinds, p=shares)) for _ in range(2))
    narrow, wide = rng.uniform(1.6, 3.8, size=2)
    return Street(half_width=rng.uniform(3.1, 5.2), pavements=(narrow, wide), rows=(left, right))


def place_camera(rng: np.random.Generator, street: Street, size: tuple[int, int]) -> Camera:
    """A dash camera in the left lane, with the horizon a little above the middle of the image."""
    height, width = size
    return Camera(
        focal=PAINTED_SCALE * 0.85 * float(np.hypot(height, width)),
        center=PAINTED_SCALE * width * (0.5 + rng.normal(0, 0.025)),
        horizon=PAINTED_SCALE * height * rng.uniform(0.45, 0.52),
        height_m=rng.uniform(1.3, 1.6),
        across_m=-street.half_width * rng.uniform(0.3, 0.5),
        heading=rng.normal(0, 0.03),
        bend=rng.normal(0, 0.0025),
    )


def choose_light(rng: np.random.Generator) -> Light:
    """Sunny day, overcast or dusk, in the shares of CamVid's training drives."""
    side = int(rng.choice((-1, 1)))
    kind = rng.choice(("sun", "overcast", "dusk"), p=(0.35, 0.48, 0.17))
    tone = rng.uniform(0.85, 1.15)
    if kind == "sun":
        return Light(
            gain=(1.12 * tone, 1.11 * tone, 1.09 * tone), sun=rng.uniform(0.5, 0.9), sun_side=side,
            sky_top=(206, 232, 262), sky_low=(275, 280, 285), clouds=rng.uniform(0, 0.25), haze_m=420, lamps=False,
        )  # fmt: skip
    if kind == "overcast":
        return Light(
            gain=(0.80 * tone, 0.82 * tone, 0.85 * tone), sun=rng.uniform(0, 0.35), sun_side=side,
            sky_top=(240, 262, 275), sky_low=(285, 290, 290), clouds=rng.uniform(0, 0.35), haze_m=350, lamps=False,
        )  # fmt: skip
    return Light(
        gain=(0.36 * tone, 0.40 * tone, 0.43 * tone), sun=0.0, sun_side=side,
        sky_top=(132, 150, 158), sky_low=(188, 202, 204), clouds=rng.uniform(0.4, 0.9), haze_m=450, lamps=True,
    )  # fmt: skip


def paint_street(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Everything from the sky to the own bonnet, each layer over the one behind it."""
    paint_sky(canvas, rng)
    _paint_ground(canvas, rng, street)
    _paint_skyline(canvas, rng)
    for side in (-1, 1):
        _paint_side(canvas, rng, street, side)
    actors = _plan_actors(rng, street)
    for foot, painter in sorted(actors, key=lambda actor: -actor[0][2]):
        painter(canvas, rng, foot)
    if rng.random() < 0.2:
        paint_bonnet(canvas, rng)


def _paint_ground(canvas: Canvas, rng: np.random.Generator, street: Street) -> None:
    """Grass or yards outside, then pavements with kerbs, road and markings."""
    asphalt, slabs = vary(rng, (104, 105, 107), 6), vary(rng, (116, 112, 106), 10)
    for side, pavement, row in zip((-1, 1), street.pavements, street.rows, strict=True):
        kerb = side * street.half_width
        outside = kerb + side * pavement
        if row == "terrace":
            paint_band(canvas, outside, outside + side * 120, slabs, PAVEMENT)
        else:
            paint_band(canvas, outside, outside + side * 120, vary(rng, (96, 104, 60), 8), TREE)
        paint_band(canvas, kerb, outside, slabs, PAVEMENT)
    paint_band(canvas, -street.half_width, street.half_width, asphalt, ROAD)
    for side in (-1, 1):
        paint_kerb(canvas, side, side * street.half_width, slabs)
    paint_markings(canvas, rng, street.half_width)


def _paint_skyline(canvas: Canvas, rng: np.random.Generator) -> None:
    """What closes the street off: far trees and houses along the horizon."""
    edge = -140.0
    while edge < 140.0:
        width, height = rng.uniform(8, 26), rng.uniform(4, 12)
        if rng.random() < 0.45:
            paint_far_house(canvas, rng, (edge, 0, _SKYLINE_M), (width, height))
        else:
            middle: Point = (edge + width / 2, height * 0.35, _SKYLINE_M)
            paint_leaves(canvas, rng, middle, (width * 0.75, height * 0.8), opacity=1.0)
        edge += width * 0.7


def _paint_side(canvas: Canvas, rng: np.random.Generator, street: Street, side: int) -> None:
    """One side of the street behind its pavement, outermost layer first."""
    index = (side + 1) // 2
    row = street.rows[index]
    edge = side * (street.half_width + street.pavements[index])
    if row == "terrace":
        _paint_houses(canvas, rng, side, edge, gap=0.08)
        if rng.random() < 0.3:
            near = rng.uniform(9, 16)
            paint_railings(canvas, edge - side * (street.pavements[index] - 0.3), (near, near + 10), 1.0)
        return
    if row == "garden":
        _paint_houses(canvas, rng, side, edge + side * rng.uniform(4, 7), gap=0.35)
    _paint_trees(canvas, rng, side, edge, count=13 if row == "park" else 6)
    if rng.random() < 0.75:
        paint_fence(canvas, rng, edge + side * 0.3, (rng.uniform(5, 12), rng.uniform(28, 70)))


def _paint_houses(canvas: Canvas, rng: np.random.Generator, side: int, across: float, *, gap: float) -> None:
    """A row of houses; gap is the chance that one is missing."""
    fronts = rng.uniform(5, 14, size=14)
    floors = int(rng.integers(2, 5))
    shops = rng.random() < 0.5
    ends = np.cumsum(fronts) + 1.0
    for front, end in zip(fronts[::-1], ends[::-1], strict=True):
        if rng.random() < gap:
            continue
        tall = max(1, floors + int(rng.integers(-1, 2)))
        shop = bool(shops and rng.random() < 0.7)
        house = House(side=side, across=across, near=end - front, far=end, floors=tall, shop=shop)
        paint_house(canvas, rng.spawn(1)[0], house)


def _paint_trees(canvas: Canvas, rng: np.random.Generator, side: int, edge: float, *, count: int) -> None:
    """Trees and bushes between the pavement and whatever is behind."""
    for ahead in np.sort(rng.uniform(9, 110, size=count))[::-1].tolist():
        across = edge + side * rng.uniform(1.5, 7)
        if rng.random() < 0.7:
            paint_tree(canvas, rng.spawn(1)[0], (across, 0, ahead), rng.uniform(6, 15))
        else:
            paint_bush(canvas, rng, (across, 0, ahead), rng.uniform(1.2, 3))


def _plan_actors(rng: np.random.Generator, street: Street) -> list[tuple[Point, _Painter]]:
    """Vehicles in their lanes, people and furniture on the pavements."""
    return [*_plan_vehicles(rng, street), *_plan_people(rng, street), *_plan_furniture(rng, street)]


def _plan_vehicles(rng: np.random.Generator, street: Street) -> list[tuple[Point, _Painter]]:
    """Traffic ahead, oncoming traffic, and cars parked along the kerbs."""
    ahead_of_us, coming = partial(paint_car, oncoming=False), partial(paint_car, oncoming=True)
    lane = street.half_width * 0.42
    actors: list[tuple[Point, _Painter]] = []
    place = rng.uniform(6.5, 26)
    for _ in range(rng.integers(0, 4)):
        actors.append(((-lane, 0, place), ahead_of_us))
        place += rng.uniform(9, 25)
    place = rng.uniform(7.5, 35)
    for _ in range(rng.integers(0, 4)):
        actors.append(((lane, 0, place), coming))
        place += rng.uniform(8, 30)
    for side, painter in ((-1, ahead_of_us), (1, coming)):
        if rng.random() < 0.45:
            place = rng.uniform(10, 18)
            for _ in range(rng.integers(1, 7)):
                actors.append(((side * (street.half_width - 0.6), 0, place), painter))
                place += rng.uniform(5.2, 8)
    return actors


def _plan_people(rng: np.random.Generator, street: Street) -> list[tuple[Point, _Painter]]:
    """Pedestrians alone or in twos on the pavements, now and then one crossing; cyclists at the kerb."""
    actors: list[tuple[Point, _Painter]] = []
    for _ in range(rng.integers(1, 7)):
        across, ahead = _on_pavement(rng, street), float(rng.uniform(9, 40))
        actors.append(((across, 0, ahead), paint_pedestrian))
        if rng.random() < 0.5:
            actors.append(((across + 0.55, 0, ahead + 0.2), paint_pedestrian))
    if rng.random() < 0.2:
        actors.append(((rng.uniform(-2, 2), 0, rng.uniform(14, 30)), paint_pedestrian))
    for _ in range(rng.choice(4, p=(0.36, 0.46, 0.14, 0.04))):
        side = rng.choice((-1, 1), p=(0.7, 0.3))
        actors.append(((side * (street.half_width - rng.uniform(0.5, 1.1)), 0, rng.uniform(8, 28)), paint_cyclist))
    return actors


def _plan_furniture(rng: np.random.Generator, street: Street) -> list[tuple[Point, _Painter]]:
    """Lamps in a row, signs, signals, bollards, bins."""
    actors: list[tuple[Point, _Painter]] = []
    kerbs = {side: side * (street.half_width + 0.45) for side in (-1, 1)}
    for side in (-1, 1):
        lamps = np.arange(rng.uniform(10, 28), 120, rng.uniform(22, 38)).tolist()
        actors += [((kerbs[side], 0, ahead), paint_lamp) for ahead in lamps]
        actors += [((kerbs[side], 0, rng.uniform(8, 30)), paint_sign) for _ in range(rng.integers(1, 5))]
        if rng.random() < 0.3:
            start = rng.uniform(9, 20)
            actors += [((kerbs[side], 0, start + 1.6 * index), paint_post) for index in range(rng.integers(3, 9))]
        if rng.random() < 0.4:
            actors.append(((_on_pavement(rng, street), 0, rng.uniform(9, 25)), paint_bin))
    if rng.random() < 0.35:
        ahead = rng.uniform(11, 26)
        actors += [((kerbs[side], 0, ahead), paint_signal) for side in (-1, 1)]
    return actors


def _on_pavement(rng: np.random.Generator, street: Street) -> float:
    """A place across, on the left or the right pavement."""
    index = int(rng.integers(2))
    return (-1, 1)[index] * (street.half_width + rng.uniform(0.5, street.pavements[index]))
