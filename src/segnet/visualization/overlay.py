"""Masks as images: colors, overlays and outlines.

Images are uint8 (H, W, 3) RGB, masks are class numbers (H, W) with 255 for ignored pixels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.bands import RGBImage
from segnet.errors import ShapeError
from segnet.labels import IGNORE_INDEX, ClassTable
from segnet.visualization.legends import add_legend, format_share
from segnet.visualization.style import OverlayStyle, View

__all__ = [
    "as_rgb", "choose_outline_width", "class_means", "class_shares", "colorize", "finished_view", "largest_shares",
    "overlay", "view",
]  # fmt: skip

Mask = NDArray[np.integer[Any]]

_PIXELS_PER_STRIP = 32_768
_PLAIN = OverlayStyle()


def colorize(mask: Mask, labels: ClassTable, style: OverlayStyle = _PLAIN) -> RGBImage:
    """The color of each pixel's class: uint8 (H, W, 3); ignored pixels and hidden classes are black."""
    palette = style.colored(labels).palette()
    palette[style.hidden(labels)] = 0
    return np.take(palette, mask, axis=0)


def overlay(image: RGBImage, mask: Mask, labels: ClassTable, style: OverlayStyle = _PLAIN) -> RGBImage:
    """The image with the colors of the classes laid over it, and a light outline between two classes.

    Ignored pixels and hidden classes stay as they are.

    Raises:
        ConfigError: the style names a class that is not among the labels.
        ShapeError: image and mask have different heights or widths.
    """
    _require_same_size(image, mask)
    mask, plain = _without(style.hidden(labels), mask)
    mixed = _blend(image, mask, style.colored(labels).palette(), round(256 * style.opacity))
    _copy_pixels(image, mixed, plain)
    outlines = _boundaries(mask, choose_outline_width(style, mask.shape))
    pixels, outlined = mixed.reshape(-1, 3), np.flatnonzero(outlines)
    pixels[outlined] = 128 + pixels.take(outlined, axis=0) // 2  # whole pixels: a third of the time of mixed[outlines]
    return mixed


def view(kind: View, image: RGBImage, mask: Mask, labels: ClassTable, style: OverlayStyle = _PLAIN) -> RGBImage:
    """What people look at: colors over the image, colors alone, or the image beside its overlay.

    Args:
        kind: which of them.
        image: uint8 (H, W, 3) RGB or (H, W, 1) gray.
        mask: class numbers (H, W).
        labels: names and colors.
        style: of overlays.

    Returns:
        uint8 (H, W, 3); of ``side`` (H, 2 W, 3).
    """
    if kind == "color":
        return colorize(mask, labels, style)
    image = as_rgb(image)
    over = overlay(image, mask, labels, style)
    return over if kind == "overlay" else np.concatenate([image, over], axis=1)


def finished_view(
    kind: View,
    image: RGBImage,
    mask: Mask,
    labels: ClassTable,
    style: OverlayStyle = _PLAIN,
    *,
    working_size: tuple[int, int] | None = None,
) -> RGBImage:
    """As ``view``, with the legend that the style asks for; the file that ``segnet predict`` writes.

    Args:
        kind, image, mask, labels, style: see ``view``.
        working_size: see ``choose_outline_width``.
    """
    style = replace(style, outline_width=choose_outline_width(style, mask.shape, working_size=working_size))
    rendered = view(kind, image, mask, labels, style)
    return add_legend(rendered, labels, class_shares(mask, labels), style) if style.has_legend(kind) else rendered


def as_rgb(image: RGBImage) -> RGBImage:
    """An image (H, W, 3) as it is, and a gray one (H, W, 1) with three equal channels."""
    return image if image.shape[2] == 3 else np.repeat(image, 3, axis=2)


