"""Choose the colors of ``ClassTable.from_names`` and print them as src/segnet/labels.py holds them, and the table of
docs/how-to/predict.md.

    python tools/make_palette.py

Greedy choice from a grid of 33 x 33 x 33 colors: each new color is the one farthest from all chosen colors, from black
(ignored pixels) and from white (outlines, paper). The distance of two colors is the smallest over four kinds of vision:
normal, and without long-, middle- or short-wave cones.

Sources: distances are Euclidean in OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/), times 100; sight
without one kind of cone is simulated in linear RGB as in Machado, Oliveira and Fernandes 2009, "A Physiologically-based
Model for Simulation of Color Vision Deficiency", severity 1; the first color is the blue of Okabe and Ito 2008.
"""

from __future__ import annotations

import itertools
import textwrap

import numpy as np
from numpy.typing import NDArray

from segnet.labels import CAMVID

Colors = NDArray[np.integer]
Points = NDArray[np.float64]

SIGHTS = {
    "normal vision": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
# Without black, which marks ignored pixels.
OKABE_ITO = (
    (0, 114, 178), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
# Darker or lighter ones look like black or white in a thin object, grayer ones in an overlay like no color at all.
LIGHTNESS = (36, 95)
LEAST_CHROMA = 10

_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def seen(colors: Colors, sight: str) -> Points:
    """What is seen of colors (N, 3), as points in OKLab times 100."""
    parts = colors / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    simulated = np.clip(linear @ SIGHTS[sight].T, 0, 1)
    points: Points = 100 * np.cbrt(simulated @ _CONES.T) @ _OKLAB.T
    return points


def choose(count: int) -> list[tuple[int, ...]]:
    """The first so many colors of the palette."""
    candidates = _candidates()
    points = {sight: seen(candidates, sight) for sight in SIGHTS}
    nearest = np.full(len(candidates), np.inf)
    chosen = [(0, 0, 0), (255, 255, 255), OKABE_ITO[0]]
    for place in range(count + 2):
        if place == len(chosen):
            chosen.append(tuple(map(int, candidates[nearest.argmax()])))
        for sight, point in points.items():
            distances = np.linalg.norm(point - seen(np.array([chosen[place]]), sight), axis=1)
            nearest = np.minimum(nearest, distances)
    return chosen[2:]


def smallest_distance(colors: Colors, sight: str) -> float:
    """Of any two of the colors (N, 3)."""
    points = seen(colors, sight)
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(points, 2))


def _candidates() -> Colors:
    colors = np.array(list(itertools.product(np.linspace(0, 255, 33).round().astype(int), repeat=3)))
    lightness, *hue = seen(colors, "normal vision").T
    return colors[(LIGHTNESS[0] <= lightness) & (lightness <= LIGHTNESS[1]) & (np.hypot(*hue) >= LEAST_CHROMA)]


def _row(name: str, colors: Colors) -> str:
    return " | ".join([f"{name:16}", *(f"{smallest_distance(colors, sight):4.1f}" for sight in SIGHTS)])


if __name__ == "__main__":
    palette = choose(255)
    digits = [bytes(color).hex() for color in palette]
    print("\n".join(textwrap.wrap(" ".join(digits), 112)))
    print("\nthe smallest distance of any two:", ", ".join(SIGHTS))
    print(_row("CamVid's 11", np.array(CAMVID.colors)))
    print(_row("Okabe and Ito's 7", np.array(OKABE_ITO)))
    for count in (7, 11, 20, 40, 255):
        print(_row(f"the first {count}", np.array(palette[:count])))
