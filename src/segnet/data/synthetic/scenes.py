"""Labeled street scenes drawn by a program: CamVid's eleven classes, any size, one integer each.

They are the sample image of ``segnet predict``, the data of the tests, and a data set that needs no
download. Layout, colors and class shares imitate CamVid's dash-camera drives through Cambridge (Brostow et
al., Pattern Recognition Letters 30, 2009).
"""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segnet.data.synthetic.canvas import noise_tile, open_canvas
from segnet.data.synthetic.film import develop
from segnet.data.synthetic.layout import choose_light, paint_street, place_camera, plan_street
from segnet.errors import ConfigError, OutputError
from segnet.labels import CAMVID, IGNORE_INDEX
from segnet.media.images.writing import write_image, write_mask

__all__ = ["SAMPLE_SEED", "render_scene", "write_scenes"]

SAMPLE_SEED = 204
"""The scene of the packaged sample image, ``data/sample/street.jpg`` (480x360, JPEG quality 92)."""

_SMALLEST = 16  # pixels; below that the scene has no room for its parts
_FILE_IGNORE_INDEX = 11  # the ignore value of CamVid's files


def render_scene(seed: int, *, size: tuple[int, int] = (360, 480)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one street scene; the same seed gives the same bytes, and the same street at every size.

    Returns:
        The image, RGB uint8 (H, W, 3), and the mask, uint8 (H, W): 0..10 as in ``labels.CAMVID``, or 255 (ignored).

    Raises:
        ConfigError: the seed is negative or a side is shorter than 16 pixels.

    Example:
        >>> image, mask = render_scene(3, size=(48, 64))
        >>> image.shape, mask.shape
        ((48, 64, 3), (48, 64))
    """
    if seed < 0:
        raise ConfigError(f"a scene's seed is {seed}; give 0 or a positive integer")
    if min(size) < _SMALLEST:
        raise ConfigError(f"a scene of {size[0]}x{size[1]} pixels is too small; give at least {_SMALLEST} a side")
    layout, film = np.random.default_rng(seed).spawn(2)
    street = plan_street(layout)
    canvas = open_canvas(size, place_camera(layout, street, size), choose_light(layout), noise_tile(layout))
    paint_street(canvas, layout, street)
    return develop(canvas, film)


def write_scenes(
    root: str | PathLike[str], *, train: int = 40, val: int = 10, size: tuple[int, int] = (360, 480), seed: int = 0
) -> Path:
    """Write a data set in CamVid's layout: ``train trainannot val valannot``, PNG, ignore value 11.

    Args:
        root: the folder to write, made if absent.
        train: how many images to train on; their scenes are ``seed``, ``seed + 1``, ...
        val: how many images to validate on, the scenes that follow. The built-in data set ``synthetic`` is that of the
            default values: its 10 scenes for validation are 40 to 49.
        size: (height, width) of the images.
        seed: the first scene.

    Returns:
        The folder.

    Raises:
        ConfigError: the seed is negative or a side is shorter than 16 pixels.
        OutputError: the folder has scenes already or cannot be written.
    """
    root = Path(root)
    if there := [folder for folder in ("train", "trainannot", "val", "valannot") if (root / folder).exists()]:
        raise OutputError(f"{root / there[0]} is there already; give another folder for the scenes")
    for split, first, count in (("train", seed, train), ("val", seed + train, val)):
        for scene in range(first, first + count):
            image, mask = render_scene(scene, size=size)
            stored = np.where(mask == IGNORE_INDEX, np.uint8(_FILE_IGNORE_INDEX), mask)
            write_image(root / split / f"scene_{scene:05d}.png", image)
            write_mask(root / f"{split}annot" / f"scene_{scene:05d}.png", stored, CAMVID)
    return root
