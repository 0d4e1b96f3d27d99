"""Legends, color scales and titles: text and colors beside images.

Text is drawn in Pillow's own font, which has ASCII characters only and shows a box for any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segnet.bands import RGBImage
from segnet.labels import ClassTable, Color
from segnet.visualization.style import OverlayStyle

__all__ = [
    "SCALE", "add_class_names", "add_legend", "class_names", "color_map", "format_share", "panels", "rounded_up",
    "scale_colors", "sheet",
]  # fmt: skip

_PAPER = (255, 255, 255)
_INK = (32, 33, 36)
_FRAME = (120, 120, 124)
_PLAIN = OverlayStyle()
# Matplotlib's viridis (CC0) at eight even steps: lightness grows evenly, and it reads the same to the color-blind.
SCALE = (
    (68, 1, 84), (70, 50, 126), (54, 92, 141), (39, 127, 142), (31, 161, 135), (74, 193, 109), (160, 218, 57),
    (253, 231, 37),
)  # fmt: skip


def add_legend(
    image: RGBImage, labels: ClassTable, shares: NDArray[np.float64], style: OverlayStyle = _PLAIN
) -> RGBImage:
    """The image with a legend below it: color, name and share of each shown class that occurs, the largest first.

    The image itself is not covered; the result is higher, and wider where the longest name needs it.
    """
    hidden = style.hidden(labels)
    order = [int(index) for index in np.argsort(-shares, kind="stable") if shares[index] > 0 and index not in hidden]
    return _with_legend(image, style.colored(labels), {index: format_share(float(shares[index])) for index in order})


def add_class_names(image: RGBImage, labels: ClassTable, style: OverlayStyle = _PLAIN) -> RGBImage:
    """The image with ``class_names`` below it."""
    height, width = image.shape[:2]
    return sheet([image, class_names(height, width, labels, style)])


def class_names(height: int, width: int, labels: ClassTable, style: OverlayStyle = _PLAIN) -> RGBImage:
    """A legend that depends on an image's size alone: color and name of all shown classes.

    Returns:
        uint8 (H, W, 3): as wide as the image, or wider where the longest name needs it.
    """
    hidden, colored = style.hidden(labels), style.colored(labels)
    entries = tuple((colored.colors[n], colored.names[n], "") for n in range(labels.classes) if n not in hidden)
    return _legend(entries, _font(_text_size(height, width)), width)


def color_map(values: NDArray[np.float32], *, largest: float, title: str) -> RGBImage:
    """Numbers as colors from dark violet (0) to yellow (``largest`` and above), with a bar that says so.

    Args:
        values: (H, W), 0 or more.
        largest: what is yellow, above 0.
        title: what the numbers are; stands below the bar.

    Returns:
        uint8 (H' > H, W' >= W, 3): wider where the title needs it.
    """
    colors = scale_colors()
    levels = np.rint(np.clip(values / largest, 0, 1) * 255).astype(np.uint8)
    height, width = values.shape
    return sheet(
        [np.take(colors, levels, axis=0), _bar(colors, largest, title, _font(_text_size(height, width)), width)]
    )


def scale_colors() -> RGBImage:
    """The colors between those of ``SCALE``, dark violet first: uint8 (256, 3)."""
    places = np.linspace(0, len(SCALE) - 1, 256)
    channels = [np.interp(places, range(len(SCALE)), channel) for channel in zip(*SCALE, strict=True)]
    colors: RGBImage = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    return colors


def rounded_up(value: float) -> float:
    """To two digits, as the end of a scale; above 0."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(round(value / step, 6)) * step


