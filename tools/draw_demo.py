"""Render the animation on the first page of README: a synthetic street and its segmentation, side by side.

    python tools/draw_demo.py docs/images/demo.webp

A camera moves from side to side in one street of ``segnet.render_scene``, and the bundled model segments every frame.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import segnet
from segnet.data.synthetic.canvas import noise_tile, open_canvas
from segnet.data.synthetic.film import develop
from segnet.data.synthetic.layout import choose_light, paint_street, place_camera, plan_street
from segnet.visualization.overlay import overlay

SEED = 4
SIZE = (360, 480)
SHOWN = (800, 300)  # width and height of both halves together
FRAMES = 36
SWAY_M = 1.2  # the camera moves this far to each side
TURN = 0.05  # and turns by this much, in metres to the side per metre ahead
FRAME_MS = 100
QUALITY = 55


def frames(seed: int = SEED) -> Iterator[NDArray[np.uint8]]:
    """Images uint8 (H, W, 3) of one street; the last frame leads back to the first."""
    for number in range(FRAMES):
        layout, film = np.random.default_rng(seed).spawn(2)
        street = plan_street(layout)
        camera = place_camera(layout, street, SIZE)
        sway = math.sin(2 * math.pi * number / FRAMES)
        camera = replace(camera, across_m=camera.across_m + SWAY_M * sway, heading=camera.heading + TURN * sway)
        canvas = open_canvas(SIZE, camera, choose_light(layout), noise_tile(layout))
        paint_street(canvas, layout, street)
        yield develop(canvas, film)[0]


def main() -> None:
    out = Path(sys.argv[1])
    predictor = segnet.Predictor.load("segnet_light")
    images = []
    for frame in frames():
        shown = overlay(frame, predictor(frame).mask, predictor.labels)
        both = Image.fromarray(np.concatenate([frame, shown], axis=1))
        images.append(both.resize(SHOWN, Image.Resampling.LANCZOS))
    images[0].save(out, save_all=True, append_images=images[1:], duration=FRAME_MS, loop=0, quality=QUALITY, method=4)
    print(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
