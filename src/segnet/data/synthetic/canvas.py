"""What a synthetic street is painted on: camera, light, canvas.

A point of the street is (across, up, ahead) in metres: across from the middle of the road (right is
positive), up from the ground, ahead along the road. The road's bend sits in the camera, so painters
think of a straight street. Shapes are painted twice as large as the image and reduced at the end,
which smooths the image's edges; the mask is sampled, never mixed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from segnet.labels import CAMVID, IGNORE_INDEX

__all__ = [
    "BICYCLIST",
    "BUILDING",
    "CAR",
    "FENCE",
    "NOISE_TILE",
    "PAINTED_SCALE",
    "PAVEMENT",
    "PEDESTRIAN",
    "POLE",
    "ROAD",
    "SIGN",
    "SKY",
    "TREE",
    "Camera",
    "Canvas",
    "Light",
    "Point",
    "Tint",
    "noise_tile",
    "open_canvas",
    "scaled",
    "vary",
]

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(CAMVID.classes)

Point = tuple[float, float, float]
"""(across, up, ahead) in metres."""

Tint = tuple[float, float, float]
"""Red, green, blue in 0..255, before light and haze."""

PAINTED_SCALE = 2
"""Painted pixels per image pixel, along each side."""

NOISE_TILE = 256
"""Side of the noise tile, which repeats."""

_Field = NDArray[np.floating[Any]]
_NEAR_M = 0.7  # nothing is projected from closer than this


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera on a bending road; lengths in painted pixels unless the name says metres.

    Attributes:
        focal: focal length.
        center: column of the optical axis.
        horizon: row of the horizon.
        height_m: height above the road.
        across_m: place across the road.
        heading: metres to the side per metre ahead.
        bend: curvature of the road, 1/m.
    """

    focal: float
    center: float
    horizon: float
    height_m: float
    across_m: float
    heading: float
    bend: float

    def project(self, point: Point) -> tuple[float, float]:
        """Column and row at which a point of the street is seen."""
        across, up, ahead = point
        ahead = max(ahead, _NEAR_M)
        side = across - self.across_m + self.heading * ahead + self.bend * ahead * ahead / 2
        scale = self.focal / ahead
        return self.center + side * scale, self.horizon + (self.height_m - up) * scale

    def span(self, length_m: float, ahead: float) -> float:
        """How many painted pixels a length across or up covers at that distance."""
        return length_m * self.focal / max(ahead, _NEAR_M)

    def ground(self, rows: _Field, columns: _Field) -> tuple[_Field, _Field]:
        """(across, ahead) in metres of the ground seen at rows (R, 1) below the horizon and columns (1, C)."""
        ahead = self.focal * self.height_m / (rows - self.horizon)
        drift = self.across_m - self.heading * ahead - self.bend * ahead * ahead / 2
        return (columns - self.center) * ahead / self.focal + drift, ahead