def panels(titled: Sequence[tuple[str, RGBImage]], *, columns: int) -> RGBImage:
    """Images of one size, each below its title (ASCII), in rows of so many."""
    size = _text_size(*titled[0][1].shape[:2])
    parts = [sheet([_title(title, _font(size)), image]) for title, image in titled]
    rows = [_beside(parts[first : first + columns], gap=size // 2) for first in range(0, len(parts), columns)]
    return sheet(rows)


def format_share(share: float) -> str:
    """A share of the pixels as a legend has it: "31.2 %"."""
    return "< 0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def sheet(images: Sequence[RGBImage]) -> RGBImage:
    """The images below each other, the narrower ones filled up with white on the right."""
    width = max(image.shape[1] for image in images)
    return np.concatenate([_widened(image, width) for image in images])


def _text_size(height: int, width: int) -> int:
    """Pixels: readable in the smallest image, and in proportion in a large one, up to a limit."""
    return min(96, max(12, min(height, width) // 30))


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which needs no file."""
    # With a size Pillow gives this kind, or an ImportError where it was built without FreeType.
    return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size=size))


def _title(text: str, font: ImageFont.FreeTypeFont) -> RGBImage:
    size = round(font.size)
    canvas = Image.new("RGB", (round(font.getlength(text)) + size, 2 * size), _PAPER)
    ImageDraw.Draw(canvas).text((size // 2, size), text, fill=_INK, font=font, anchor="lm")
    return np.array(canvas)


def _with_legend(image: RGBImage, labels: ClassTable, texts: dict[int, str]) -> RGBImage:
    """The image over the colors and names of some classes, each with its text."""
    if not texts:
        return image
    height, width = image.shape[:2]
    entries = tuple((labels.colors[index], labels.names[index], text) for index, text in texts.items())
    return sheet([image, _legend(entries, _font(_text_size(height, width)), width)])


@lru_cache(maxsize=4)  # the same below each frame of a video
def _legend(entries: tuple[tuple[Color, str, str], ...], font: ImageFont.FreeTypeFont, width: int) -> RGBImage:
    """Boxes, names and shares in as many columns as fit, filled from top to bottom."""
    size = round(font.size)
    names = max(round(font.getlength(name)) for _, name, _ in entries)
    shares = max(round(font.getlength(share)) for _, _, share in entries)
    pitch = round(names + shares + 4 * size)
    columns = min(max(1, (width - size) // pitch), len(entries))
    rows = -(-len(entries) // columns)
    step = round(1.6 * size)
    canvas = Image.new("RGB", (max(width, columns * pitch + size), rows * step + size), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for place, (color, name, share) in enumerate(entries):
        column, row = divmod(place, rows)
        left, middle = size + column * pitch, size // 2 + row * step + step // 2
        draw.rectangle((left, middle - size // 2, left + size, middle + size // 2), fill=color, outline=_FRAME)
        draw.text((left + 1.6 * size, middle), name, fill=_INK, font=font, anchor="lm")
        draw.text((left + 2.4 * size + names + shares, middle), share, fill=_INK, font=font, anchor="rm")
    return np.array(canvas)


def _bar(colors: RGBImage, largest: float, title: str, font: ImageFont.FreeTypeFont, width: int) -> RGBImage:
    """The colors from left to right, with the title and five numbers below them."""
    size = round(font.size)
    places = {part: f"{part * largest:.3g}" for part in (0.0, 0.25, 0.5, 0.75, 1.0)}
    apart = 6 * max(map(font.getlength, places.values())) + 3 * size  # the last number ends at its place
    width = max(width, round(max(font.getlength(title), apart)) + 2 * size, 16 * size)
    canvas = Image.new("RGB", (width, 5 * size), _PAPER)
    left, right = size, width - size
    steps = np.rint(np.linspace(0, 255, right - left)).astype(int)
    canvas.paste(Image.fromarray(np.repeat(colors[steps][None], size, axis=0)), (left, size // 2))
    draw = ImageDraw.Draw(canvas)
    for part, number in places.items():
        anchor = {0.0: "lm", 1.0: "rm"}.get(part, "mm")
        draw.text((left + part * (right - left), 2.4 * size), number, fill=_INK, font=font, anchor=anchor)
    draw.text((left, 4 * size), title, fill=_INK, font=font, anchor="lm")
    return np.array(canvas)


def _beside(images: Sequence[RGBImage], *, gap: int) -> RGBImage:
    height = max(image.shape[0] for image in images)
    space = np.full((height, gap, 3), 255, dtype=np.uint8)
    parts = [part for image in images for part in (image, space)]
    return np.concatenate(parts[:-1], axis=1)


def _widened(image: RGBImage, width: int) -> RGBImage:
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)), constant_values=255)