def choose_outline_width(
    style: OverlayStyle, size: tuple[int, ...], *, working_size: tuple[int, int] | None = None
) -> int:
    """The style's own, or the shorter side / 540, in pixels.

    Args:
        style: of the overlay.
        size: (height, width) of the image.
        working_size: (height, width) at which it was segmented; outlines are then no wider than two pixels of that, so
            that they do not hide details.
    """
    if style.outline_width is not None:
        return style.outline_width
    width = max(1, min(size) // 540)
    return width if working_size is None else min(width, max(1, round(2 * min(size) / min(working_size))))


def class_shares(mask: Mask, labels: ClassTable) -> NDArray[np.float64]:
    """The share of each class among the pixels with a class: float64 (classes,), sum 1; 0 if all pixels are ignored."""
    counts = _count(mask)[: labels.classes]
    return counts / max(int(counts.sum()), 1)


def class_means(mask: Mask, values: NDArray[np.float32], labels: ClassTable) -> NDArray[np.float64]:
    """The mean value over the pixels of each class: float64 (classes,), NaN for a class without pixels."""
    counts = _count(mask)[: labels.classes]
    sums = np.bincount(mask.ravel(), weights=values.ravel(), minlength=labels.classes)[: labels.classes]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def largest_shares(mask: Mask, labels: ClassTable) -> list[str]:
    """The three classes with the most pixels, in words: "Road 31.2 %"."""
    shares = class_shares(mask, labels)
    order = [int(index) for index in np.argsort(-shares, kind="stable")[:3] if shares[index] > 0]
    return [f"{labels.names[index]} {format_share(float(shares[index]))}" for index in order]


def _count(mask: Mask) -> NDArray[np.intp]:
    """How many pixels have each value, 0 to 255."""
    values = np.ascontiguousarray(mask, dtype=np.uint8).ravel()
    even = values.size // 2 * 2
    # Counted in pairs, as numbers of 16 bits: half the time.
    pairs = np.bincount(values[:even].view(np.uint16), minlength=1 << 16).reshape(256, 256)
    counts: NDArray[np.intp] = pairs.sum(axis=0) + pairs.sum(axis=1) + np.bincount(values[even:], minlength=256)
    return counts


def _require_same_size(image: RGBImage, mask: Mask) -> None:
    if image.shape[:2] != mask.shape:
        raise ShapeError(
            f"the image has the size {image.shape[:2]} and the mask {mask.shape} (height, width); "
            "give a mask of the image's size"
        )


def _without(hidden: list[int], mask: Mask) -> tuple[Mask, NDArray[np.bool_]]:
    """The mask with all hidden classes taken for one, so that no outline runs between them, and what gets no color."""
    if not hidden:
        return mask, mask == IGNORE_INDEX
    table = np.arange(256, dtype=np.uint8)
    table[hidden] = hidden[0]
    merged = np.take(table, mask)
    return merged, (merged == IGNORE_INDEX) | (merged == hidden[0])


def _blend(image: RGBImage, mask: Mask, palette: RGBImage, weight: int) -> RGBImage:
    """The image with the colors of the mask over it, at so many 256ths; by strips that fit a processor's cache."""
    weighted, mixed = palette.astype(np.uint16) * np.uint16(weight), np.empty(image.shape, dtype=np.uint8)
    rows = max(1, _PIXELS_PER_STRIP // image.shape[1])
    for strip in (slice(top, top + rows) for top in range(0, len(image), rows)):
        sums = np.take(weighted, mask[strip], axis=0)
        sums += np.multiply(image[strip], np.uint16(256 - weight), dtype=np.uint16)
        sums >>= 8
        mixed[strip] = sums
    return mixed


def _copy_pixels(image: RGBImage, onto: RGBImage, where: NDArray[np.bool_]) -> None:
    """As ``onto[where] = image[where]``, but each pixel in one piece, which is many times as fast."""
    np.copyto(onto.view("V3"), np.ascontiguousarray(image).view("V3"), where=where[:, :, None])


def _boundaries(mask: Mask, width: int) -> NDArray[np.bool_]:
    """Pixels within ``width`` / 2 of the border between two classes; ignored pixels are no class.

    Of an odd width the left and the upper side get the pixel more.
    """
    known: NDArray[np.bool_] = mask != IGNORE_INDEX
    edges = np.zeros(mask.shape, dtype=np.bool_)
    for step in range(1, (width + 1) // 2 + 1):
        across, down = mask[:, :-step] != mask[:, step:], mask[:-step] != mask[step:]
        edges[:, :-step] |= across & known[:, step:]
        edges[:-step] |= down & known[step:]
        if step <= width // 2:
            edges[:, step:] |= across & known[:, :-step]
            edges[step:] |= down & known[:-step]
    return edges & known