@dataclass(frozen=True, kw_only=True)
class Light:
    """Daylight, its direction and the air.

    Attributes:
        gain: what each channel of a surface is multiplied by.
        sun: depth of cast shadows, 0 (overcast) to 1.
        sun_side: -1 where the sun stands on the left, 1 on the right.
        sky_top: color of the sky overhead.
        sky_low: color of the sky at the horizon, and of the haze.
        clouds: contrast of the clouds, 0 to 1.
        haze_m: distance at which 1 - 1/e of the color is haze.
        lamps: whether lamps and windows are lit.
    """

    gain: Tint
    sun: float
    sun_side: int
    sky_top: Tint
    sky_low: Tint
    clouds: float
    haze_m: float
    lamps: bool

    def seen(self, tint: Tint, ahead: float, lit: float = 1.0) -> tuple[int, int, int]:
        """A surface's color as it arrives at the camera."""
        keep = math.exp(-ahead / self.haze_m)
        red, green, blue = (
            min(255, int(keep * lit * gain * part + (1 - keep) * haze * gain))
            for part, gain, haze in zip(tint, self.gain, self.sky_low, strict=True)
        )
        return red, green, blue

    def on_wall(self, side: float) -> float:
        """Brightness of a wall that stands on that side (-1, 1) and faces the road."""
        return 1.0 - 0.4 * self.sun * (1.0 if side * self.sun_side > 0 else -0.5)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """Image and mask under the brush.

    Attributes:
        image: RGB, painted twice as large as the image.
        mask: 8-bit, same size: the class of each painted pixel.
        brush: paints the image with opaque colors.
        glaze: paints the image with colors that let it shine through.
        stencil: paints the mask.
        noise: float32 (256, 256), mean 0, standard deviation 1, repeats without a seam.
    """

    camera: Camera
    light: Light
    image: Image.Image
    mask: Image.Image
    brush: ImageDraw.ImageDraw
    glaze: ImageDraw.ImageDraw
    stencil: ImageDraw.ImageDraw
    noise: NDArray[np.float32]

    def polygon(
        self, points: Sequence[Point], tint: Tint, label: int | None = None, *, lit: float = 1.0, opacity: float = 1.0
    ) -> None:
        """Fill a flat shape; without a label it is a detail of what it lies on."""
        outline = [self.camera.project(point) for point in points]
        if _extent(outline) < 1.0:
            return
        ahead = sum(point[2] for point in points) / len(points)
        color = self.light.seen(tint, ahead, lit)
        if opacity < 1.0:
            self.glaze.polygon(outline, fill=(*color, int(255 * opacity)))
        else:
            self.brush.polygon(outline, fill=color)
        if label is not None:
            self.stencil.polygon(outline, fill=label)

    def face(
        self,
        across: tuple[float, float],
        up: tuple[float, float],
        ahead: float,
        tint: Tint,
        label: int | None = None,
    ) -> None:
        """Fill an upright rectangle that faces the camera."""
        (left, right), (bottom, top) = across, up
        corners: list[Point] = [(left, bottom, ahead), (left, top, ahead), (right, top, ahead), (right, bottom, ahead)]
        self.polygon(corners, tint, label)

    def line(self, points: Sequence[Point], width_m: float, tint: Tint, label: int | None = None) -> None:
        """A round bar along the points, at least as wide as the film can show."""
        outline = [self.camera.project(point) for point in points]
        ahead = sum(point[2] for point in points) / len(points)
        width = max(1, round(self.camera.span(width_m, ahead)))
        self.brush.line(outline, fill=self.light.seen(tint, ahead), width=width)
        if label is not None:
            self.stencil.line(outline, fill=label, width=width)

    def disc(self, center: Point, radii_m: tuple[float, float], tint: Tint, label: int | None = None) -> None:
        """An ellipse that faces the camera, given its radii (across, up)."""
        across, up, ahead = center
        left, top = self.camera.project((across - radii_m[0], up + radii_m[1], ahead))
        right, bottom = self.camera.project((across + radii_m[0], up - radii_m[1], ahead))
        if right - left < 1.0 and bottom - top < 1.0:
            return
        box = (left, top, right, bottom)
        self.brush.ellipse(box, fill=self.light.seen(tint, ahead))
        if label is not None:
            self.stencil.ellipse(box, fill=label)

    def ring(self, center: Point, radii_m: tuple[float, float], tint: Tint, label: int) -> None:
        """The rim of an ellipse in the image, the whole ellipse in the mask."""
        across, up, ahead = center
        left, top = self.camera.project((across - radii_m[0], up + radii_m[1], ahead))
        right, bottom = self.camera.project((across + radii_m[0], up - radii_m[1], ahead))
        width = max(1, round(self.camera.span(0.05, ahead)))
        self.brush.ellipse((left, top, right, bottom), outline=self.light.seen(tint, ahead), width=width)
        self.stencil.ellipse((left, top, right, bottom), fill=label)

    def label(self, points: Sequence[Point], label: int) -> None:
        """Set the class of a shape and leave the image alone."""
        self.stencil.polygon([self.camera.project(point) for point in points], fill=label)

    def shadow(self, points: Sequence[Point], depth: float) -> None:
        """Darken a shape by a share of its light."""
        outline = [self.camera.project(point) for point in points]
        self.glaze.polygon(outline, fill=(6, 8, 14, int(255 * min(1.0, depth))))


def open_canvas(size: tuple[int, int], camera: Camera, light: Light, noise: NDArray[np.float32]) -> Canvas:
    """An empty canvas for an image of that size, all pixels ignored."""
    extent = (size[1] * PAINTED_SCALE, size[0] * PAINTED_SCALE)
    image, mask = Image.new("RGB", extent), Image.new("L", extent, IGNORE_INDEX)
    return Canvas(
        camera=camera, light=light, image=image, mask=mask, noise=noise,
        brush=ImageDraw.Draw(image), glaze=ImageDraw.Draw(image, "RGBA"), stencil=ImageDraw.Draw(mask),
    )  # fmt: skip


def noise_tile(rng: np.random.Generator) -> NDArray[np.float32]:
    """Noise with as much contrast in large as in small forms (amplitude falls as 1/frequency)."""
    white = np.fft.rfft2(rng.standard_normal((NOISE_TILE, NOISE_TILE)))
    radius = np.hypot(np.fft.fftfreq(NOISE_TILE)[:, None], np.fft.rfftfreq(NOISE_TILE)[None, :])
    radius[0, 0] = np.inf
    tile = np.fft.irfft2(white / radius, s=(NOISE_TILE, NOISE_TILE))
    return np.asarray(tile / tile.std(), dtype=np.float32)


def vary(rng: np.random.Generator, tint: Tint, amount: float = 12.0) -> Tint:
    """A color near another: lighter or darker, slightly shifted."""
    shift = rng.normal(0, amount)
    red, green, blue = (min(250.0, max(4.0, part + shift + rng.normal(0, amount / 4))) for part in tint)
    return red, green, blue


def scaled(tint: Tint, factor: float) -> Tint:
    """The same color, lighter or darker."""
    red, green, blue = (part * factor for part in tint)
    return red, green, blue


def _extent(outline: Sequence[tuple[float, float]]) -> float:
    """The longer side of the box around an outline, in painted pixels."""
    columns, rows = zip(*outline, strict=True)
    return float(max(max(columns) - min(columns), max(rows) - min(rows)))
